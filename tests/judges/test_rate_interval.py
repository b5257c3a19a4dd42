"Intervals of corrected rates, from counts: invariances, and coverage where it is hardest."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.rate_interval import rate_interval, rogan_gladen_interval
from rlops_lab.stats import wilson

stratum = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200))


@settings(deadline=None)
@given(st.lists(stratum, min_size=1, max_size=5))
def test_passes_and_fails_are_mirror_images(strata):
    passed, failed, others = (np.array(counts) for counts in zip(*strata))
    labelled, pool = passed + failed, passed + failed + others + 1
    for target in ('population', 'pool'):
        value, low, high = rate_interval(passed, labelled, pool, target)
        mirrored = rate_interval(failed, labelled, pool, target)
        assert 0 <= low <= value <= high <= 1
        assert (1 - value, 1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40), st.integers(0, 500))
def test_inverted_interval_is_one(hits, misses, alarms, quiet, judged):
    value, low, high = rogan_gladen_interval(hits, hits + misses, alarms, alarms + quiet, judged, 500)
    assert 0 <= low <= high <= 1
    if np.isfinite(value):
        assert low <= value <= high


def test_many_evaluations_in_one_call_are_the_same_as_one_by_one():
    random = np.random.default_rng(2)
    labelled = random.integers(1, 40, (50, 3))
    passed = random.binomial(labelled, 0.6)
    pool = labelled + random.integers(0, 300, (50, 3))
    together = np.stack(rate_interval(passed, labelled, pool), 1)
    one_by_one = [rate_interval(*counts) for counts in zip(passed, labelled, pool)]
    assert together == pytest.approx(np.array(one_by_one))


@pytest.mark.parametrize('rate', [0.02, 0.1, 0.5, 0.95])
@pytest.mark.parametrize('tpr, tnr', [(1.0, 1.0), (0.98, 0.74), (0.6, 0.55), (0.5, 0.5)])
def test_coverage_and_width(rate, tpr, tnr):
    """Good judges and useless ones, rare passes and common ones.
    7% wider than labels alone at one pass in 50 labels and a coin as judge."""
    random = np.random.default_rng(3)
    cells = np.array([[(1 - rate) * tnr, (1 - rate) * (1 - tnr)], [rate * (1 - tpr), rate * tpr]])
    for labels, rows in ((50, 1000), (200, 200)):
        labelled = random.multinomial(labels, cells.ravel(), 2000).reshape(-1, 2, 2)
        others = random.multinomial(rows, cells.sum(0), 2000)
        found = rate_interval(labelled[:, 1], labelled.sum(1), labelled.sum(1) + others)
        alone = [wilson(passed, labels) for passed in random.binomial(labels, rate, 2000)]
        most = 1.08 if labels * min(rate, 1 - rate) < 3 else 1.05
        assert found.holds(rate).mean() > 0.93
        assert found.width.mean() < most * np.mean([high - low for low, high in alone])


@pytest.mark.parametrize('rate', [0.01, 0.02, 0.1, 0.9, 0.98])
@pytest.mark.parametrize('labels, rows', [(30, 300), (50, 1000), (200, 2000)])
def test_balanced_labels_without_a_judges_error(rate, labels, rows):
    "No false alarm or no miss among a few labels, and passes or fails that are rarer than half a one of them"
    random = np.random.default_rng(13)
    half = labels // 2
    for tpr, fpr in ((1.0, 0.0), (1.0, 0.13), (0.87, 0.0)):
        hits = random.binomial(half, tpr, 1000)
        alarms = random.binomial(half, fpr, 1000)
        judged = random.binomial(rows, rate * tpr + (1 - rate) * fpr, 1000)
        found = rogan_gladen_interval(hits, half, alarms, half, judged, rows)
        assert found.holds(rate).mean() > 0.92, (tpr, fpr)


@pytest.mark.parametrize('rate', [0.005, 0.02, 0.1, 0.9, 0.99])
@pytest.mark.parametrize('labels, rows', [(50, 1000), (100, 350), (200, 2000)])
def test_a_stratum_without_a_pass_may_hold_none(rate, labels, rows):
    """Good judges and rare passes or fails, half of the labels in each verdict or all at random.
    Pseudo-items alone hold 58% and more."""
    random = np.random.default_rng(14)
    for tpr, fpr in ((1.0, 0.0), (0.95, 0.01), (0.9, 0.05)):
        judge_passes = rate * tpr + (1 - rate) * fpr
        judged = random.binomial(rows, judge_passes, 1500)
        pool = np.stack([rows - judged, judged], 1)
        labelled = np.minimum(labels // 2, pool)
        pass_rates = [rate * (1 - tpr) / (1 - judge_passes), rate * tpr / judge_passes]
        by_verdict = random.binomial(labelled, pass_rates), labelled, pool
        cells = [(1 - rate) * (1 - fpr), (1 - rate) * fpr, rate * (1 - tpr), rate * tpr]
        drawn = random.multinomial(labels, cells, 1500).reshape(-1, 2, 2)
        at_random = drawn[:, 1], drawn.sum(1), drawn.sum(1) + pool
        for counts in (by_verdict, at_random):
            assert rate_interval(*counts).holds(rate).mean() > 0.93, (tpr, fpr)
