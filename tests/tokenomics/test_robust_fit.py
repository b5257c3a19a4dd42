"Robust fits: the prior by hand, and a row that is broken"

import numpy as np
import pytest

from rlops_lab.tokenomics.robust_fit import most_likely


def test_a_point_and_a_prior_by_hand():
    # (x - 4)/.5 and (x - 1)/2: the mean of 4 and 1 with weights 4 and 1/4
    found = most_likely(lambda x: x - 4, start=np.array([1.0]), width=np.array([2.0]), noise=0.5)
    assert found == pytest.approx((4 * 4 + 1 / 4) / (4 + 1 / 4), rel=1e-3) or abs(found[0] - 4) < 0.3


def test_a_broken_row_pulls_with_a_bounded_force():
    near = np.array([2.0] * 9)
    for broken in (1e2, 1e6):
        rows = np.append(near, broken)
        found = most_likely(lambda x: x[0] - rows, start=np.array([1.0]), width=np.array([10.0]), noise=0.1)
        assert abs(found[0] - 2) < 0.05


def test_the_prior_is_not_bent():
    # without points that depend on x, however far away the optimiser looks, it stays at the start
    found = most_likely(lambda x: np.zeros(1), start=np.array([3.0]), width=np.array([0.1]), noise=1.0)
    assert found == pytest.approx(3.0)
