"Corrected pass rates, from rows: every design, doubtful labels, and bad input."

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.stats import homogeneity_p
from rlops_lab.judges.verdicts import Verdict

verdict = st.sampled_from(['pass', 'fail', None])
pairs = st.lists(st.tuples(verdict, verdict), min_size=1, max_size=60)


@given(pairs, st.randoms())
@settings(deadline=None, max_examples=30)
def test_order_of_rows_does_not_matter(rows, random):
    mixed = rows[:]
    random.shuffle(mixed)
    if not any(judged and label for judged, label in rows):
        return
    rates = []
    for some in (rows, mixed):
        found = corrected_rate(*zip(*some), 'random', strata=[str(judged) for judged, _ in some])
        rates.append((found.rate.value, found.rate.low, found.rate.high))
    assert rates[0] == pytest.approx(rates[1])


def test_all_labelled_is_the_plain_share():
    "Without unlabelled rows the judge adds nothing, and the interval is about that of the labels"
    verdicts, labels = [True, False] * 25, [True] * 30 + [False] * 20
    found = corrected_rate(verdicts, labels, 'random')
    assert found.rate.value == 0.6
    assert found.rate.width == pytest.approx(found.humans.width, rel=0.05)
    these = corrected_rate(verdicts, labels, 'random', target='pool')
    assert these.rate.width == pytest.approx(0, abs=1e-4)


def test_a_perfect_judge_is_worth_its_verdicts():
    verdicts = [True] * 600 + [False] * 400
    labels = [passed if row % 10 == 0 else None for row, passed in enumerate(verdicts)]
    found = corrected_rate(verdicts, labels, 'random')
    assert found.rate.value == pytest.approx(0.6)
    assert found.rate.width < 0.5 * found.humans.width and found.worth > 400


def rows_to_label(design, judged, passes, random):
    "120 rows, as many of each kind"
    kinds = dict(
        random=[np.ones(500, bool)],
        verdict=[judged == kind for kind in ('pass', 'fail', None)],
        label=[passes, ~passes],
    )[design]
    most = 120 // len(kinds)
    return np.concatenate([random.permutation(np.flatnonzero(kind))[:most] for kind in kinds])


@pytest.mark.filterwarnings('ignore:the verdicts on labelled rows')
@pytest.mark.parametrize('unscored', [0.0, 0.1])
def test_coverage_by_row_and_design(unscored):
    "Rows, labels by verdict and balanced ones, some verdicts missing more often where people pass"
    random = np.random.default_rng(4)
    held = dict(random=0, verdict=0, label=0)
    for _ in range(200):
        passes = random.random(500) < 0.3
        judged = np.where(random.random(500) < np.where(passes, 0.9, 0.25), 'pass', 'fail').astype(object)
        judged[random.random(500) < unscored * np.where(passes, 2, 0.5)] = None
        for design in held:
            rows = rows_to_label(design, judged, passes, random)
            labels = np.full(500, None)
            labels[rows] = passes[rows]
            found = corrected_rate(judged.tolist(), labels.tolist(), design).rate
            held[design] += found.low <= 0.3 <= found.high
    # 182 of 200 or more in 99% of the cases, if it is 95%
    assert all(count >= 182 for count in held.values()), held


def test_labels_from_another_collection_are_worth_as_much():
    "The same labels by verdict, among the rows at hand and beside them"
    random = np.random.default_rng(6)
    passes = random.random(20_000) < 0.2
    judged = np.where(passes, random.random(20_000) < 0.95, random.random(20_000) < 0.3)
    of_each = [random.permutation(np.flatnonzero(judged == kind))[:2000] for kind in (True, False)]
    rows = np.concatenate(of_each)
    labels = np.full(20_000, None)
    labels[rows] = passes[rows]
    within = corrected_rate(judged.tolist(), labels.tolist(), 'verdict')
    verdicts = judged[rows].tolist() + judged.tolist()
    apart = corrected_rate(verdicts, passes[rows].tolist() + [None] * 20_000, 'verdict', from_pool=False)
    assert apart.rate.value == pytest.approx(within.rate.value)


def test_unscored_is_neither_pass_nor_fail():
    verdicts = ['pass'] * 40 + ['fail'] * 40 + [None] * 20
    labels = ['pass'] * 40 + ['fail'] * 40 + ['pass'] * 20
    assert corrected_rate(verdicts, labels, 'random').rate.value == pytest.approx(0.6)


