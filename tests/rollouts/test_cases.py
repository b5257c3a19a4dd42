"Cases: a row is resolved once, groups keep the rows' order, and lineage is complete before anything runs"

import pytest
from scripted_rollouts import TOKENIZER, Scripted, Talk, Till, run

from rlops_lab.core import Lineage
from rlops_lab.rollouts import cases as cases_module
from rlops_lab.rollouts.cases import by_prompt, resolve_cases, set_lineage
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import decoded


def test_results_come_in_the_rows_order_and_rows_stay_untouched():
    rows = [dict(goal=g, prompt=[dict(role='user', content=f'p{g % 2} ')]) for g in (3, 2, 1)]
    ts = run([['put(amount=1)'] * 3] * 3, rows=rows, batch_size=2)
    assert [t.task['goal'] for t in ts] == [3, 2, 1] and rows[0]['prompt'] == [
        dict(role='user', content='p1 ')
    ]
    assert [t.messages[0]['content'] for t in ts] == ['p1 Collect 3.', 'p0 Collect 2.', 'p1 Collect 1.']


def test_prompt_sees_the_row_and_rows_with_one_prompt_stand_together():
    sampler = Scripted({i: ['put(amount=10)'] for i in range(6)})
    run(
        [0] * 6,
        sampler=sampler,
        rows=[dict(goal=10, kind=i % 2) for i in range(6)],
        batch_size=3,
        prompt=lambda row: [dict(role='system', content=f"kind {row['kind']}")],
    )
    assert [[k for _, k in keys] for keys in sampler.batches] == [[0, 2, 4], [1, 3, 5]]


def test_tools_are_shown_on_request():
    with_tools, without = (run([['put(amount=10)']], tools_in_prompt=shown)[0] for shown in (True, False))
    assert 'put(amount: integer) Put money in.' in decoded(TOKENIZER, with_tools.token_ids)
    assert 'Put money in' not in decoded(TOKENIZER, without.token_ids)
    assert with_tools.lineage.template != without.lineage.template


def test_lineage_takes_what_the_caller_knows_and_adds_the_rest():
    (t,) = run([['put(amount=10)']], seed=5, lineage=Lineage(git_commit='abc', model='mine', adapter='9f2c'))
    assert (t.lineage.model, t.lineage.adapter, t.lineage.seed, t.lineage.git_commit) == (
        'mine',
        '9f2c',
        5,
        'abc',
    )
    assert (t.lineage.environment, t.lineage.environment_version) == ('Till', '3') and len(
        t.lineage.template
    ) == 12
    same, other = (
        run([['put(amount=10)']], prompt=lambda row, p=p: [dict(role='system', content=p)])[0] for p in 'ab'
    )
    assert same.lineage.template != other.lineage.template


def test_each_row_is_asked_for_its_environment_once(monkeypatch):
    asked = []

    def environment_of(factories, row):
        asked.append(row['goal'])
        return factories[row['environment']], dict(goal=row['goal'])

    monkeypatch.setattr(cases_module, 'environment_of', environment_of)
    rows = [dict(environment=name, goal=goal) for goal, name in enumerate(('till', 'talk', 'till'), 1)]
    both = dict(till=Till, talk=Talk)
    run([['put(amount=9)']] * 3, both, rows=rows, tools_in_prompt=True)
    assert asked == [1, 2, 3]


def test_reset_does_not_see_which_environment_was_picked():
    both = dict(till=Till, talk=Talk)
    first, second = resolve_cases(both, [dict(environment='talk', goal=1), dict(environment='till', goal=2)])
    assert (first.factory, first.arguments) == (Talk, dict(goal=1)) and first.row['environment'] == 'talk'
    assert (second.factory, second.arguments) == (Till, dict(goal=2))


def test_groups_and_their_cases_keep_the_rows_order():
    rows = [dict(goal=goal, prompt=[dict(role='user', content=f'p{goal % 3}')]) for goal in range(1, 8)]
    groups = by_prompt(resolve_cases(Till, rows, numbers=list(range(10, 17))))
    assert [[case.index for case in group] for group in groups] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [case.number for case in groups[0]] == [10, 13, 16]


@pytest.mark.parametrize('folder', [True, False])
def test_a_model_in_a_folder_is_named_by_the_last_part(folder, tmp_path):
    (tmp_path / 'mine').mkdir()

    class Model:
        model = str(tmp_path / 'mine') if folder else 'org/mine'

    cases = resolve_cases(Till, [dict(goal=1)])
    set_lineage(cases, chat_format(TOKENIZER), Model(), Lineage(git_commit='abc'), seed=0)
    assert cases[0].lineage.model == ('mine' if folder else 'org/mine')
