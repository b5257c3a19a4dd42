"Decisions: every public function by hand with its units, what must hold for any input, and what is refused"

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import API, OWN, cases, fast, near, share

from rlops_lab.stats import wilson
from rlops_lab.tokenomics.decisions import (
    HOURS_PER_MONTH,
    Option,
    as_array,
    bill,
    break_even_cases,
    check_amounts,
    check_shares,
    compare_options,
    contact_usd,
    resolution_usd,
)
from rlops_lab.tokenomics.prices import ASSISTED_CONTACT, cost_per_resolution

# ---- contacts


def test_a_contact():
    # 100 contacts: 100 x $0.20 model, 10 x $0.50 judge, 25 x ($8 + $2) person = 20 + 5 + 250 = $275
    per_contact = contact_usd(0.20, 0.75, human_usd=8, handoff_usd=2, judge_usd=0.50, share_judged=0.10)
    assert per_contact == near(2.75)
    # model and judge, $25, over 75 verified resolutions
    assert resolution_usd(0.20, 0.75, judge_usd=0.50, share_judged=0.10) == near(25 / 75)
    assert resolution_usd(0.20, 0.0) == math.inf


def test_a_point_of_resolution_is_worth_13_5_cents():
    assert contact_usd(0.02, 0.80) - contact_usd(0.02, 0.81) == near(0.135, rel=1e-6)


def test_a_contact_agrees_with_the_interval_of_prices():
    measured = cost_per_resolution(0.20 + 0.05, 150, 200, human=10.0)
    assert contact_usd(0.20, 0.75, 8, 2, 0.5, 0.1) == near(measured.usd_per_contact.value)
    assert resolution_usd(0.20, 0.75, 0.5, 0.1) == near(measured.usd.value)
    assert contact_usd(0.25, wilson(150, 200)[0], 10.0) == near(measured.usd_per_contact.high)


def test_an_amount_is_a_number_an_array_or_the_middle_of_a_range():
    assert as_array(2) == 2.0
    assert as_array([1, 2]).tolist() == [1.0, 2.0]
    assert as_array(ASSISTED_CONTACT) == 13.5


def test_checks_name_the_figure_and_its_value():
    check_shares(a=[0, 0.5, 1], b=0.3)
    check_amounts(a=[0, 1e9, math.inf], b=ASSISTED_CONTACT)
    with pytest.raises(ValueError, match='b is 1.5: a share lies between 0 and 1'):
        check_shares(a=1, b=[0.5, 1.5])
    with pytest.raises(ValueError, match='a is nan: an amount must be a number'):
        check_amounts(a=math.nan)


# ---- bills


def test_a_bill():
    # 400,000 cases a month / 730 h = 547.9 an hour; x 5 at the peak = 2739.7; / (1000 x 0.8) = 3.42 -> 4 servers
    month = bill(OWN, 400_000, human_usd=10)
    assert month.servers == 4
    assert month.server_usd == near(4 * 730 * 3)
    assert month.usage_usd == near(400 * 3)
    assert month.people_usd == 5000
    assert month.utilisation == near(400_000 / (4 * 730 * 1000))
    assert month.human_usd == near(40_000 * 10)
    assert month.usd == near(8760 + 5000 + 400_000)


def test_the_rent_runs_on_when_nobody_calls():
    idle = bill(OWN, 0)
    assert (idle.servers, idle.utilisation, idle.human_usd) == (2, 0, 0)
    assert idle.usd == near(2 * 730 * 3 + 5000)


def test_an_api_has_no_servers():
    assert bill(API, 400_000, human_usd=10).usd == near(20_000 + 400_000)
    assert bill(API, 1000).servers == 0
    assert bill(API, 1000).utilisation == 0


def test_the_last_server_is_not_rounded_up_by_floating_point():
    full = 3 * HOURS_PER_MONTH * 1000 * 0.8 / 5
    assert bill(OWN, full).servers == 3
    assert bill(OWN, full * 1.0001).servers == 4


def test_break_even_by_hand():
    # 5 cents a case against $5,000 + 2 x $2,190: 187,600 cases; two servers carry 2 x 730 x 1000 x 0.8 / 5 = 233,600
    assert break_even_cases(API, OWN) == near((5000 + 2 * 730 * 3) / 0.05)
    # 4 cents: 234,500 is past two servers; the third adds $2,190: 289,250, which three (350,400) carry
    assert break_even_cases(Option('API', 0.9, 0.04), OWN) == near((5000 + 3 * 730 * 3) / 0.04)
    # one case costs a server 730 x 3 / 116,800 = 1.875 cents: at 1.8 cents the API is never beaten
    assert break_even_cases(Option('API', 0.9, 0.018), OWN) == math.inf
    cheaper = Option('other API', 0.9, 0.03, people_usd_per_month=1000)
    assert break_even_cases(API, cheaper) == near(1000 / 0.02)


