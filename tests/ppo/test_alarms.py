"Alarms of reward hacking: what raises one, what does not, and what is excluded"

import numpy as np
import pytest

from rlops_lab.core import Trajectory
from rlops_lab.ppo.alarms import diverges, drivers, rank_correlation, repetition, suspicious


def episode(tokens, reward, **more):
    return Trajectory(
        task={},
        messages=[],
        token_ids=[0, *tokens],
        action_mask=[0] + [1] * len(tokens),
        logprobs=[0.0] * (1 + len(tokens)),
        turn_ids=[-1] + [0] * len(tokens),
        turn_rewards=[reward],
        terminated=True,
        **more,
    )


@pytest.mark.parametrize(
    'x, y, r',
    [
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 1, 2, 2], [0, 0, 5, 5], 1),
        ([3, 1, 4, 1, 5], [2, 7, 1, 8, 2], -0.8),
    ],
)
def test_rank_correlation_by_hand(x, y, r):
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(r, abs=0.06)
    assert found.low <= found.value <= found.high
    assert found.n == len(x)


def ranks(x):
    "Ranks from 1, equal values sharing the mean of theirs, the slow way"
    return [sum(other < value for other in x) + (sum(other == value for other in x) + 1) / 2 for value in x]


def test_rank_correlation_is_the_correlation_of_ranks_that_ties_share():
    random = np.random.default_rng(0)
    for _ in range(20):
        x, y = random.integers(0, 9, (2, 40)).tolist()
        assert sum(ranks(x)) == 40 * 41 / 2
        by_hand = np.corrcoef(ranks(x), ranks(y))[0, 1]
        assert rank_correlation(x, y).value == pytest.approx(by_hand, abs=1e-6)


def test_rank_correlation_does_not_depend_on_order_or_scale():
    x, y = np.random.default_rng(0).integers(0, 9, (2, 40))
    order = np.random.default_rng(1).permutation(40)
    found = rank_correlation(x, y)
    for same in (rank_correlation(x[order], y[order]), rank_correlation(x**3 + 7, y)):
        assert (same.value, same.low, same.high) == pytest.approx((found.value, found.low, found.high))


def test_grades_that_abstained_are_missing_from_their_own_correlation_only():
    rows = [episode(range(i + 1), float(i), scores=dict(judge=None if i % 2 else i)) for i in range(12)]
    found = drivers(rows)
    assert found['tokens'].n == 12 and found['score/judge'].n == 6 and 'repetition' not in found


def test_repetition_that_pays_is_named():
    g = np.random.default_rng(0)
    rows = [
        episode([1, 2, 3, 4, 5] * k + g.integers(10, 999, 60 - 5 * k).tolist(), k + g.normal(0, 0.5))
        for k in g.integers(0, 12, 50)
    ]
    assert repetition(rows[0]) >= 0 and any('repeat' in s for s in suspicious(drivers(rows)))


def test_no_alarm_from_noise_alone_and_an_alarm_when_both_move():
    def row(reward, passed):
        return dict(reward=reward, reward_se=0.02, passed=passed, n=210)

    assert diverges([row(0.5, 150)] * 9 + [row(0.9, 140)]) is None
    assert 'best checkpoint' in diverges([row(0.5, 150), row(0.6, 160), row(0.9, 110)])
    assert diverges([row(0.5, 150), row(0.45, 100)]) is None
