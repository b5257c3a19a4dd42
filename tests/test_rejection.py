"Rejection sampling: accounting, balance and estimators"

import math
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from kept_episodes import SHORT, episode

from rlops_lab.core import Trajectory
from rlops_lab.rejection import (
    action_texts,
    best_of_n,
    difficulty,
    family,
    learnable,
    pass_at,
    rejection_sample,
    select,
    similarity,
    task_key,
    verified,
)
from rlops_lab.stats import share


def test_every_episode_is_in_one_list():
    r = random.Random(0)
    ts = [episode(r.randrange(20), r.random() < 0.5, r.choice('abc'), r.choice('xyz')) for _ in range(300)]
    s = select(ts, per_group=5, per_task=2)
    lists = s.kept + s.rejected + s.duplicates + s.surplus
    assert len(lists) == s.tried == 300 and {id(t) for t in lists} == {id(t) for t in ts}
    assert s.accepted == sum(map(verified, ts)) and s.rate == share(s.accepted, 300)
    assert s.summary()['ci95'] == [s.rate.low, s.rate.high] and s.summary()['rate'] == s.rate.value
    assert (
        max(Counter(map(family, s.kept)).values()) <= 5 and max(Counter(map(task_key, s.kept)).values()) <= 2
    )
    assert {g: n for g, (_, n) in s.groups.items()} == Counter(map(family, ts))


def test_the_kept_pay_for_all():
    s = select([episode(i, right=i < 2) for i in range(10)])
    assert s.cost == dict(tokens=10 * (10 - 4 + 2) / 2, seconds=5.0, usd=2.5)
    assert select([episode(i, right=i < 2) for i in range(10)], seconds=3.0).cost['seconds'] == 1.5
    assert select([episode(0, right=False)]).cost['tokens'] == float('inf')


def test_the_price_of_an_accepted_episode_has_the_interval_of_the_rate():
    s = select([episode(i, right=i < 8) for i in range(20)])
    price = s.accepted_cost['tokens']
    assert price.value == 8 * 20 / 8 and price.n == 20
    assert price.low == pytest.approx(8 / s.rate.high) and price.high == pytest.approx(8 / s.rate.low)
    none = select([episode(0, right=False)]).accepted_cost['usd']
    assert none.value == none.high == math.inf and 0.5 < none.low < math.inf


def test_recorded_usage_is_not_changed():
    ts = [episode(i) for i in range(3)]
    select(ts, seconds=100.0)
    assert [t.usage.seconds for t in ts] == [1.0, 1.0, 1.0]


def test_duplicates_are_texts_of_one_task():
    s = select(
        [episode(0, text='a  b'), episode(0, text='a b'), episode(1, text='a b'), episode(0, text='a c')]
    )
    assert (len(s.kept), len(s.duplicates)) == (3, 1)
    assert action_texts(episode(text=' a\n b ')) == ('a b',)


def asked(question, **columns):
    "A row as TRL has them: a prompt, and maybe nothing else"
    return dict(prompt=[dict(role='user', content=question)], **columns)


def of(row, said='4', right=True, **kw):
    "An episode of a row"
    messages = [*row['prompt'], dict(role='assistant', content=said)]
    kpis = dict(verified_resolution=float(right))
    return Trajectory(row, messages, [0, 1], [0, 1], [0.0] * 2, [-1, 0], [float(right)], kpis=kpis, **kw)


def test_rows_that_differ_in_their_prompt_only_are_other_tasks():
    ts = [of(asked('2+2?', answer='4')), of(asked('1+3?', answer='4')), of(asked('9+1?', answer='4'), right=False)]
    assert len(difficulty(ts)) == len(best_of_n(ts)) == 3 and len(select(ts, per_task=1).kept) == 2
    context = [dict(role='user', content='7'), dict(role='assistant', content='And?')]
    twice = [of(dict(prompt=[*before, dict(role='user', content='Add 1.')])) for before in ([], context)]
    assert len(difficulty(twice)) == 2  # the same last words, another conversation


