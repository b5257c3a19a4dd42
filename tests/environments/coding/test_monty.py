"Monty: plain values cross unchanged, and a machine's fault is not the program's."

import subprocess
import sys

import pytest
from hypothesis import given, settings
from plain_values import plain_values

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from hostile_programs import LIMITS

from rlops_lab.environments.coding.limits import Stopped
from rlops_lab.environments.coding.monty import InMonty
from rlops_lab.environments.coding.sandbox import run_code
from rlops_lab.environments.coding.unit_tests import run_tests
from rlops_lab.environments.coding.values import equals, pack


def test_a_worker_that_dies_once_is_the_machines_fault(monkeypatch):
    answers, dead = InMonty.answers, [1]

    def dies_once(self, calls, refresh=False):
        if dead:
            dead.pop()
            raise Stopped('crashed', 'killed')
        return answers(self, calls, refresh)

    monkeypatch.setattr(InMonty, 'answers', dies_once)
    assert run_code('1', sandbox='monty').ok
    monkeypatch.setattr(
        InMonty, 'answers', lambda self, calls, refresh=False: (_ for _ in ()).throw(Stopped('crashed', 'killed'))
    )
    assert run_code('1', sandbox='monty').status == 'crashed'


def test_no_monty_says_what_to_install():
    script = (
        'import sys; sys.modules["pydantic_monty"] = None\n'
        'from rlops_lab.environments.coding.sandbox import run_code\n'
        'try: run_code("1", sandbox="monty")\nexcept ImportError as e: print(e)'
    )
    assert (
        "pip install 'rlops_lab[environments]'"
        in subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout
    )


@settings(deadline=None, max_examples=30)
@given(plain_values)
def test_plain_values_cross_monty_unchanged(value):
    program = InMonty('def same(x): return x', LIMITS, ['same'])
    try:
        (answer,) = program.answers([['same', [pack(value)], []]])
        (live,) = program.answers([['same', [pack('before')], []]])
    finally:
        program.close()
    assert answer[0] == 'value' and equals(answer[1], value) and live[1] == 'before'


def test_names_of_builtins_belong_to_the_program():
    code = 'str = "a"; list = [1]; type = 3; len = 4; int = 7; dict = None; repr = hex = 0\ndef f(x): return x'
    tests = ['assert f([1, (2.5,)]) == [1, (2.5,)]', 'assert f({1: {2}}) == {1: {2}}']
    assert run_tests(code, tests, ['f'], sandbox='monty').ok
    assert run_tests(code, ['y = 4\nassert f(y) == 4 and f([y]) == [4]'], ['f'], sandbox='monty').ok
