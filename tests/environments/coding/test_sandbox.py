"""Programs that attack: none gets out, none decides its result, each ends, and the host is unharmed.

All of the hostile programs run first, a few at a time; the tests look at what became of each."""

import os
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from hostile_programs import GOOD, HOSTILE, LIMITS, TESTS

from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.sandbox import run_code
from rlops_lab.environments.coding.task import code_in
from rlops_lab.environments.coding.unit_tests import run_tests
from rlops_lab.rewards import checks

with_bubblewrap = pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 80


def expected(v, statuses):
    "The right word. On a machine so busy that a second has passed, 'timeout' is right, too"
    return v.status in statuses.split('|') or v.status == 'timeout' and v.seconds > LIMITS.seconds


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_in_monty(name, in_monty):
    v, seconds = in_monty[name]
    assert expected(v, HOSTILE[name][0]), v
    assert not v.ok and seconds < 30  # four seconds here; the machine may be busy


@with_bubblewrap
@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_in_bubblewrap(name, in_bubblewrap):
    v, seconds = in_bubblewrap[name]
    assert expected(v, HOSTILE[name][1]), v
    assert not v.ok and seconds < 30


def test_the_host_keeps_its_memory_and_its_files(in_monty):
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20  # KB
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(20):
        run_tests(GOOD, TESTS, ['answer'], sandbox='monty')
    if not bubblewrap_fault():
        run_tests('while True: print(1)', TESTS, ['answer'], sandbox='bubblewrap')
    assert len(os.listdir('/proc/self/fd')) <= before + 2


@settings(deadline=None, max_examples=30)
@given(st.text())
def test_any_text_has_a_verdict(text):
    assert run_code(text, LIMITS, 'monty').status in (
        'passed',
        'syntax',
        'error',
        'unsupported',
        'forbidden',
        'timeout',
    )
    assert isinstance(code_in(f'```\n{text}\n```'), str)
    assert checks.tests_pass(sandbox='monty', limits=LIMITS)(
        ['?'], [text], tests=[TESTS], functions=[['answer']]
    )[0] in (0.0, None)
    assert checks.code_runs(sandbox='monty', limits=LIMITS)(['?'], [text])[0] in (0.0, 1.0, None)