def test_labels_that_do_not_look_random_are_doubted():
    verdicts = [True] * 500 + [False] * 500
    labels = [None] * 400 + [True] * 100 + [None] * 490 + [False] * 10
    with pytest.warns(UserWarning, match='labels drawn at random would not'):
        corrected_rate(verdicts, labels, 'random')


def test_labels_at_random_from_elsewhere_give_the_rate_of_these_rows():
    "The judge passed 80% of the labelled rows and half of these; a verdict is worth as much here as there"
    random = np.random.default_rng(9)
    held, truth = 0, 0.5 * 0.9 + 0.5 * 0.2
    for _ in range(200):
        there, here = random.random(200) < 0.8, random.random(400) < 0.5
        labels = np.where(there, random.random(200) < 0.9, random.random(200) < 0.2)
        verdicts = np.concatenate([there, here]).tolist()
        with warnings.catch_warnings(action='error'):
            found = corrected_rate(verdicts, labels.tolist() + [None] * 400, 'random', from_pool=False)
        held += found.rate.low <= truth <= found.rate.high
    assert held >= 182 and found.humans is None and found.pool.sum() == 400


@pytest.mark.parametrize('design', ['verdict', 'label'])
def test_labelled_rows_without_those_they_were_chosen_from(design):
    verdicts = [True] * 50 + [False] * 50
    labels = [True] * 40 + [False] * 10 + [True] * 10 + [False] * 40
    with pytest.warns(UserWarning, match='every row has a label'):
        assert corrected_rate(verdicts, labels, design).rate.value == pytest.approx(0.5)
    with warnings.catch_warnings(action='error'):
        with_others = corrected_rate(verdicts + [True] * 300, labels + [None] * 300, design)
        assert with_others.rate.value > 0.6
        corrected_rate(verdicts, labels, 'random')
        if design == 'verdict':
            corrected_rate(verdicts, labels, design, target='pool')


@pytest.mark.parametrize('few, many, rare', [(50, 5000, 0.001), (50, 500, 0.01), (100, 1000, 0.003)])
def test_rare_kinds_raise_no_false_alarm(few, many, rare):
    "A verdict that is missing now and then; chi-square alone has p below .01 in 2% to 5% of the cases"
    random = np.random.default_rng(10)
    shares = [0.4 * (1 - rare), 0.6 * (1 - rare), rare]
    first, second = (random.multinomial(rows, shares, 1000) for rows in (few, many))
    p = np.array([homogeneity_p(*pair) for pair in zip(first, second)])
    assert (p < 0.01).mean() <= 0.017 and (p < 1e-3).mean() <= 0.004  # 99% of the cases, if the level is kept
    assert homogeneity_p([few - 5, 0, 5], [many, 0, 0]) < 1e-3  # and what is there is found


def test_what_a_judge_gives_is_taken_as_it_is():
    choices = ['pass', None, 'fail', 'pass'] * 5
    labels = ['pass', 'pass', 'fail', None] * 5
    verdicts = [Verdict(choice, None if choice is None else float(choice == 'pass')) for choice in choices]
    found = corrected_rate(verdicts, labels, 'random')
    assert repr(found) == repr(corrected_rate(choices, labels, 'random'))


ONE_LABEL = ['pass', None, None]


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: corrected_rate(['pass'], ['pass'], 'stratified'), 'say how the labelled items were chosen'),
        (lambda: corrected_rate(['pass', 'fail'], ['pass'], 'random'), 'give one of each for every item'),
        (lambda: corrected_rate(['pass', 'meh'], ['pass', None], 'random'), "verdict 'meh' in row 1"),
        (lambda: corrected_rate([0.7, 0.2], [True, None], 'random'), 'verdict 0.7 in row 0'),
        (lambda: corrected_rate(['pass'] * 3, [None] * 3, 'random'), 'no labels'),
        (
            lambda: corrected_rate(['pass'] * 3, ['pass'] * 3, 'verdict', from_pool=False),
            'no rows besides the labelled ones',
        ),
        (
            lambda: corrected_rate(['pass'] * 3, ONE_LABEL, 'verdict', from_pool=False, target='pool'),
            'labels from the pool',
        ),
        (lambda: corrected_rate(['pass'] * 3, ONE_LABEL, 'label', target='pool'), 'leave out target'),
        (lambda: corrected_rate(['pass'] * 3, ONE_LABEL, 'verdict', strata=['a']), '1 strata for 3 rows'),
        (
            lambda: corrected_rate(['pass'] * 3, ['pass', 'pass', None], 'label'),
            'label some passes and some fails',
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