def test_one_row_is_one_task_however_it_ran():
    row = asked('2+2?')
    short, long = of(row), of(row)
    long.messages = [dict(role='system', content='many examples'), *long.messages]  # what `rollout(prompt=…)` does
    parts = of(dict(prompt=[dict(role='user', content=[dict(type='text', text='2+2?')], tool_calls=None)]))
    assert task_key(short) == task_key(long) == task_key(parts) != task_key(of(asked('2+3?')))
    assert task_key(episode(prompt=SHORT)) == task_key(episode(prompt=SHORT)) != task_key(episode(task=1))


def test_rows_without_a_prompt_are_told_apart_by_what_they_have():
    rows = dict(q='a'), dict(q='a', prompt=None), dict(q='a', prompt=[]), dict(q='b')
    keys = [task_key(Trajectory(row, [], [], [], [], [])) for row in rows]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    odd = Trajectory(dict(prompt=3), [], [], [], [], []), Trajectory(dict(prompt='x'), [], [], [], [], [])
    assert len(set(map(task_key, odd))) == 2


def test_columns_that_are_arrays():
    def key(numbers, **columns):
        return task_key(Trajectory(dict(numbers=numbers, **columns), [], [], [], [], []))

    big = np.zeros(5000)
    other = big.copy()
    other[2500] = 1
    assert key(big) != key(other) and key(np.array([1, 2])) == key([1, 2])
    assert key([], n=np.int64(3)) == key([], n=3)


def calling(seat, note='ok', thought=None):
    "An episode whose one turn is a call"
    call = dict(type='function', function=dict(name='book', arguments=dict(seat=seat, note=note)))
    turn = dict(role='assistant', content='', tool_calls=[call]) | (dict(reasoning_content=thought) if thought else {})
    t = episode()
    t.messages = [t.messages[0], turn, dict(role='tool', name='book', content='booked')]
    return t


def test_other_calls_and_other_thoughts_are_no_duplicates():
    s = select([calling(4), calling(5), calling(4), calling(0.004), calling(0.001), calling(4, thought='Hm.')])
    assert (len(s.kept), len(s.duplicates)) == (5, 1)
    assert action_texts(calling(4)) != action_texts(calling(4.5)) and '"seat": 4' in action_texts(calling(4))[0]


def test_near_copies_are_duplicates_on_request():
    said = 'Your order 4417 is on its way and will be with you within two days, so please wait a little longer'
    ts = [episode(text=text) for text in (said, said.upper() + '!', said.replace('little', 'bit'), 'No.', 'Yes.')]
    assert similarity(ts[0], ts[1]) == 1 and 0.5 < similarity(ts[0], ts[2]) < 1 and similarity(ts[3], ts[4]) == 0
    assert [len(select(ts, near=near).kept) for near in (None, 1.0, 0.5)] == [5, 4, 3]
    other_task = [episode(task=1, text=said), episode(task=2, text=said)]
    assert len(select(other_task, near=0.5).kept) == 2
    assert similarity(episode(text=''), episode(text='')) == 1
    for near in (0, -1, 1.5):
        with pytest.raises(ValueError, match='near='):
            select(ts, near=near)


def test_selection_depends_on_the_seed_alone():
    ts = [episode(i, text=str(i)) for i in range(50)]

    def names(seed):
        return [t.task['seed'] for t in select(ts, per_group=5, seed=seed).kept]

    assert names(0) == names(0) != names(1)


def test_nothing_to_select_from():
    s = select([])
    assert s.tried == 0 and s.summary()['kept'] == 0
    assert math.isnan(s.rate.value) and (s.rate.low, s.rate.high) == (0.0, 1.0)
    assert s.cost['tokens'] == s.accepted_cost['tokens'].value == math.inf


def test_missing_verdict_is_an_error():
    with pytest.raises(ValueError, match='verified_resolution'):
        select([episode(kpis={})])


