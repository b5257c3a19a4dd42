"Baselines from labels: false alarms as promised over the draws of the labels, and prices that are told"

import numpy as np
import pytest

from rlops_lab.observe.drift import first_alarms
from rlops_lab.observe.drift_baseline import baseline


@pytest.mark.parametrize('n', [100, 300])
def test_false_alarms_over_the_draws_of_the_labels(n):
    "Labels and canaries are drawn anew: the widened baseline keeps to 5%, with room for chance"
    random = np.random.default_rng(0)
    counts = np.unique(random.binomial(n, 0.8, 150), return_counts=True)
    alarms = {'face': 0, 'widened': 0}
    for right, times in zip(*counts):
        streams = random.random((times, 5000)) < 0.8
        price = baseline(int(right), n, horizon=50, streams=2)
        alarms['face'] += (first_alarms(streams, price.at_face.at_least) > 0).sum()
        alarms['widened'] += (first_alarms(streams, price.widened.at_least) > 0).sum()
    assert alarms['widened'] / 150 <= 0.08 < alarms['face'] / 150


def test_prices():
    few, many = baseline(80, 100, streams=150), baseline(400, 500, streams=150)
    assert few.at_least < many.at_least < 0.8
    assert few.at_face.false_alarms > many.at_face.false_alarms > many.known.false_alarms
    assert few.widened.delay > many.widened.delay > many.known.delay
    assert baseline(80, 100, streams=150) == few
    correlated = baseline(80, 100, inflation=2.0, streams=20)
    assert correlated.at_least < few.at_least


def test_a_judge_that_was_never_wrong():
    found = baseline(100, 100, streams=60)
    assert 0.9 < found.at_least < found.at_face.at_least < 1
    assert found.widened.false_alarms <= 0.1


@pytest.mark.parametrize('right, n', [(0, 100), (101, 100), (9, 10)])
def test_what_is_no_count_is_refused(right, n):
    with pytest.raises(ValueError, match='give at least 20'):
        baseline(right, n)
