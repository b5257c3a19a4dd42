"Coding tasks: each can be solved, none gives its tests away, and a broken sandbox gives no reward."

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding import unit_tests
from rlops_lab.environments.coding.limits import SandboxResult
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
    monkeypatch.setattr(unit_tests, 'with_sandbox', lambda *a: SandboxResult('failed', 'no worker'))
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
    ],
)
def test_a_task_that_cannot_be_judged_is_refused_before_it_is_asked(change, cause):
    with pytest.raises(ValueError, match=cause):
        Coding().reset(**coding_tasks()[0] | change)
