"Calibration: scale and offset are the minimum of the loss, small samples stay sane, and gaps are refused"

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from rlops_lab.core import rng
from rlops_lab.finetune.calibration import fit_platt, level, log_loss, sigmoid


def test_scale_and_offset_are_the_minimum():
    random = rng(1, 'temperature')
    logits = random.normal(0, 3, 5000)
    labels = (random.random(5000) < sigmoid(logits / 2 - 1)).astype(float)

    def loss(parameters):
        scale, offset = parameters
        return log_loss(logits * scale + offset, labels).sum()

    theirs = minimize(loss, [1.0, 0.0]).x
    found = fit_platt(logits, labels)
    assert (1 / found.temperature, found.offset) == pytest.approx(theirs, abs=0.01)
    assert np.isfinite(log_loss([1e4, -1e4], [0, 1])).all()


def test_small_samples_do_not_blow_up():
    "On ten rows, likelihood alone sends the temperature to nothing; the prior keeps the loss on new rows finite"
    random = rng(2, 'few')
    after, before = [], []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for _ in range(200):
            logits = random.normal(0, 2, 2010)
            labels = random.random(2010) < sigmoid(logits)
            if len(set(labels[:10])) < 2:
                continue
            found = fit_platt(logits[:10], labels[:10])
            after.append(log_loss(found(logits[10:]), labels[10:]).mean())
            before.append(log_loss(logits[10:], labels[10:]).mean())
    assert max(after) < 1.5  # nats; without the prior 20 and more
    assert np.mean(after) - np.mean(before) < 0.15


@pytest.mark.parametrize(
    'logits, why', [([3.0, 2, -3, -1], 'told apart'), ([-3.0, -2, 3, 1], 'no more than their share')]
)
def test_rows_that_cannot_tell_are_told(logits, why):
    with pytest.warns(UserWarning, match=why):
        found = fit_platt(logits, [1, 1, 0, 0])
    assert 0.2 < found.temperature < 20 and abs(found.offset) < 2


def test_a_level_that_is_off_is_told_and_one_that_is_not_is_quiet():
    random = rng(3, 'level')
    told, quiet = 0, 0
    for _ in range(200):
        logits = random.normal(0, 2, 150)
        labels = random.random(150) < sigmoid(logits)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            level(sigmoid(logits), labels)
            quiet += not caught
            level(sigmoid(logits + 1.0), labels)
            told += any('of them pass' in str(w.message) for w in caught)
    assert quiet >= 194 and told >= 190


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'logits, labels',
    [([0.2, np.nan, 0.7], [0, 1, 1]), ([0.2, 0.4, 0.7], [0, None, 1]), ([0.2, None, 0.7], [0, 1, 1])],
)
def test_gaps_are_refused(logits, labels):
    with pytest.raises(ValueError, match='1 of 3 rows lack'):
        fit_platt(logits, labels)


def test_labels_are_verdicts():
    with pytest.raises(ValueError, match='is not one of'):
        fit_platt([1.0, -1.0], [2, 0])