def test_break_even_of_equal_prices():
    people = Option('same price, people', 0.9, 0.05, people_usd_per_month=1)
    assert break_even_cases(API, API) == 0
    assert break_even_cases(API, people) == math.inf
    assert break_even_cases(Option('API and people', 0.9, 0.05, people_usd_per_month=90_000), OWN) == 0


def test_side_by_side():
    compared = compare_options([API, OWN], 400_000, months=12, human_usd=10)
    assert compared.best == 'own'
    assert compared.total_usd['API'] == near(12 * 420_000)
    assert compared.total_usd['own'] == near(12 * 413_760)
    page = compared._repr_html_()
    assert '<script' not in page and 'own' in page
    assert '<b>x' not in compare_options([Option('<b>x', 0.9)], 10)._repr_html_()


# ---- for any input

FIELDS = dict(
    share_resolved=share,
    usd_per_case=st.floats(0, 0.1),
    usd_per_server_hour=st.floats(0, 20),
    cases_per_server_hour=st.floats(1, 1e4),
    peak_to_mean=st.floats(1, 20),
    max_load=st.floats(0.1, 1),
    min_servers=st.integers(1, 4),
    people_usd_per_month=st.floats(0, 5e4),
)
options = st.builds(Option, st.just('own'), **FIELDS)


@given(options, cases, cases)
@fast
def test_more_volume_never_lowers_the_total(option, a, b):
    low, high = sorted((a, b))
    assert bill(option, low).usd <= bill(option, high).usd * (1 + 1e-12) + 1e-9


@given(options, cases, st.floats(1, 3))
@fast
def test_a_higher_price_never_helps(option, volume, factor):
    base = bill(option, volume).usd
    for name in ('usd_per_case', 'usd_per_server_hour', 'people_usd_per_month', 'peak_to_mean'):
        dearer = Option(**{**vars(option), name: getattr(option, name) * factor})
        assert bill(dearer, volume).usd >= base * (1 - 1e-12)
    assert bill(option, volume, human_usd=13.5 * factor).usd >= base * (1 - 1e-12)


@given(st.floats(0, 1), st.floats(0, 0.2), options)
@fast
def test_break_even_is_where_the_curves_cross(q, price, option):
    api = Option('API', q, price)
    start = break_even_cases(api, option)

    def gap(volume):
        return bill(option, volume).usd - bill(api, volume).usd

    if math.isinf(start):  # the own one is dearer again and again, however large the volume
        far = np.geomspace(1e9, 1e13, 50)
        assert (gap(far) >= -1e-6 * bill(api, far).usd).any()
    else:
        scale = 1e-7 * (1 + bill(api, start).usd)
        assert abs(gap(start)) <= scale or (start == 0 and gap(0.0) <= scale)
        soon = np.linspace(0, 1, 500) * (start + 1e4) * 5
        beyond = start + np.concatenate([soon, np.geomspace(1, 1e9, 200)])
        assert (gap(beyond) <= 1e-7 * (1 + bill(api, beyond).usd)).all()


# ---- refused, with cause and cure


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: contact_usd(0.02, 80), '80% is 0.8'),
        (lambda: contact_usd(-0.02, 0.8), 'usd_per_case is -0.02'),
        (lambda: contact_usd(math.nan, 0.8), 'must be a number'),
        (lambda: contact_usd(0.02, [0.5, 1.5]), 'share_resolved is 1.5'),
        (lambda: Option('x', 0.9, usd_per_server_hour=3, cases_per_server_hour=10), '0 if you mean it'),
        (lambda: Option('x', 0.9, usd_per_server_hour=3, people_usd_per_month=0), 'measure how many cases'),
        (lambda: Option('x', 0.9, peak_to_mean=0.5), 'below the mean hour'),
        (lambda: Option('x', 0.9, cases_per_server_hour=0, people_usd_per_month=0), 'no number of servers'),
        (lambda: Option('x', 0.9, max_load=0.0), 'no number of servers'),
        (lambda: break_even_cases(OWN, API), 'own has servers too'),
        (lambda: compare_options([API, API], 10), 'a name of its own'),
        (lambda: compare_options([API], 0), 'nothing to compare'),
        (lambda: compare_options([API], 10, months=-24), 'months is -24'),
        (
            lambda: Option('x', 0.9, 0.0, 3.0, 10, people_usd_per_month=0, min_servers=1.5),
            'min_servers is 1.5',
        ),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
