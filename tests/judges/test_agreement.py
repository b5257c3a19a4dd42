"Agreement with people: invariances, other libraries as oracles, intervals that keep their coverage, and bad input."

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.agreement import calibrate, calibrate_slices, codes, confusion
from rlops_lab.judges.verdicts import Verdict

verdict = st.sampled_from(['pass', 'fail', None])
pairs = st.lists(st.tuples(verdict, verdict), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs)
def test_nothing_is_lost_or_invented(rows):
    verdicts, labels = zip(*rows)
    counts = confusion(verdicts, labels)
    assert counts.table.sum() + counts.unscored.sum() == sum(label is not None for label in labels)
    for i, label in enumerate(counts.levels):
        for j, judged in enumerate(counts.levels):
            assert counts.table[i, j] == rows.count((judged, label))


@given(pairs, st.randoms())
@settings(deadline=None, max_examples=30)
def test_order_of_rows_does_not_matter(rows, random):
    mixed = rows[:]
    random.shuffle(mixed)
    if not any(judged and label for judged, label in rows):
        return
    ordered, shuffled = (calibrate(*zip(*some), 'random') for some in (rows, mixed))
    assert repr(ordered.kappa) == repr(shuffled.kappa)
    assert repr(ordered.recall) == repr(shuffled.recall)


def test_kappa_coverage():
    random = np.random.default_rng(5)
    cells = np.array([[0.5, 0.1], [0.05, 0.35]])
    chance = cells.sum(0) @ cells.sum(1)
    truth = (np.trace(cells) - chance) / (1 - chance)
    held = 0
    for _ in range(200):
        rows = np.repeat(np.arange(4), random.multinomial(80, cells.ravel()))
        kappa = calibrate((rows % 2).tolist(), (rows // 2).tolist(), 'random').kappa
        held += kappa.low <= truth <= kappa.high
    assert held >= 182  # of 200: 99% of the cases, if it is 95%


def test_labels_by_verdict_are_weighted_back():
    random = np.random.default_rng(6)
    passes = random.random(20_000) < 0.2
    judged = np.where(passes, random.random(20_000) < 0.95, random.random(20_000) < 0.3)
    of_each = [random.permutation(np.flatnonzero(judged == kind))[:2000] for kind in (True, False)]
    rows = np.concatenate(of_each)
    labels = np.full(20_000, None)
    labels[rows] = passes[rows]
    whole = calibrate(judged.tolist(), passes.tolist(), 'random')
    some = calibrate(judged.tolist(), labels.tolist(), 'verdict')
    for name in ('tpr', 'tnr', 'agreement', 'kappa', 'alpha'):
        figure = getattr(some, name)
        assert not figure.excludes(getattr(whole, name).value) and figure.width < 0.15


def test_unscored_is_neither_pass_nor_fail():
    verdicts = ['pass'] * 40 + ['fail'] * 40 + [None] * 20
    labels = ['pass'] * 40 + ['fail'] * 40 + ['pass'] * 20
    found = calibrate(verdicts, labels, 'random')
    assert found.agreement.value == 1
    assert found.unscored.value == 0.2 and found.unscored.n == 100


def test_labelled_rows_without_those_they_were_chosen_from():
    verdicts = [True] * 50 + [False] * 50
    labels = [True] * 40 + [False] * 10 + [True] * 10 + [False] * 40
    with pytest.warns(UserWarning, match='every row has a label'):
        calibrate(verdicts, labels, 'verdict')
    with warnings.catch_warnings(action='error'):
        calibrate(verdicts, labels, 'label')


def test_slices_partition_the_rows():
    random = np.random.default_rng(7)
    verdicts, labels = (random.random((2, 300)) < 0.5).tolist()
    slices = random.choice(['a', 'b', 'c'], 300).tolist()
    parts = calibrate_slices(verdicts, labels, slices, 'random')
    together = sum(part.counts.table for part in parts.values())
    assert together.tolist() == confusion(verdicts, labels).table.tolist()


def test_slices_by_verdict_say_which_one_lacks_labels_and_may_be_labelled_whole():
    verdicts = ['pass', 'fail'] * 6
    labels = ['pass', 'fail'] * 2 + ['pass'] + [None] * 7
    slices = ['a'] * 4 + ['b'] * 8
    with pytest.raises(ValueError, match="slice 'b': no label on any item with verdict fail"):
        calibrate_slices(verdicts, labels, slices, 'verdict')
    labels[5] = 'fail'
    with warnings.catch_warnings(action='error'):
        assert calibrate_slices(verdicts, labels, slices, 'verdict')['a'].agreement.value == 1
    with pytest.warns(UserWarning, match='every row has a label'):
        calibrate_slices(verdicts[:6], labels[:6], slices[:6], 'verdict')


def test_rows_are_paired_by_place():
    "A shuffled frame keeps its old index, by which nothing is looked up"
    random = np.random.default_rng(12)
    columns = dict(
        verdict=random.random(60) < 0.5,
        label=random.random(60) < 0.5,
        topic=random.choice(['a', 'b'], 60),
    )
    frame = pd.DataFrame(columns).sample(frac=1, random_state=0)
    columns = frame.verdict, frame.label, frame.topic
    plain = calibrate_slices(*(column.tolist() for column in columns), 'random')
    assert repr(calibrate_slices(*columns, 'random')) == repr(plain)


def test_a_gap_is_a_gap_however_it_is_written():
    "pandas writes nan for what is missing"
    nan = float('nan')
    verdicts = ['pass', 'fail'] * 10 + ['pass'] * 5
    agreements = [
        calibrate(verdicts, ['pass', 'fail'] * 10 + [gap] * 5, 'verdict', from_pool=False).agreement
        for gap in (None, nan)
    ]
    assert agreements[0] == agreements[1] and agreements[0].value == 1
    by_slice = calibrate_slices(['pass', 'fail', 'pass'], ['pass', 'fail', nan], ['a', 'a', 'b'], 'random')
    assert by_slice['b'] is None


def test_what_a_judge_gives_is_taken_as_it_is():
    choices = ['pass', None, 'fail', 'pass'] * 5
    labels = ['pass', 'pass', 'fail', None] * 5
    verdicts = [Verdict(choice, None if choice is None else float(choice == 'pass')) for choice in choices]
    assert repr(calibrate(verdicts, labels, 'random')) == repr(calibrate(choices, labels, 'random'))


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: calibrate(['pass'], ['pass'], 'balanced'), 'say how the labelled items were chosen'),
        (lambda: calibrate(['pass', 'fail'], [None, None], 'random'), 'no item has both'),
        (
            lambda: calibrate(['pass'] * 9 + ['fail'] * 9, ['pass'] * 9 + [None] * 9, 'verdict'),
            'no label on any item with verdict fail',
        ),
        (lambda: calibrate_slices(['pass'], ['pass'], [], 'random'), '0 slices'),
        (lambda: codes([[1]], (1, 2)), 'is not one of 1, 2'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
