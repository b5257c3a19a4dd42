"Coding tasks: each can be solved, none gives its tests away, and a broken sandbox gives no reward."

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding import unit_tests
from rlops_lab.environments.coding.limits import SandboxLimits, SandboxResult
from rlops_lab.environments.coding.task import Coding, coding_tasks, validate_tasks


def test_every_task_is_solved_by_its_solution_and_not_by_its_wrong_program():
    rows = coding_tasks() + coding_tasks('eval')
    assert len({r['name'] for r in rows}) == len(rows) == 20
    validate_tasks(rows, 'monty')


def test_examples_give_no_test_away():
    for row in coding_tasks() + coding_tasks('eval'):
        assert not set(row['examples']) & set(row['tests'])


def test_a_broken_sandbox_gives_no_verdict_and_no_reward(monkeypatch):
    row = coding_tasks()[0]
    env = Coding()
    env.reset(**row)
    monkeypatch.setattr(unit_tests, 'with_sandbox', lambda *a: SandboxResult('failed', 'no worker', total=1))
    env.submit(row['solution'])
    assert (
        env.done
        and 'verified_resolution' not in env.kpis
        and env.kpis['abstained'] == 1
        and env.get_reward() == 0
    )


@pytest.mark.parametrize(
    'change, cause',
    [
        (dict(tests=[]), 'at least one piece'),
        (dict(tests='assert f(1)'), 'must be a list'),
        (dict(functions='total'), "functions='total'"),
        (dict(examples=['assert (']), 'is not Python'),
        (dict(tests=['assert f(']), 'is not Python'),
        (dict(tests=['running_total([1])']), 'run no assertion'),
        (dict(examples=['def test_it(): assert True']), 'run no assertion'),
    ],
)
def test_a_task_that_cannot_be_judged_is_refused_before_it_is_asked(change, cause):
    with pytest.raises(ValueError, match=cause):
        Coding().reset(**coding_tasks()[0] | change)


SPIES = {
    'raises its argument': 'def roman(n): raise ValueError(n)',
    'says that Monty lacks its argument': 'def roman(n): raise NotImplementedError(f"monty does not support {n}")',
    'imports what Monty lacks, for some': 'def roman(n):\n    if n > 9: import heapq\n    return heapq',
    'yields, for some': 'def g(): yield 1\ndef roman(n): return g() if n > 9 else "I"',
    'prints its argument': 'def roman(n): print(n)',
    'is slow, for some': 'def roman(n):\n    while n > 9: pass',
    'answers': 'def roman(n): return "I"',
}


@pytest.mark.parametrize('kind', ['monty', 'auto'])
def test_nothing_is_learned_of_a_hidden_test(kind):
    "Whatever a program does under a hidden test, it is told the same, and once"
    row = coding_tasks()[4]
    told = {}
    for name, program in SPIES.items():
        env = Coding()
        env.sandbox, env.limits = kind, SandboxLimits(seconds=0.5)
        env.reset(**row)
        told[name] = env.submit(program)
        if env.done:
            assert env.submit(row['solution']) == told[name] and env.get_reward() == 0, name
        else:
            assert told[name].startswith('This sandbox lacks') and not any(digit in told[name] for digit in '9'), name
            assert told[name] == env.submit(program), name
    assert len({answer for name, answer in told.items() if 'for some' not in name or 'slow' in name}) == 1, told


def test_what_a_program_lacks_is_told_from_its_text_alone():
    "The same answer whatever the tests are"
    program = 'import heapq\ndef roman(n): return heapq.nlargest(n, [])'
    told = set()
    for tests in (['assert roman(1) == "I"'], ['assert roman(2) == "II"', 'assert roman(3) == "III"']):
        env = Coding()
        env.sandbox = 'monty'
        env.reset('Write it.', tests, ['roman'])
        told.add(env.submit(program))
    assert told == {'This sandbox lacks heapq. Write it without, and submit again.'}


def test_columns_that_arrow_filled_with_none():
    env = Coding()
    env.reset('Print it.', [dict(input='1', output='1')], functions=None, examples=None, setup=None)
    env.submit('print(input())')
    assert env.get_reward() == 1
