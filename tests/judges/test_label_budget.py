"Which items to label and how many: what is promised for any input."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.label_budget import allocate, expected_width, labels_needed, next_labels

cells = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 500)), min_size=1, max_size=5)


@settings(deadline=None)
@given(cells, st.floats(0.01, 1), st.sampled_from(['random', 'verdict']))
def test_allocation_adds_up_and_fits(strata, share, design):
    rates, pool = (np.array(x, float) for x in zip(*strata))
    labels = allocate(share * pool.sum(), rates, pool, design)
    assert labels.sum() == pytest.approx(share * pool.sum())
    assert (labels <= pool + 1e-6).all() and (labels >= 0).all()


def pilot_of(n=60, seed=0, rate=0.3):
    random = np.random.default_rng(seed)
    passes = random.random(1000) < rate
    verdicts = np.where(passes, random.random(1000) < 0.95, random.random(1000) < 0.3)
    labels = [bool(passed) if row < n else None for row, passed in enumerate(passes)]
    return corrected_rate(verdicts.tolist(), labels, 'random')


def test_more_labels_are_narrower_and_the_best_shares_are_best():
    pilot = pilot_of()
    widths = [expected_width(n, pilot) for n in (50, 100, 200, 400, 1000)]
    assert widths == sorted(widths, reverse=True)
    for n in (50, 100, 200):
        assert expected_width(n, pilot, 'verdict') <= expected_width(n, pilot, 'random') + 1e-3
    for width in (0.08, 0.12, 0.2):
        plan = labels_needed(width, pilot)
        assert expected_width(plan.labels, pilot) <= width < expected_width(plan.labels - 1, pilot)
        assert abs(sum(plan.by_stratum.values()) - plan.labels) <= 1


def test_a_wanted_width_that_rows_cannot_give():
    with pytest.raises(ValueError, match='a label on each of the 1000 rows would still leave'):
        labels_needed(0.03, pilot_of())
    assert labels_needed(0.03, pilot_of(), target='pool').labels < 1000


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**20), st.integers(1, 60))
def test_named_rows_are_unlabelled_and_distinct(seed, k):
    random = np.random.default_rng(seed)
    verdicts = random.choice(['pass', 'fail', None], 80).tolist()
    labels = ['pass'] * 20 + [None] * 60
    rows = next_labels(verdicts, labels, k, seed=seed)
    assert len(set(rows)) == len(rows) == k and all(labels[row] is None for row in rows)
    assert rows == next_labels(verdicts, labels, 60, seed=seed)[:k]


def test_rows_within_a_verdict_are_at_random():
    "Over many seeds every row of a verdict is named equally often"
    verdicts, labels = ['pass'] * 40 + ['fail'] * 40, [None] * 80
    named = [next_labels(verdicts, labels, 20, seed=seed) for seed in range(600)]
    counts = np.bincount(np.concatenate(named), minlength=80)
    for half in (counts[:40], counts[40:]):
        assert ((half - half.mean()) ** 2 / half.mean()).sum() < 70  # chi-square, 39 degrees: 99.8%


@pytest.mark.filterwarnings("ignore:every row has a label")
def test_bad_input():
    balanced = corrected_rate([True, False] * 20, [True, False] * 20, 'label')
    for call, message in [
        (lambda: labels_needed(0, pilot_of()), 'between 0 and 1'),
        (lambda: labels_needed(0.1, balanced), 'balanced labels'),
        (lambda: labels_needed(0.1, pilot_of(), 'label'), "design='label'"),
        (lambda: allocate(0, [0.5], [10]), 'ask for at least one'),
        (lambda: next_labels(['pass'], [None], 2), 'between 1 and the 1 rows'),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_gap_is_a_gap_however_it_is_written():
    "pandas writes nan for what is missing: one stratum of unscored rows, and rows without a label"
    verdicts = ['pass', 'fail', None] * 20
    named = next_labels(verdicts, [None] * 60, 12)
    with_nan = [float('nan') if verdict is None else verdict for verdict in verdicts]
    assert named == next_labels(with_nan, [float('nan') for _ in verdicts], 12)
    assert {verdicts[row] for row in named} == {'pass', 'fail', None}


def test_labels_alone_are_planned_for_the_same_question():
    """For these rows alone never more than there are.
    And no pass among the pilot's labels does not make passes impossible."""
    assert labels_needed(0.03, pilot_of(), target='pool').without_judge <= 1000
    for target in ('pool', 'population'):
        plan = labels_needed(0.12, pilot_of(), target=target)
        assert plan.labels < plan.without_judge
    none = corrected_rate(['pass', 'fail'] * 300, [False] * 40 + [None] * 560, 'random')
    plan = labels_needed(0.1, none)
    assert none.rate.value == 0 and plan.without_judge >= 0.9 * plan.labels
