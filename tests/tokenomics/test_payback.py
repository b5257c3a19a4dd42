"Payback: the anchors by hand, and what must hold for any project"

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import fast, near, usd

from rlops_lab.tokenomics.payback import HORIZON, months_until_affordable, payback, price_after, saved_usd

paces = st.floats(2, 60)
volumes = st.floats(-0.5, 10)
drifts = st.floats(-0.5, 3)


def test_viability():
    assert months_until_affordable(625, 6, [12, 15, 18]) == near((24.2, 30.3, 36.3), abs=0.05)
    assert price_after(100, 30, 15) == near(1.0)
    assert price_after(100, 30, math.inf) == 100


def test_affordable_now_or_never():
    assert months_until_affordable(6, 6) == 0
    assert months_until_affordable(0, 0) == 0
    assert months_until_affordable(6, 0) == math.inf


def test_payback_of_the_anchor():
    small = payback(20_000, 6_000, 100_000, np.array([np.inf, 18, 15, 12, 7]))
    assert small.months[0] == near(7.14, abs=0.01)
    assert np.isinf(small.months[1:]).all()
    assert (small.best_usd[1:] + 100_000) / 1000 == near((53, 44, 35, 21), abs=0.6)
    large = payback(50_000, 6_000, 150_000, np.array([np.inf, 15, 12, 7]))
    assert large.months[:3] == near((3.4, 5.3, 6.9), abs=0.05)
    assert large.months[3] == math.inf
    assert payback(2_000, 7_000, 1_000).months == math.inf


def test_saving_by_hand():
    # flat prices: 10 x (20 - 6) - 100 = 40 thousand
    assert saved_usd(10, 20_000, 6_000, 100_000, math.inf) == near(40_000, rel=1e-6)
    # volume that grows as fast as the price falls: the same as flat
    growth = 10 ** (12 / 15) - 1
    assert saved_usd(10, 20_000, 6_000, 100_000, 15, volume_growth_per_year=growth) == near(40_000, rel=1e-6)
    paid = payback(20_000, 6_000, 100_000, 15, volume_growth_per_year=growth).months
    assert paid == near(100 / 14, rel=1e-6)


def test_own_costs_that_double_in_a_year_summed_up_by_the_day():
    days = np.arange(3650) / 3650 * 12
    by_the_day = -np.sum(1_000 * 2 ** (days / 12)) * 12 / 3650
    assert saved_usd(12, 0, 1_000, 0, own_growth_per_year=1.0) == near(by_the_day, rel=1e-3)


@given(usd, usd, usd, paces, volumes, drifts)
@fast
def test_payback_is_where_the_saving_is_zero(api, own, invest, pace, volume, drift):
    months = payback(api, own, invest, pace, volume, drift).months

    def saved(t, api=api):
        return saved_usd(t, api, own, invest, pace, volume, drift)

    if math.isinf(months):
        t = np.linspace(0, HORIZON, 4001)
        assert (saved(t) <= 1e-6 * (api + own + invest + 1)).all()
    elif months > 1e-6:
        before = saved(max(0.0, months * (1 - 1e-6) - 1e-6))
        after = saved(months * (1 + 1e-6) + 1e-6)
        rounding = 1e-9 * (1 + abs(saved(months, api=0.0)))  # growth makes amounts of any size
        assert before <= rounding
        assert after >= -rounding


@given(usd, usd, usd, paces | st.just(math.inf), volumes, drifts)
@fast
def test_no_month_beats_the_best(api, own, invest, pace, volume, drift):
    found = payback(api, own, invest, pace, volume, drift)

    def saved(t, api=api):
        return saved_usd(t, api, own, invest, pace, volume, drift)

    t = np.linspace(0, HORIZON, 4001)
    spent = abs(saved(found.best_month, api=0.0)) + abs(saved(HORIZON, api=0.0))
    assert (saved(t) <= found.best_usd + 1e-9 * (1 + spent)).all()
    assert found.best_usd == pytest.approx(saved(found.best_month), rel=1e-9, abs=1e-9 * (1 + spent))


def test_a_loss_that_only_grows_is_best_on_the_first_day():
    # $2,000 of API that grows by 3% a year stays below $7,000 for 42 years: the investment never was less in the red
    late = payback(2_000, 7_000, 20_000, math.inf, volume_growth_per_year=0.03)
    assert (late.months, late.best_usd, late.best_month) == (math.inf, -20_000, 0)


@given(usd, usd, usd, paces, st.floats(1, 2))
@fast
def test_a_faster_fall_or_a_dearer_project_never_helps(api, own, invest, pace, factor):
    base = payback(api, own, invest, pace).months
    assert payback(api, own, invest, pace / factor).months >= base - 1e-6
    assert payback(api, own * factor, invest, pace).months >= base - 1e-6
    assert payback(api, own, invest * factor, pace).months >= base - 1e-6


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: payback(1, 1, 1, 0), 'inf if it stands still'),
        (lambda: payback(1, 1, 1, volume_growth_per_year=-1), 'above -1'),
        (lambda: saved_usd(-1, 1, 1, 1), 'months is -1'),
        (lambda: months_until_affordable(1, -1), 'usd_target is -1'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
