"Several annotators: gaps, ties, frames, and who is believed"

import numpy as np
import pandas as pd
import pytest

from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.annotators import dawid_skene, majority, mean_ratings
from rlops_lab.judges.consistency import rater_alpha


def test_a_tie_and_a_gap_are_no_label():
    rows = [['pass', 'fail', None], ['pass', 'pass', 'fail'], [float('nan'), pd.NA], ['fail']]
    assert majority(rows) == [None, 'pass', None, 'fail']
    assert mean_ratings([[1, pd.NA, 4], []]) == [2.5, None]
    assert mean_ratings([['poor', 'good']], ('poor', 'fair', 'good')) == [2.0]


def test_a_frame_is_read_by_rows():
    frame = pd.DataFrame(dict(ann=[1, 2, 3, 4], bob=[1, 2, 3, 3], cy=[1, pd.NA, 3, 4]))
    assert majority(frame) == [1, 2, 3, 4]
    ragged = [[1, 1, 1], [2, 2], [3, 3, 3], [4, 3, 4]]
    assert rater_alpha(frame, (1, 2, 3, 4)) == rater_alpha(ragged, (1, 2, 3, 4))
    judged = pd.Series(['pass', pd.NA, 'fail', 'pass'], index=[9, 8, 7, 6], dtype='string')
    people = pd.Series([True, False, pd.NA, False], dtype='boolean')
    assert calibrate(judged, people, 'random').agreement.n == 2


def test_a_rater_who_reverses_is_read_backwards():
    random = np.random.default_rng(1)
    truth = random.random(400) < 0.5
    marks = np.stack([truth ^ (random.random(400) < share) for share in (0.1, 0.15, 0.2, 0.95)], 1)
    found = dawid_skene(marks.tolist())
    assert np.mean(np.array([x == 'pass' for x in found.labels]) == truth) > 0.92
    assert found.accuracy[3] < 0.15 and found.probability.sum(1) == pytest.approx(np.ones(400))


def test_what_nobody_rated_has_no_label():
    found = dawid_skene([['pass', 'pass'], [None, None], ['fail', 'fail']])
    assert found.labels == ['pass', None, 'fail'] and np.isnan(found.probability[1]).all()
    with pytest.raises(ValueError, match='where annotators meet'):
        dawid_skene([['pass', None], [None, 'fail']])
