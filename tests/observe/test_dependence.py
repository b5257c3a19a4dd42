"The correlation of neighbours: its interval holds, chains are as described, and what lasts for days is seen"

import warnings

import numpy as np
import pytest

from rlops_lab.observe.dependence import chained, dependence, inflation_of


def quietly(stream, **keys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        return dependence(stream, **keys), len(caught)


@pytest.mark.parametrize('p, lag1', [(0.8, 0.0), (0.8, 0.4), (0.95, 0.0), (0.95, 0.2)])
def test_the_interval_holds_the_correlation(p, lag1):
    streams = chained(p, lag1, (150, 500), np.random.default_rng(0))
    found = [quietly(stream)[0] for stream in streams]
    assert np.mean([not each.lag1.excludes(lag1) for each in found]) >= 0.87
    assert np.mean([each.inflation >= inflation_of(lag1) for each in found]) >= 0.88
    assert np.mean([each.lag1.value for each in found]) == pytest.approx(lag1, abs=0.02)


def test_independent_verdicts_warn_rarely_and_correlated_ones_mostly():
    random = np.random.default_rng(1)
    told = {lag1: [quietly(s)[1] for s in chained(0.8, lag1, (100, 500), random)] for lag1 in (0.0, 0.2)}
    assert np.mean(told[0.0]) <= 0.08 and np.mean(told[0.2]) >= 0.95


def test_a_chain_has_the_rate_and_the_correlation_it_was_told():
    streams = chained(np.where(np.arange(400) < 200, 0.9, 0.6), 0.3, (2000, 400), np.random.default_rng(2))
    assert streams[:, 50:200].mean() == pytest.approx(0.9, abs=0.015)
    assert streams[:, 250:].mean() == pytest.approx(0.6, abs=0.015)
    before, after = streams[:, 250:-1].ravel(), streams[:, 251:].ravel()
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(0.3, abs=0.015)


def test_days_are_seen_by_blocks():
    random = np.random.default_rng(3)
    days = np.repeat(random.choice([0.65, 0.95], 100), 20)
    found, _ = quietly(random.random(2000) < days, block=20)
    assert found.inflation == found.by_blocks.high > 2 * found.by_lag1.high


def test_gaps_are_left_out_and_too_little_is_refused():
    stream = chained(0.8, 0.2, (1, 400), np.random.default_rng(4))[0]
    with_gaps = [x for right in stream for x in (bool(right), None)]
    assert quietly(with_gaps)[0] == quietly(stream)[0]
    for few in ([True, False] * 40, [True] * 200):
        with pytest.raises(ValueError, match='give 100 or more'):
            dependence(few)