def test_an_environment_that_abstains_is_neither_right_nor_wrong():
    unsure = episode(kpis=dict(abstained=1.0))
    s = select([episode(), episode(right=False), unsure])
    assert (s.tried, s.accepted, len(s.rejected), s.unscored, s.summary()['unscored']) == (
        2,
        1,
        1,
        [unsure],
        1,
    )
    assert list(difficulty([episode(), unsure]).values()) == [(1, 1)] and pass_at([episode(), unsure], 1) == 1


@pytest.mark.parametrize('n, c, k', [(5, 0, 3), (5, 5, 3), (5, 2, 3), (5, 3, 3), (8, 1, 8), (1, 1, 1)])
def test_pass_at_k_counts_subsets(n, c, k):
    from itertools import combinations

    subsets = list(combinations([1] * c + [0] * (n - c), k))
    assert pass_at([episode(0, right=i < c) for i in range(n)], k) == pytest.approx(
        np.mean([any(s) for s in subsets])
    )


def test_pass_at_k_is_unbiased():
    r = np.random.default_rng(0)
    ts = [episode(task, right=r.random() < 0.3, text=str(i)) for task in range(1500) for i in range(5)]
    assert abs(pass_at(ts, 3) - (1 - 0.7**3)) < 0.02


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match='needs 2 samples of each task, 1 have fewer'):
        pass_at([episode(0), episode(0), episode(1)], 2)


@pytest.mark.parametrize('accept', [verified, lambda t: t.reward >= 1])
def test_an_episode_that_failed_is_neither_right_nor_wrong(accept):
    failed = episode(kpis={}, turn_rewards=[0.0], stop_reason='error', error='OSError: locked', scored=False)
    s = select([episode(), failed], accept)
    assert (s.kept, s.rejected, s.unscored) == ([s.kept[0]], [], [failed])
    assert list(difficulty([episode(), failed], accept).values()) == [(1, 1)]
    assert rejection_sample(lambda rows, r: [failed], [failed.task], 2) == [failed] * 2


def test_no_verdict_is_no_best_episode():
    silent, bad = episode(turn_rewards=[0.0], scored=False), episode(turn_rewards=[-1.0])
    assert best_of_n([silent, bad]) == [bad] and best_of_n([silent]) == [silent]


def test_difficulty_and_learnable():
    ts = [episode(0), episode(0), episode(1), episode(1, False), episode(2, False)]
    assert sorted(difficulty(ts).values()) == [(0, 1), (1, 2), (2, 2)]
    assert [row['seed'] for row in learnable(ts)] == [1]
    assert difficulty(ts, key=family) == {'a': (3, 5)}


def test_best_of_n_prefers_reward_then_brevity():
    long = Trajectory(episode().task, episode().messages, [0, 1, 1], [0, 1, 1], [0.0] * 3, [-1, 0, 0], [1.0])
    assert best_of_n([long, episode(), episode(right=False)])[0].n_actions == 1


def test_rejection_sampling_stops_where_it_may():
    asked = []

    def run(rows, r):
        asked.append([x['seed'] for x in rows])
        return [episode(x['seed'], right=x['seed'] <= r) for x in rows]

    found = rejection_sample(run, [dict(seed=i) for i in range(4)], rounds=3)
    assert asked == [[0, 1, 2, 3], [1, 2, 3], [2, 3]] and len(found) == 9
    with pytest.raises(ValueError, match='returned 1 trajectories for 2 rows'):
        rejection_sample(lambda rows, r: [episode()], [dict(seed=0), dict(seed=1)])


def test_rejection_sampling_wants_several():
    asked = []

    def run(rows, r):
        asked.append(len(rows))
        return [episode(x['seed'], right=x['seed'] == 0) for x in rows]

    rejection_sample(run, [dict(seed=0), dict(seed=1)], rounds=4, wanted=2)
    assert asked == [2, 2, 1, 1]


def test_no_torch():
    assert (
        subprocess.run(
            [sys.executable, '-c', "import rlops_lab.rejection, sys; sys.exit('torch' in sys.modules)"]
        ).returncode
        == 0
    )
