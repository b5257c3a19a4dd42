"Means of a scale: the textbook's estimate, bad input, and the same for every way to write a score"

import numpy as np
import pandas as pd
import pytest

from rlops_lab.judges.corrected_mean import as_numbers, corrected_mean
from rlops_lab.judges.verdicts import Verdict

RANDOM = np.random.default_rng(0)
SCORE = RANDOM.integers(1, 6, 400).astype(float)
LABEL = np.clip(SCORE - RANDOM.integers(0, 3, 400), 1, 5)
GIVEN = [label if row < 80 else None for row, label in enumerate(LABEL)]


def test_it_is_the_regression_estimator():
    found = corrected_mean(SCORE, GIVEN, 'random')
    slope, intercept = np.polyfit(SCORE[:80], LABEL[:80], 1)
    assert found.mean.value == pytest.approx(intercept + slope * SCORE.mean())
    residual = LABEL[:80] - intercept - slope * SCORE[:80]
    variance = residual.var(ddof=2) / 80 + slope**2 * SCORE.var() / 400
    assert found.mean.width == pytest.approx(2 * 1.99 * variance**0.5, rel=0.06)
    assert found.slope == pytest.approx(slope) and found.worth > 100


def test_by_score_it_is_the_weighted_mean_of_strata():
    found = corrected_mean(SCORE, GIVEN, 'verdict')
    means = [LABEL[:80][SCORE[:80] == score].mean() for score in range(1, 6)]
    shares = [np.mean(SCORE == score) for score in range(1, 6)]
    assert found.mean.value == pytest.approx(np.dot(means, shares)) and np.isnan(found.slope)


def test_a_useless_judge_leaves_the_labels_alone():
    noise = np.full(400, 3.0)
    found = corrected_mean(noise, GIVEN, 'random')
    assert found.slope == 0 and found.mean == found.humans
    assert found.mean.value == pytest.approx(LABEL[:80].mean())


def test_a_pool_that_is_labelled_whole_leaves_nothing_open():
    found = corrected_mean(SCORE, LABEL, 'random', target='pool')
    assert found.mean.value == pytest.approx(LABEL.mean()) and found.mean.width < 1e-9
    part = corrected_mean(SCORE, GIVEN, 'random', target='pool')
    assert part.mean.width < corrected_mean(SCORE, GIVEN, 'random').mean.width


def test_every_way_to_write_a_score():
    frame = pd.DataFrame(dict(score=SCORE, label=[np.nan if x is None else x for x in GIVEN]))
    names = ('1', '2', '3', '4', '5')
    verdicts = [Verdict(str(int(score)), 0.5) for score in SCORE]
    texts = [x and str(int(x)) for x in GIVEN]
    expected = corrected_mean(SCORE, GIVEN, 'random').mean
    assert corrected_mean(frame['score'], frame['label'].astype('Int64'), 'random').mean == expected
    assert corrected_mean(verdicts, texts, 'random', levels=names).mean == expected
    assert corrected_mean(verdicts, texts, 'random').mean == expected


def test_rows_without_a_score_keep_their_labels():
    gaps = [None if row % 7 == 0 else score for row, score in enumerate(SCORE)]
    for design in ('random', 'verdict'):
        found = corrected_mean(gaps, GIVEN, design)
        assert found.unscored == pytest.approx(58 / 400) and found.mean.n == 80
        assert not found.mean.excludes(LABEL.mean())


@pytest.mark.parametrize(
    'ask, error',
    [
        (lambda: corrected_mean([1], [None], 'random'), 'no labels'),
        (lambda: corrected_mean([1, 2], [1], 'random'), '2 verdicts and 1 labels'),
        (lambda: corrected_mean([1, 2], [1, 9], 'random'), 'labels from 1 to 9 on a scale of 1 to 5'),
        (lambda: corrected_mean([1, 2], [1, 2], 'label'), "Draw them at 'random' or by 'verdict'"),
        (lambda: corrected_mean([1, 2, 3], [1, 2, None], 'verdict'), 'no label on any row with score 3'),
        (lambda: corrected_mean([1, 2], [1, 2], 'random', from_pool=False), 'no rows besides the labelled'),
        (lambda: corrected_mean(['good'], [1], 'random'), "score 'good' in row 0 is no number"),
        (lambda: as_numbers([True]), 'value True in row 0 is no number'),
        (lambda: as_numbers([float('inf')]), 'is no number'),
    ],
)
def test_what_cannot_be_answered_is_refused(ask, error):
    with pytest.raises(ValueError, match=error):
        ask()
