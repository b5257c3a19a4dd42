"Rewards: what a composition must keep when children abstain, nest, fail, or are called by TRL"

import random
import subprocess
import sys
import warnings

import numpy as np
import pytest

from rlops_lab.rewards.compose import (
    Composed,
    Gate,
    Sequential,
    WeightedSum,
    check,
    kpi,
    length,
    matches,
    policy_turns,
    tools_exist,
)


def column(values, name):
    "Reward function that answers by the number in the completion"

    def f(prompts, completions, **columns):
        return [values[int(c)] for c in completions]

    f.__name__ = name
    return f


def batch(n, **columns):
    return dict(prompts=[None] * n, completions=[str(i) for i in range(n)], **columns)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def test_all_answer_is_the_plain_weighted_sum():
    r = WeightedSum([column([1, 2, 3], 'a'), column([10, 20, 30], 'b')], weights=[2, 0.5])
    assert r(**batch(3)) == [7.0, 14.0, 21.0]


def test_penalties_renormalise_without_changing_sign():
    r = WeightedSum([column([1, None], 'a'), column([1, 1], 'cost')], weights=[1, -1])
    assert r(**batch(2)) == [0.0, -2.0]


def test_no_answer_at_all_is_none_never_zero():
    r = WeightedSum([column([None], 'a'), Sequential([Gate(column([None], 'b')), column([1], 'c')])])
    assert r(**batch(1)) == [None]


def test_zero_weight_alone_does_not_answer():
    assert WeightedSum([column([None], 'a'), column([1], 'b')], weights=[1, 0])(**batch(1)) == [None]


def test_warning_names_the_child_and_its_share():
    with pytest.warns(UserWarning, match="'b' answered on 1 of 4 rows"):
        WeightedSum([column([1] * 4, 'a'), column([1, None, None, None], 'b')], min_answered=0.5)(**batch(4))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        WeightedSum([column([1] * 4, 'a'), column([1, 1, None, None], 'b')], min_answered=0.5)(**batch(4))


def test_rows_and_columns_stay_together_behind_gates():
    seen = []

    def later(prompts, completions, number, trainer_state=None, **columns):
        seen.append((completions, number, trainer_state))
        return [float(x) for x in number]

    r = Sequential([Gate(column([1, 0, 1, 0, 1], 'a')), Gate(column([0, 9, 1, 9, 1], 'b')), later])
    assert r(**batch(5, number=[5, 6, 7, 8, 9], trainer_state='not a column')) == [0.0, 0.0, 7.0, 0.0, 9.0]
    assert seen == [(['2', '4'], [7, 9], 'not a column')]


def test_nothing_is_called_behind_closed_gates():
    def never(prompts, completions, **columns):
        raise AssertionError('called')

    r = Sequential([Gate(column([0, None], 'a')), WeightedSum([never], name='rest')])
    assert r(**batch(2)) == [0.0, None]
    assert r.scores == {
        'a': [0.0, None],
        'a/value': [0.0, None],
        'rest': [None] * 2,
        'rest/never': [None] * 2,
    }


def test_stale_scores_of_an_earlier_batch_do_not_remain():
    gate = Gate(column([1, 0], 'a'))
    inner = WeightedSum([column([0.5, 0.5], 'b')], name='inner')
    r = Sequential([gate, inner])
    r(**batch(2))
    assert r.scores['inner/b'] == [0.5, None]
    r(prompts=[None], completions=['1'])
    assert r.scores['inner/b'] == [None]


def random_tree(r, n, depth=0):
    name = f'x{r.random()}'

    def leaf():
        return column([r.choice([None, 0.0, 0.5, 1.0]) for _ in range(n)], f'leaf{r.random()}')

    def child():
        return leaf() if depth > 2 or r.random() < 0.5 else random_tree(r, n, depth + 1)

    kind = r.randrange(3)
    if kind == 0:
        return WeightedSum(
            [child() for _ in range(3)], weights=[r.uniform(0.1, 2) for _ in range(3)], name=name
        )
    if kind == 1:
        return Gate(child(), threshold=0.5, otherwise=r.choice([None, -1.0]), name=name)
    return Sequential([Gate(child(), threshold=0.5, name=f'g{r.random()}'), child()], name=name)


