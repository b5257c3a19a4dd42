"Text is UTF-8 whatever the locale: every file, pipe and child process says so"

import ast
from pathlib import Path

import pytest

import rlops_lab

PACKAGE = Path(rlops_lab.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted([*PACKAGE.rglob('*.py'), *(ROOT / '.ci').glob('*.py')])

# and {function: the place of its mode}
ALWAYS_TEXT = 'read_text', 'write_text', 'TextIOWrapper'
OPENERS = dict(open=1, fdopen=1, NamedTemporaryFile=0, TemporaryFile=0)
PROCESSES = 'run', 'Popen', 'check_output', 'check_call', 'call'
OTHER_OPENERS = 'archive', 'Run', 'os'  # their `open` is none of a text file


def literal(node):
    return node.value if isinstance(node, ast.Constant) else None


def mode_of(call, place):
    for keyword in call.keywords:
        if keyword.arg == 'mode':
            return literal(keyword.value)
    return literal(call.args[place]) if len(call.args) > place else None


def is_text_without_encoding(call):
    "Does a call read or write text in whatever encoding the machine has?"
    function = call.func
    name = getattr(function, 'attr', getattr(function, 'id', ''))
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    if 'encoding' in said:
        return False
    if name in PROCESSES:
        return any(literal(said.get(flag)) for flag in ('text', 'universal_newlines')) or 'errors' in said
    if name in ALWAYS_TEXT:
        return True
    if name not in OPENERS:
        return False
    owner = getattr(getattr(function, 'value', None), 'id', '')
    if name == 'open' and owner in OTHER_OPENERS:
        return False
    place = 0 if name == 'open' and isinstance(function, ast.Attribute) else OPENERS[name]
    default = 'w+b' if 'Temporary' in name else 'r'
    return 'b' not in (mode_of(call, place) or default)


def faults(source):
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [f'line {call.lineno}: {ast.unparse(call)[:80]}' for call in calls if is_text_without_encoding(call)]


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_says_its_encoding(path):
    assert not faults(path.read_text(encoding='utf-8'))


BAD = [
    'open(path)',
    'open(path, "a")',
    'open(path, mode="w+")',
    'path.open()',
    'path.open("w")',
    'os.fdopen(fd, "w")',
    'path.read_text()',
    'path.write_text(page)',
    'subprocess.run(command, text=True)',
    'subprocess.Popen(command, universal_newlines=True)',
    'check_output(command, errors="replace")',
    'NamedTemporaryFile("w")',
    'io.TextIOWrapper(raw)',
]
GOOD = [
    'open(path, "rb")',
    'path.open("ab")',
    'os.open(path, flags)',
    'Run.open(path)',
    'archive.open(member)',
    'path.read_text(encoding="utf-8")',
    'path.read_bytes()',
    'subprocess.run(command, capture_output=True)',
    'subprocess.run(command, encoding="utf-8", errors="replace")',
    'NamedTemporaryFile(suffix=".py")',
    'open(path, encoding="utf-8")',
]


@pytest.mark.parametrize('code', BAD)
def test_this_check_finds(code):
    assert faults(code)


@pytest.mark.parametrize('code', GOOD)
def test_this_check_lets_pass(code):
    assert not faults(code)
