"Cohen's kappa and Krippendorff's alpha: other libraries as oracles, for one table and for many at once."

import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.kappa import cohen_kappa, krippendorff_alpha

METRICS = ('nominal', 'ordinal', 'interval')
WEIGHTS = ('nominal', 'linear', 'quadratic')
LEVELS = tuple(range(4))

level = st.integers(0, 3)


def their_kappa(labels, verdicts, weights):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # theirs warns where kappa is not defined
        return cohen_kappa_score(
            labels,
            verdicts,
            labels=LEVELS,
            weights=None if weights == 'nominal' else weights,
        )


def their_alpha(labels, verdicts, metric):
    return krippendorff.alpha([verdicts, labels], level_of_measurement=metric, value_domain=LEVELS)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(level, level), min_size=1, max_size=40),
    st.sampled_from(WEIGHTS),
    st.sampled_from(METRICS),
)
def test_kappa_and_alpha_of_two_are_those_of_the_libraries(rows, weights, metric):
    verdicts, labels = map(list, zip(*rows))
    ours = calibrate(verdicts, labels, 'random', levels=LEVELS, weights=weights, metric=metric)
    expected = their_kappa(labels, verdicts, weights)
    assert ours.kappa.value == pytest.approx(expected, abs=1e-9, nan_ok=True)
    if len({*verdicts, *labels}) < 2:
        assert np.isnan(ours.alpha.value)
        return
    assert ours.alpha.value == pytest.approx(their_alpha(labels, verdicts, metric), abs=1e-9)


def test_many_tables_in_one_call_are_those_of_the_libraries_one_by_one():
    "What neither library does, and what the intervals are made of: a posterior's worth of tables at once"
    tables = np.random.default_rng(0).integers(0, 12, (50, 4, 4))
    for weights, metric in zip(WEIGHTS, METRICS):
        kappas = cohen_kappa(tables, weights)
        alphas = krippendorff_alpha(tables + tables.swapaxes(1, 2), metric)
        for table, kappa, alpha in zip(tables, kappas, alphas):
            labels, verdicts = np.repeat(np.indices((4, 4)).reshape(2, -1), table.ravel(), 1)
            assert kappa == pytest.approx(their_kappa(labels, verdicts, weights))
            assert alpha == pytest.approx(their_alpha(labels, verdicts, metric))
