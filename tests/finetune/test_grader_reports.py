"Grader reports beside scikit-learn and scipy"

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from rlops_lab.core import rng
from rlops_lab.finetune.calibration import sigmoid
from rlops_lab.finetune.grader_reports import length_bias, reliability, separates


def test_figures_are_those_of_scikit_learn():
    random = rng(0, 'figures')
    p = random.random(300).round(2)
    labels = random.random(300) < 0.4
    found = reliability(p, labels)
    for estimate, theirs in (
        (found.auroc, roc_auc_score(labels, p)),
        (found.brier, brier_score_loss(labels, p)),
        (found.log_loss, log_loss(labels, np.clip(p, 1e-9, 1 - 1e-9))),
    ):
        assert estimate.value == pytest.approx(theirs, abs=1e-9)
        assert estimate.low <= estimate.value <= estimate.high


def test_length_bias_of_one_cell_is_spearmans():
    random = rng(2, 'length')
    a, b = random.normal(size=80), random.normal(size=80)
    assert length_bias(a, b, [1] * 80).value == pytest.approx(spearmanr(a, b)[0], abs=1e-9)
    assert length_bias(np.ones(80), b, [1] * 80).value == 0
    with pytest.raises(ValueError, match='has five episodes'):
        length_bias([1.0, 2.0], [1, 2], [0, 1])


def test_length_bias_is_the_mean_of_the_cells():
    random = rng(4, 'cells')
    n = 120
    labels, groups = random.random(n) < 0.5, random.integers(2, size=n)
    a, b = random.normal(size=n), random.normal(size=n)
    mean = 0
    for label in (0, 1):
        for group in (0, 1):
            cell = (labels == label) & (groups == group)
            mean += cell.sum() / n * spearmanr(a[cell], b[cell])[0]
    assert length_bias(a, b, labels, groups).value == pytest.approx(mean)


def test_separates_is_scikit_learns():
    random = rng(5, 'apart')
    a, b = random.normal(size=30).round(1), random.normal(0.5, size=40).round(1)
    theirs = roc_auc_score([0] * 30 + [1] * 40, np.concatenate([a, b]))
    assert separates(a, b).value == pytest.approx(theirs)


def ece_by_hand(p, labels, bins):
    "Rows of one probability count as their mean label"
    means = {v: labels[p == v].mean() for v in set(p.tolist())}
    rows = sorted((v, means[v]) for v in p.tolist())
    cut = np.linspace(0, len(rows), bins + 1).astype(int)
    return sum(abs(sum(b - a for a, b in rows[i:j])) for i, j in zip(cut, cut[1:])) / len(rows)


def test_the_order_of_rows_does_not_decide_calibration():
    labels = np.repeat([1.0, 0.0], (70, 30))
    constant = reliability(np.full(100, 0.7), labels)  # right on average, and all accepted rows come first
    assert constant.ece.value == pytest.approx(0, abs=1e-12)
    assert all(share == pytest.approx(0.7) for _, share, _ in constant.bins)
    random = rng(3, 'ties')
    p, labels = random.random(200).round(1), (random.random(200) < 0.4).astype(float)
    shuffled = random.permutation(200)
    ours = reliability(p, labels).ece.value
    assert ours == pytest.approx(ece_by_hand(p, labels, 10))
    assert ours == pytest.approx(reliability(p[shuffled], labels[shuffled]).ece.value)


def test_the_interval_of_ece_holds_the_true_one():
    squeezed = rng(0, 'large')
    logits = squeezed.normal(0, 2, 200_000)
    p, true = sigmoid(1.5 * logits), sigmoid(logits)
    order = np.argsort(p)
    truth = sum(abs((true[b] - p[b]).sum()) for b in np.array_split(order, 10)) / len(p)
    hits = 0
    for i in range(100):
        random = rng(i, 'coverage')
        logits = random.normal(0, 2, 300)
        labels = random.random(300) < sigmoid(logits)
        ece = reliability(sigmoid(1.5 * logits), labels, draws=200).ece
        hits += ece.low <= truth <= ece.high
    assert hits >= 85  # 88; the percentiles of the resamples themselves hold 71


def test_fewer_rows_than_bins_leave_no_bin_empty():
    bins = reliability([0.1, 0.4, 0.9], [0, 1, 1]).bins
    assert [found.rows for found in bins] == [1, 1, 1]


@pytest.mark.filterwarnings('error')
def test_gaps_are_refused():
    for p, labels in (
        ([0.2, np.nan, 0.7], [0, 1, 1]),
        ([0.2, 0.4, 0.7], [0, None, 1]),
        ([0.2, None, 0.7], [0, 1, 1]),
    ):
        with pytest.raises(ValueError, match='1 of 3 rows lack'):
            reliability(p, labels)
    with pytest.raises(ValueError, match='give one of each'):
        reliability([0.2, 0.3], [1])
    with pytest.raises(ValueError, match='no probabilities'):
        reliability([1.5, 0.2], [1, 0])
    assert reliability([0.2, 0.4, 0.7], ['fail', 'fail', 'pass']).accuracy.value == 1
    assert np.isnan(reliability([0.2, 0.4, 0.7], [1, 1, 1]).auroc.value)


@pytest.mark.filterwarnings('error')
def test_gaps_in_columns_are_refused():
    lengths = list(range(20))
    with pytest.raises(ValueError, match='1 of 20 rows lack'):
        length_bias([np.nan, *lengths[1:]], lengths, [1] * 20)
    with pytest.raises(ValueError, match='1 of 20 rows lack'):
        length_bias(lengths, lengths, [None] + [1] * 19)
    with pytest.raises(ValueError, match='columns of'):
        length_bias(lengths, lengths, [1] * 20, ['a'] * 5)
    with pytest.raises(ValueError, match='missing or infinite'):
        separates([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match='at least two'):
        separates([1.0], [1.0, 2.0])
