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


def test_a_worker_that_dies_once_is_the_machines_fault(monkeypatch):
    answers, dead = InMonty.answers, [1]

    def dies_once(self, calls):
        if dead:
            dead.pop()
            raise Stopped('crashed', 'killed')
        return answers(self, calls)

    monkeypatch.setattr(InMonty, 'answers', dies_once)
    assert run_code('1', sandbox='monty').ok
    monkeypatch.setattr(
        InMonty, 'answers', lambda self, calls: (_ for _ in ()).throw(Stopped('crashed', 'killed'))
    )
    assert run_code('1', sandbox='monty').status == 'crashed'


def test_no_monty_says_what_to_install():
    script = (
        'import sys; sys.modules["pydantic_monty"] = None\nfrom rlops_lab.environments.coding.sandbox import run_code\n'
        'try: run_code("1", sandbox="monty")\nexcept ImportError as e: print(e)'
    )
    assert (
        "pip install 'rlops_lab[environments]'"
        in subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout
    )


@settings(deadline=None, max_examples=30)
@given(plain_values)
def test_plain_values_cross_monty_unchanged(value):
    program = InMonty('def same(x): return x', ['same'], LIMITS)
    try:
        (answer,) = program.answers([('same', (value,), {})])
    finally:
        program.close()
    assert answer == ('value', value)
