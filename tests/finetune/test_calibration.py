"Calibration: the temperature is the minimum of the loss, and gaps are refused"

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from rlops_lab.core import rng
from rlops_lab.finetune.calibration import fit_temperature, log_loss, sigmoid


def test_temperature_is_the_minimum():
    random = rng(1, 'temperature')
    logits = random.normal(0, 3, 500)
    labels = (random.random(500) < sigmoid(logits / 2)).astype(float)

    def loss(log_temperature):
        return log_loss(logits / np.exp(log_temperature), labels).sum()

    theirs = minimize_scalar(loss, bounds=(-3, 3), method='bounded')
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(theirs.x), rel=1e-3)
    assert np.isfinite(log_loss([1e4, -1e4], [0, 1])).all()


def test_no_other_temperature_is_better():
    random = rng(2, 'temperature')
    logits = random.normal(0, 2, 200)
    labels = (random.random(200) < sigmoid(logits)).astype(float)
    fitted = fit_temperature(logits, labels)
    best = log_loss(logits / fitted, labels).sum()
    assert all(log_loss(logits / t, labels).sum() >= best for t in np.geomspace(0.05, 20, 400))


@pytest.mark.parametrize(
    'logits, bound, why', [([3.0, 2, -3, -1], 0.05, 'told apart'), ([-3.0, -2, 3, 1], 20, 'a coin')]
)
def test_a_temperature_at_its_bound_is_told(logits, bound, why):
    with pytest.warns(UserWarning, match=why):
        assert fit_temperature(logits, [1, 1, 0, 0]) == pytest.approx(bound, rel=1e-6)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'logits, labels',
    [([0.2, np.nan, 0.7], [0, 1, 1]), ([0.2, 0.4, 0.7], [0, None, 1]), ([0.2, None, 0.7], [0, 1, 1])],
)
def test_gaps_are_refused(logits, labels):
    with pytest.raises(ValueError, match='1 of 3 rows lack'):
        fit_temperature(logits, labels)


def test_labels_are_verdicts():
    with pytest.raises(ValueError, match='is not one of'):
        fit_temperature([1.0, -1.0], [2, 0])