@pytest.mark.parametrize('seed', range(20))
def test_a_batch_is_graded_as_its_rows_are_one_by_one(seed):
    n, tree = 12, random_tree(random.Random(seed), 12)
    together = tree(**batch(n))
    parts = {k: list(v) for k, v in tree.scores.items()}
    assert parts.keys() == {path for path, _ in tree.named_children()}
    for i in range(n):
        assert tree(prompts=[None], completions=[str(i)]) == pytest.approx([together[i]])
        assert {k: v[0] for k, v in tree.scores.items()} == {k: v[i] for k, v in parts.items()}


def test_numpy_and_torch_scalars_are_numbers():
    torch = pytest.importorskip('torch')
    assert WeightedSum([lambda_named(lambda prompts, completions, **c: np.array([1, 2]))])(**batch(2)) == [
        1.0,
        2.0,
    ]
    assert WeightedSum([lambda_named(lambda prompts, completions, **c: torch.tensor([1.0, 2.0]))])(
        **batch(2)
    ) == [1.0, 2.0]


def lambda_named(f):
    f.__name__ = 'named'
    return f


@pytest.mark.parametrize(
    'make, error, text',
    [
        (lambda: WeightedSum([]), ValueError, 'no children'),
        (lambda: WeightedSum(dict(a=3)), TypeError, "child 'a' is 3"),
        (lambda: WeightedSum([kpi('a'), kpi('a')]), ValueError, 'names of their own'),
        (lambda: WeightedSum([kpi('a')], weights=dict(b=1)), ValueError, 'do not fit'),
        (lambda: WeightedSum([kpi('a')], weights=[float('nan')]), ValueError, 'finite'),
        (lambda: Gate(kpi('a'), threshold=float('nan')), ValueError, 'threshold'),
        (lambda: Sequential([kpi('a'), kpi('b')]), ValueError, 'not gates'),
    ],
)
def test_errors_at_construction(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_async_child_is_waited_for():
    async def judge(prompts, completions, **columns):
        return [1.0] * len(completions)

    total = WeightedSum([judge, lambda_named(lambda prompts, completions, **c: [1.0] * 3)])
    assert total(**batch(3)) == [2.0] * 3 and total.scores['judge'] == [1.0] * 3


def test_wrong_answers_name_the_path():
    inner = WeightedSum([lambda_named(lambda prompts, completions, **c: [1.0])], name='inner')
    with pytest.raises(ValueError, match="'inner/named' returned 1 values for 3"):
        WeightedSum([inner])(**batch(3))


def test_a_bug_in_a_check_is_not_a_grade():
    @check
    def broken(turns):
        return turns[5]

    with pytest.raises(IndexError) as e:
        broken([None], ['x'])
    assert any("check 'broken', row 0" in n for n in e.value.__notes__)


def test_policy_turns_takes_text_messages_and_tool_calls():
    call = dict(role='assistant', tool_calls=[dict(function=dict(name='f', arguments=dict(x=1)))])
    assert policy_turns('hi') == ['hi'] and policy_turns(
        [call, dict(role='tool', content='no'), dict(role='assistant', content=None)]
    ) == ['f(x=1)', '']


def test_tools_exist_abstains_without_calls():
    assert tools_exist(['f'])([None] * 3, ['f(x=1)', 'g()', 'Hello (there)']) == [1.0, 0.0, None]


def test_called_as_trl_calls_it():
    class Env:
        kpis = dict(done=1.0)

    r = WeightedSum([kpi('done'), length(2), matches('ok')], name='total')
    out = r(
        prompts=[[]] * 2,
        completions=[[dict(role='assistant', content='ok')]] * 2,
        completion_ids=[[1], [1, 2, 3]],
        environments=[Env()] * 2,
        trainer_state=object(),
        log_extra=print,
        log_metric=print,
        family=['a', 'b'],
    )
    assert out == [3.0, 2.0] and r.__name__ == 'total' and isinstance(r, Composed)


def test_no_torch():
    assert (
        subprocess.run(
            [sys.executable, '-c', "import rlops_lab.rewards.compose, sys; sys.exit('torch' in sys.modules)"]
        ).returncode
        == 0
    )
