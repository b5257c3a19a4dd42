"Text is UTF-8 whatever the locale: every file, pipe and child process says so, and the doors work in an ASCII locale"

import ast
import json
import os
import sys
from pathlib import Path
from subprocess import run

import pytest

import rlops_lab

PACKAGE = Path(rlops_lab.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted([*PACKAGE.rglob('*.py'), *(ROOT / '.ci').glob('*.py')])

# {function: the place of its mode, None where it always is text}
OPENERS = dict(open=1, fdopen=1, read_text=None, write_text=None, NamedTemporaryFile=0, TemporaryFile=0, TextIOWrapper=None)
METHOD_OF_PATH = dict(open=0)
PROCESSES = 'run', 'Popen', 'check_output', 'check_call', 'call'
BINARY_OPENERS = 'archive', 'zipfile', 'tarfile', 'webbrowser', 'Run', 'os'  # their `open` has no encoding


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
    if name not in OPENERS:
        return False
    is_method = isinstance(function, ast.Attribute)
    if is_method and name == 'open' and getattr(function.value, 'id', '') in BINARY_OPENERS:
        return False
    place = METHOD_OF_PATH.get(name, OPENERS[name]) if is_method and name == 'open' else OPENERS[name]
    if place is None:
        return True
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
