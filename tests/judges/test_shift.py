"Does the warning keep its level, and does it find what it should?"

import warnings

import numpy as np
import pytest
from scipy import stats

from rlops_lab.judges.shift import _answers_p, _rank_p, _shares_p, transfer

WORDS = """order parcel money back late door box label shop street
week day send wait call note open card paid sum""".split()


def texts(random, n, tilt=0.0):
    "Sentences of eight words; `tilt` makes some of the words more frequent"
    weights = np.exp(tilt * np.linspace(-1, 1, len(WORDS)))
    shares = weights / weights.sum()
    return [' '.join(random.choice(WORDS, 8, p=shares)) for _ in range(n)]


def quietly(*args, **keys):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return transfer(*args, **keys)


def test_rank_and_chi_square_agree_with_scipy():
    random = np.random.default_rng(0)
    new, old = random.integers(0, 9, 40) + 1.0, random.integers(0, 9, 60) + 0.0
    expected = stats.mannwhitneyu(new, old, alternative='greater', method='asymptotic').pvalue
    assert _rank_p(new, old)[0] == pytest.approx(expected)
    before, now = random.choice(['x', 'y', None], (2, 80))
    table = [[np.sum(values == kind) for kind in ('x', 'y', None)] for values in (before, now)]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert _shares_p(before, now) == pytest.approx(expected)


def test_the_auc_is_the_share_of_pairs_in_the_right_order():
    random = np.random.default_rng(5)
    new, old = random.integers(0, 9, 30), random.integers(0, 9, 50)
    ahead = np.subtract.outer(new, old)
    assert _rank_p(new, old)[1] == pytest.approx(((ahead > 0) + (ahead == 0) / 2).mean())


def test_answers_keep_their_level_even_with_copies():
    "Drawn with replacement from 60 texts, so that most occur in both sets: p below .05 in about 5% of the cases"
    r = np.random.default_rng(1)
    source, below, times = texts(r, 60), 0, 150
    for i in range(times):
        old, new = ([source[j] for j in r.integers(60, size=80)] for _ in range(2))
        below += _answers_p(old, new, i)[0] < 0.05
    assert below <= 16  # of 150: 99.8% if the level is 5%


def test_other_words_are_found():
    r = np.random.default_rng(2)
    assert all(_answers_p(texts(r, 150), texts(r, 150, 1.0), i)[0] < 1e-4 for i in range(5))
    assert np.isnan(_answers_p(['a'] * 3, ['b'] * 3)).all()  # too few to say


def test_what_is_missing_is_not_tested():
    rows = [dict(verdict=bool(i % 2), label=bool(i % 3)) for i in range(60)]
    assert set(quietly(rows, [dict(verdict=True), dict(verdict=False)]).p_values) == {'verdict'}
    assert set(quietly(rows, rows).p_values) == {'verdict', 'labels'}
    assert set(quietly(rows, rows, design='verdict').p_values) == {'labels'}
    assert quietly(rows, [dict(r, text='a') for r in rows]).p_values.keys() == {'verdict', 'labels'}


def test_another_mix_of_slices():
    rows = [dict(verdict=bool(i % 2), label=bool(i % 2), topic='ab'[i % 4 == 0]) for i in range(200)]
    assert not quietly(rows, rows, slices=('topic',)).warns
    found = quietly(rows, [dict(r, topic='ab'[i % 4 != 0]) for i, r in enumerate(rows)], slices=('topic',))
    assert len(found.reasons) == 1 and 'spread otherwise over the values of topic' in found.reasons[0]


@pytest.mark.parametrize('column', ['judge', 'rubric', 'response_model'])
def test_a_new_version_is_named(column):
    rows = [dict(verdict=True, label=True, **{column: 'a'}) for _ in range(30)]
    with pytest.warns(UserWarning, match=f'{column}: calibrated on a, used on b'):
        found = transfer(rows, [dict(r, **{column: 'b'}) for r in rows])
    assert found.warns and len(found.reasons) == 1
    assert not quietly(rows, rows).warns


def test_labels_find_a_judge_that_became_mild():
    random = np.random.default_rng(3)

    def rows(fpr):
        passes = random.random(300) < 0.5
        judged = passes | (random.random(300) < fpr)
        return [dict(verdict=bool(verdict), label=bool(label)) for verdict, label in zip(judged, passes)]

    assert not quietly(rows(0.2), rows(0.2), design='verdict').warns
    assert quietly(rows(0.1), rows(0.5), design='verdict').warns


def test_a_gap_is_a_gap_however_it_is_written():
    "Rows from a data frame have nan where nothing stands, each an object of its own"

    def rows(gap):
        return [
            dict(
                verdict=True if i % 3 else gap(),
                label=bool(i % 2) if i % 5 == 0 else gap(),
                text='a' if i % 2 else gap(),
                topic='x' if i % 4 else gap(),
                judge='j' if i % 2 else gap(),
            )
            for i in range(120)
        ]

    gaps = (lambda: None), (lambda: float('nan'))
    none, nan = (quietly(rows(gap), rows(gap), slices=('topic',)) for gap in gaps)
    assert none.p_values == nan.p_values and none.reasons == nan.reasons


def test_rare_verdicts_raise_no_false_alarm():
    "One row in 500 without a verdict, 60 old rows and 600 new ones"
    random, fired = np.random.default_rng(4), 0

    def rows(n):
        missing, passed = random.random(n) < 0.002, random.random(n) < 0.6
        return [dict(verdict=None if gap else bool(verdict)) for gap, verdict in zip(missing, passed)]

    for _ in range(400):
        fired += quietly(rows(60), rows(600)).warns
    assert fired <= 9  # of 400: 98% if the level is 1%
