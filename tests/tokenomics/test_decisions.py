"Decisions: every public function by hand with its units, what must hold for any input, and what is refused"

import importlib, inspect, math, pkgutil, pydoc, re, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rlops_lab.stats import wilson
from rlops_lab import tokenomics
from rlops_lab.tokenomics import decisions, payback as paybacks, scorecard, uncertainty
from rlops_lab.tokenomics.decisions import (
    HOURS_PER_MONTH,
    Option,
    bill,
    break_even_cases,
    cached_prompt_usd_per_mtok,
    cascade,
    classifier_break_even_calls,
    compare,
    contact_usd,
    equivalence,
    resolution_usd,
    risk_matrix,
    router,
    waiting_share,
)
from rlops_lab.tokenomics.payback import HORIZON, months_until_affordable, payback, price_after, saved_usd
from rlops_lab.tokenomics.prices import Assumption, cost_per_resolution
from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.scorecard import automation_usd, use_case_scorecard
from rlops_lab.tokenomics.uncertainty import (
    Swing,
    Tornado,
    draw,
    lognormal,
    measured,
    pert,
    resolved,
    simulate,
    tornado,
    tornado_html,
    triangular,
)

near = lambda x, **k: pytest.approx(x, **{'rel': 1e-9, **k})
usd, share, cases = st.floats(0, 1e5), st.floats(0, 1), st.floats(0, 1e7)
fast = settings(max_examples=200, deadline=None)

# ---- by hand: contacts


def test_a_contact():
    # 100 contacts: 100 x $0.20 model, 10 x $0.50 judge, 25 x ($8 + $2) person = 20 + 5 + 250 = $275
    assert contact_usd(0.20, 0.75, human_usd=8, handoff_usd=2, judge_usd=0.50, share_judged=0.10) == near(
        2.75
    )
    # model and judge, $25, over 75 verified resolutions
    assert resolution_usd(0.20, 0.75, judge_usd=0.50, share_judged=0.10) == near(25 / 75)
    assert resolution_usd(0.20, 0.0) == math.inf


def test_a_point_of_resolution_is_worth_13_5_cents():
    assert contact_usd(0.02, 0.80) - contact_usd(0.02, 0.81) == near(0.135, rel=1e-6)


def test_a_contact_agrees_with_the_interval_of_prices():
    r = cost_per_resolution(0.20 + 0.05, 150, 200, human=10.0)
    assert contact_usd(0.20, 0.75, 8, 2, 0.5, 0.1) == near(r.usd_per_contact.value) and resolution_usd(
        0.20, 0.75, 0.5, 0.1
    ) == near(r.usd.value)
    assert contact_usd(0.25, wilson(150, 200)[0], 10.0) == near(r.usd_per_contact.high)


def test_equivalence_by_hand():
    e = equivalence(0.10, 180, 200, 188, 200, human_usd=10)  # loses 4 points, worth $0.40; saves $0.10
    assert e.share_lost.value == near(0.04) and e.saving_usd.value == near(-0.30)
    (l1, u1), (l2, u2) = wilson(180, 200), wilson(188, 200)  # Newcombe's interval, written out
    assert e.share_lost.low == near(0.04 - math.sqrt((0.94 - l2) ** 2 + (u1 - 0.90) ** 2))
    assert e.share_lost.high == near(0.04 + math.sqrt((u2 - 0.94) ** 2 + (0.90 - l1) ** 2))
    assert e.verdict == 'undecided' and e.cases_to_decide == math.ceil(
        19.6**2 * (0.9 * 0.1 + 0.94 * 0.06) / 0.09
    )
    assert (
        equivalence(1.0, 1000, 1000, 1000, 1000).verdict == 'wins'
        and equivalence(0.0, 10, 100, 90, 100).verdict == 'loses'
    )
    assert equivalence(0.0, 50, 100, 50, 100).cases_to_decide == math.inf


@pytest.mark.parametrize('k, k_now', [(0, 0), (200, 200), (0, 200), (200, 0), (1, 199)])
def test_equivalence_at_the_edges(k, k_now):
    e = equivalence(0.1, k, 200, k_now, 200)
    assert (
        e.share_lost.low <= e.share_lost.value <= e.share_lost.high
        and e.saving_usd.low <= e.saving_usd.value <= e.saving_usd.high
    )


# ---- by hand: options

API = Option('API', 0.9, usd_per_case=0.05)
OWN = Option(
    'own',
    0.9,
    usd_per_server_hour=3.0,
    cases_per_server_hour=1000,
    peak_to_mean=5,
    max_load=0.8,
    min_servers=2,
    people_usd_per_month=5000,
)


def test_a_bill():
    # 400,000 cases a month / 730 h = 547.9 an hour; x 5 at the peak = 2739.7; / (1000 x 0.8) = 3.42 -> 4 servers
    b = bill(OWN, 400_000, human_usd=10)
    assert (
        b.servers == 4
        and b.server_usd == near(4 * 730 * 3)
        and b.usage_usd == near(400 * 3)
        and b.people_usd == 5000
    )
    assert (
        b.utilisation == near(400_000 / (4 * 730 * 1000))
        and b.human_usd == near(40_000 * 10)
        and b.usd == near(8760 + 5000 + 400_000)
    )
    assert (lambda b: (b.servers, b.utilisation, b.human_usd, b.usd))(bill(OWN, 0)) == (
        2,
        0,
        0,
        near(2 * 730 * 3 + 5000),
    )  # nobody calls; the rent runs on
    assert bill(OWN, 0).servers == 2 and bill(API, 400_000, human_usd=10).usd == near(20_000 + 400_000)
    assert bill(API, 1000).servers == 0 and bill(API, 1000).utilisation == 0


def test_the_last_server_is_not_rounded_up_by_floating_point():
    full = 3 * HOURS_PER_MONTH * 1000 * 0.8 / 5
    assert bill(OWN, full).servers == 3 and bill(OWN, full * 1.0001).servers == 4


def test_break_even_by_hand():
    # 5 cents a case against $5,000 + 2 x $2,190: 187,600 cases; two servers carry 2 x 730 x 1000 x 0.8 / 5 = 233,600
    assert break_even_cases(API, OWN) == near((5000 + 2 * 730 * 3) / 0.05)
    # 4 cents: 234,500 is past two servers; the third adds $2,190: 289,250, which three (350,400) carry
    assert break_even_cases(Option('API', 0.9, 0.04), OWN) == near((5000 + 3 * 730 * 3) / 0.04)
    # one case costs a server 730 x 3 / 116,800 = 1.875 cents: at 1.8 cents the API is never beaten
    assert break_even_cases(Option('API', 0.9, 0.018), OWN) == math.inf
    assert break_even_cases(API, Option('other API', 0.9, 0.03, people_usd_per_month=1000)) == near(
        1000 / 0.02
    )
    assert (
        break_even_cases(API, API) == 0
        and break_even_cases(API, Option('same price, people', 0.9, 0.05, people_usd_per_month=1)) == math.inf
    )
    assert break_even_cases(Option('API and people', 0.9, 0.05, people_usd_per_month=90_000), OWN) == 0


def test_side_by_side():
    c = compare([API, OWN], 400_000, months=12, human_usd=10)
    assert (
        c.best == 'own'
        and c.total_usd['API'] == near(12 * 420_000)
        and c.total_usd['own'] == near(12 * 413_760)
    )
    assert '<script' not in c._repr_html_() and 'own' in c._repr_html_()
    assert '<b>x' not in compare([Option('<b>x', 0.9)], 10)._repr_html_()


@pytest.mark.parametrize(
    'servers, load, waits',
    [(4, 0.7, 0.429), (16, 0.8, 0.305), (1, 0.5, 0.5), (1, 0.9, 0.9), (4, 1.0, 1.0), (4, 0.0, 0.0)],
)
def test_erlang_c(servers, load, waits):
    assert waiting_share(servers, load) == near(waits, abs=5e-4)


def test_erlang_c_is_the_textbook_sum():
    c, a = 7, 5.6
    last = a**c / math.factorial(c) / (1 - a / c)
    assert waiting_share(c, a / c) == near(last / (sum(a**k / math.factorial(k) for k in range(c)) + last))


def test_two_models():
    # of 100 cases: all to the small (2 x 100), 30 to the large (50 x 30); 64.4 + 25.5 resolved
    x = cascade(
        0.02, 0.50, 0.30, resolved_kept=0.92, resolved_escalated=0.85, seconds_small=0.4, seconds_large=2.0
    )
    assert (x.usd_per_case, x.share_resolved, x.mean_seconds, x.slow_seconds) == near((0.17, 0.899, 1.0, 2.4))
    y = router(
        0.02,
        0.50,
        0.30,
        0.92,
        0.85,
        usd_router=0.001,
        seconds_small=0.4,
        seconds_large=2.0,
        seconds_router=0.1,
    )
    assert (y.usd_per_case, y.share_resolved, y.mean_seconds, y.slow_seconds) == near(
        (0.165, 0.899, 0.98, 2.1)
    )


def test_judge_and_classifier():
    assert classifier_break_even_calls(1000, 0.05, 0.01) == near(25_000)
    assert (
        classifier_break_even_calls(np.array([1000, 1000]), 0.05, np.array([0.05, 0.06])).tolist()
        == [math.inf] * 2
    )


def test_prompt_cache():
    # $2 fresh, $2.50 written, $0.20 cached: 60% cached, 30% written, 10% neither
    assert cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.6, 0.3) == near(0.1 * 2 + 0.6 * 0.2 + 0.3 * 2.5)
    assert cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.0) == 2.5


def test_risks():
    m = risk_matrix({'chat & voice': dict(ownership=1, data=4, service=2)})
    assert m.open == {'chat & voice': ['data']} and 'chat &amp; voice' in m._repr_html_()
    assert risk_matrix({'a': dict(ownership=1, data=4, service=2)}, limit=5).open == {}


# ---- by hand: time


def test_viability():
    assert months_until_affordable(625, 6, [12, 15, 18]) == near((24.2, 30.3, 36.3), abs=0.05)
    assert price_after(100, 30, 15) == near(1.0) and price_after(100, 30, math.inf) == 100
    assert (
        months_until_affordable(6, 6) == 0
        and months_until_affordable(0, 0) == 0
        and months_until_affordable(6, 0) == math.inf
    )


def test_payback_of_the_anchor():
    p = payback(20_000, 6_000, 100_000, np.array([np.inf, 18, 15, 12, 7]))
    assert p.months[0] == near(7.14, abs=0.01) and np.isinf(p.months[1:]).all()
    assert (p.best_usd[1:] + 100_000) / 1000 == near((53, 44, 35, 21), abs=0.6)
    q = payback(50_000, 6_000, 150_000, np.array([np.inf, 15, 12, 7]))
    assert q.months[:3] == near((3.4, 5.3, 6.9), abs=0.05) and q.months[3] == math.inf
    assert payback(2_000, 7_000, 1_000).months == math.inf


def test_saving_by_hand():
    # flat prices: 10 x (20 - 6) - 100 = 40 thousand
    assert saved_usd(10, 20_000, 6_000, 100_000, math.inf) == near(40_000, rel=1e-6)
    # volume that grows as fast as the price falls: the same as flat
    growth = 10 ** (12 / 15) - 1
    assert saved_usd(10, 20_000, 6_000, 100_000, 15, volume_growth_per_year=growth) == near(40_000, rel=1e-6)
    assert payback(20_000, 6_000, 100_000, 15, volume_growth_per_year=growth).months == near(
        100 / 14, rel=1e-6
    )
    # own costs that double in a year, summed up by the day
    days = np.arange(3650) / 3650 * 12
    assert saved_usd(12, 0, 1_000, 0, own_growth_per_year=1.0) == near(
        -np.sum(1_000 * 2 ** (days / 12)) * 12 / 3650, rel=1e-3
    )


@given(usd, usd, usd, st.floats(2, 60), st.floats(-0.5, 10), st.floats(-0.5, 3))
@fast
def test_payback_is_where_the_saving_is_zero(api, own, invest, pace, volume, drift):
    p = payback(api, own, invest, pace, volume, drift)
    if math.isinf(p.months):
        t = np.linspace(0, HORIZON, 4001)
        assert (saved_usd(t, api, own, invest, pace, volume, drift) <= 1e-6 * (api + own + invest + 1)).all()
    elif p.months > 1e-6:
        before, after = (
            saved_usd(t, api, own, invest, pace, volume, drift)
            for t in (max(0.0, p.months * (1 - 1e-6) - 1e-6), p.months * (1 + 1e-6) + 1e-6)
        )
        rounding = 1e-9 * (
            1 + abs(saved_usd(p.months, 0.0, own, invest, pace, volume, drift))
        )  # growth makes amounts of any size
        assert before <= rounding and after >= -rounding


@given(usd, usd, usd, st.floats(2, 60) | st.just(math.inf), st.floats(-0.5, 10), st.floats(-0.5, 3))
@fast
def test_no_month_beats_the_best(api, own, invest, pace, volume, drift):
    p = payback(api, own, invest, pace, volume, drift)
    t = np.linspace(0, HORIZON, 4001)
    spent = abs(saved_usd(p.best_month, 0.0, own, invest, pace, volume, drift)) + abs(
        saved_usd(HORIZON, 0.0, own, invest, pace, volume, drift)
    )
    assert (saved_usd(t, api, own, invest, pace, volume, drift) <= p.best_usd + 1e-9 * (1 + spent)).all()
    assert p.best_usd == pytest.approx(
        saved_usd(p.best_month, api, own, invest, pace, volume, drift), rel=1e-9, abs=1e-9 * (1 + spent)
    )


def test_a_loss_that_only_grows_is_best_on_the_first_day():
    # $2,000 of API that grows by 3% a year stays below $7,000 for 42 years: the investment never was less in the red
    p = payback(2_000, 7_000, 20_000, math.inf, volume_growth_per_year=0.03)
    assert (p.months, p.best_usd, p.best_month) == (math.inf, -20_000, 0)


@given(usd, usd, usd, st.floats(2, 60), st.floats(1, 2))
@fast
def test_a_faster_fall_or_a_dearer_project_never_helps(api, own, invest, pace, factor):
    base = payback(api, own, invest, pace).months
    assert payback(api, own, invest, pace / factor).months >= base - 1e-6
    assert (
        payback(api, own * factor, invest, pace).months >= base - 1e-6
        and payback(api, own, invest * factor, pace).months >= base - 1e-6
    )


# ---- for any input

options = st.builds(
    lambda q, case, rent, rate, peak, load, least, people: Option(
        'own', q, case, rent, rate, peak, load, least, people
    ),
    share,
    st.floats(0, 0.1),
    st.floats(0, 20),
    st.floats(1, 1e4),
    st.floats(1, 20),
    st.floats(0.1, 1),
    st.integers(1, 4),
    st.floats(0, 5e4),
)


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
    at = break_even_cases(api, option)

    def gap(v):
        return bill(option, v).usd - bill(api, v).usd

    if math.isinf(at):  # the own one is dearer again and again, however large the volume
        far = np.geomspace(1e9, 1e13, 50)
        assert (gap(far) >= -1e-6 * bill(api, far).usd).any()
    else:
        scale = 1e-7 * (1 + bill(api, at).usd)
        assert abs(gap(at)) <= scale or (at == 0 and gap(0.0) <= scale)
        beyond = at + np.concatenate([np.linspace(0, 1, 500) * (at + 1e4) * 5, np.geomspace(1, 1e9, 200)])
        assert (gap(beyond) <= 1e-7 * (1 + bill(api, beyond).usd)).all()


@given(st.integers(1, 60), st.floats(0, 0.999), st.floats(0, 0.999))
@fast
def test_waiting_is_a_share_and_grows_with_load(servers, a, b):
    low, high = sorted((a, b))
    assert 0 <= waiting_share(servers, low) <= waiting_share(servers, high) + 1e-12 <= 1 + 1e-9
    assert waiting_share(servers + 1, low) <= waiting_share(servers, low) + 1e-12


def test_arrays_answer_as_numbers_do():
    volumes = np.array([0.0, 1e3, 2e5, 3e6])
    assert bill(OWN, volumes).usd.tolist() == [float(bill(OWN, v).usd) for v in volumes]
    fees = np.array([0.01, 0.04, 0.05])
    assert break_even_cases(Option('API', 0.9, fees), OWN).tolist() == [
        float(break_even_cases(Option('API', 0.9, p), OWN)) for p in fees
    ]
    paces = np.array([7.0, 15.0, math.inf])
    assert payback(50_000, 6_000, 150_000, paces).months.tolist() == [
        float(payback(50_000, 6_000, 150_000, p).months) for p in paces
    ]
    assert waiting_share(np.array([4, 16]), np.array([0.7, 0.8])).tolist() == [
        waiting_share(4, 0.7),
        waiting_share(16, 0.8),
    ]


# ---- units never mix


def functions(module):
    "The public functions it defines"
    return [
        f
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith('_')
    ]


MONEY = [f for module in (decisions, paybacks, uncertainty, scorecard) for f in functions(module)]


@pytest.mark.parametrize('function', MONEY, ids=lambda f: f.__name__)
def test_names_carry_their_units(function):
    "Whoever reads a call sees dollars per what: no parameter is called price, cost, rate, tokens or volume"
    for name in inspect.signature(function).parameters:
        assert not {'price', 'cost', 'costs', 'fee', 'rate', 'tokens', 'volume', 'requests', 'time'} & {
            name
        }, name
        if 'mtok' in name:
            assert 'usd_per_mtok' in name
        assert 'ktok' not in name and 'thousand' not in name


def test_a_thousand_is_a_thousand():
    "Scaling money scales money, scaling cases scales cases: no hidden thousand or million anywhere"
    assert contact_usd(20.0, 0.8, 13_500.0) == near(1000 * contact_usd(0.02, 0.8, 13.5))
    tenth = Option(**{**vars(OWN), 'usd_per_server_hour': 0.3, 'people_usd_per_month': 500})
    assert break_even_cases(Option('API', 0.9, 0.05 * 10), OWN) == near(break_even_cases(API, tenth))
    a, b = payback(20_000, 6_000, 100_000, 18).best_usd, payback(20.0, 6.0, 100.0, 18).best_usd
    assert a == near(1000 * b, rel=1e-6)
    assert cached_prompt_usd_per_mtok(2e3, 0.2e3, 2.5e3, 0.5) == near(
        1000 * cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.5)
    )


# ---- refused, with cause and cure


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: contact_usd(0.02, 80), '80% is 0.8'),
        (lambda: contact_usd(-0.02, 0.8), 'usd_per_case is -0.02'),
        (lambda: contact_usd(math.nan, 0.8), 'must be a number'),
        (lambda: contact_usd(0.02, [0.5, 1.5]), 'share_resolved is 1.5'),
        (lambda: equivalence(0.1, 1, 0, 1, 1), 'at least one'),
        (lambda: Option('x', 0.9, usd_per_server_hour=3, cases_per_server_hour=10), '0 if you mean it'),
        (lambda: Option('x', 0.9, usd_per_server_hour=3, people_usd_per_month=0), 'measure how many cases'),
        (lambda: Option('x', 0.9, peak_to_mean=0.5), 'below the mean hour'),
        (lambda: Option('x', 0.9, cases_per_server_hour=0, people_usd_per_month=0), 'no number of servers'),
        (lambda: Option('x', 0.9, max_load=0.0), 'no number of servers'),
        (lambda: break_even_cases(OWN, API), 'own has servers too'),
        (lambda: compare([API, API], 10), 'a name of its own'),
        (lambda: compare([API], 0), 'nothing to compare'),
        (lambda: waiting_share(0, 0.5), 'at least one server'),
        (lambda: waiting_share(2.7, 0.5), 'whole number'),
        (lambda: waiting_share(2, math.nan), 'a number that is not negative'),
        (lambda: compare([API], 10, months=-24), 'months is -24'),
        (
            lambda: Option('x', 0.9, 0.0, 3.0, 10, people_usd_per_month=0, min_servers=1.5),
            'min_servers is 1.5',
        ),
        (lambda: cascade(0.1, 0.2, 30, 0.9, 0.9), '80% is 0.8'),
        (lambda: cached_prompt_usd_per_mtok(1, 0.1, 1, 0.7, 0.7), 'more than 1'),
        (lambda: risk_matrix({'a': dict(ownership=1, data=0, service=1)}), 'a, data: 0 is not a score'),
        (lambda: risk_matrix({'a': dict(ownership=1)}), 'ownership, data, service'),
        (lambda: payback(1, 1, 1, 0), 'inf if it stands still'),
        (lambda: payback(1, 1, 1, volume_growth_per_year=-1), 'above -1'),
        (lambda: saved_usd(-1, 1, 1, 1), 'months is -1'),
        (lambda: months_until_affordable(1, -1), 'usd_target is -1'),
        (lambda: pert(1, 0, 2), 'in this order'),
        (lambda: lognormal(0, 1, 2), 'use pert or triangular'),
        (lambda: resolved(5, 4), '5 of 4 cases'),
        (lambda: measured([1, math.nan]), 'drop the failed'),
        (lambda: simulate(dict(a=1), lambda b: b), 'has no parameter a'),
        (lambda: draw(dict(a='1')), 'a is a str'),
        (lambda: draw(dict(a=Estimate(1, 0, 2)), 0), 'at least one draw'),
        (lambda: draw(dict(a=Estimate(1, 0, 2)), 9, {('a', 'z'): 0.5}), 'correlation names z'),
        (lambda: draw(dict(a=Estimate(1, 0, 2), b=Estimate(1, 0, 2)), 9, {('a', 'b'): 2}), 'from -1 to 1'),
        (lambda: tornado(dict(a=Estimate(1, 0, 2)), lambda a: a, level=90), 'between 0 and 1'),
        (lambda: use_case_scorecard('x', dict(usd_per_kase=1.0)), 'check the spelling'),
        (lambda: use_case_scorecard('x', {}, sure=90), 'below 1'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


# ---- uncertainty


@pytest.mark.parametrize(
    'd, exact',
    [
        (triangular(2, 5, 11), lambda r: r.triangular(2, 5, 11, 400_000)),
        (triangular(0, 0, 1), lambda r: r.triangular(0, 0, 1, 400_000)),
        (pert(0, 1, 9), lambda r: 9 * r.beta(1 + 4 / 9, 1 + 32 / 9, 400_000)),
        (resolved(0, 10), lambda r: r.beta(1, 11, 400_000)),
        (resolved(9_980, 10_000), lambda r: r.beta(9_981, 21, 400_000)),
        (lognormal(1, 10, 100), lambda r: 10 ** r.normal(1, 1 / 1.6448536, 400_000)),
    ],
)
def test_draws_have_the_distribution_they_are_named_after(d, exact):
    mine = draw(dict(x=d), 400_000, seed=1)['x']
    at = np.linspace(0.01, 0.99, 99)
    theirs = np.quantile(exact(np.random.default_rng(2)), at)
    spread = theirs[-1] - theirs[0]
    assert (
        np.abs(np.quantile(mine, at) - theirs).max() < 0.012 * spread
        and np.abs(d.at(at) - theirs).max() < 0.012 * spread
    )


def test_draws_are_the_same_for_a_seed_and_fixed_inputs_stay():
    a, b, c = (draw(dict(x=Estimate(1, 0, 2), y=3.0), 100, seed=s) for s in (0, 0, 1))
    assert (a['x'] == b['x']).all() and (a['x'] != c['x']).any() and (a['y'] == 3).all()


@pytest.mark.parametrize('r', [-1, -0.5, 0.0, 0.8, 1.0])
def test_correlated_inputs_keep_their_distributions(r):
    x = draw(dict(a=triangular(0, 1, 4), b=lognormal(1, 2, 9), c=pert(0, 1, 2)), 50_000, {('a', 'b'): r})
    ranks = [np.argsort(np.argsort(x[k])) for k in 'abc']
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] == pytest.approx(6 / np.pi * np.arcsin(r / 2), abs=0.02)
    assert np.corrcoef(ranks[0], ranks[2])[0, 1] == pytest.approx(0, abs=0.02)
    assert np.quantile(x['b'], [0.05, 0.5, 0.95]) == pytest.approx([1, 2, 9], rel=0.05)


def test_a_sample_by_hand():
    d = measured([3.0, 1.0, 2.0])
    assert (d.value, d.at(0), d.at(0.25), d.at(0.5), d.at(1)) == pytest.approx(
        (2.0, 1.0, 1.5, 2.0, 3.0), abs=1e-4
    )  # in between on a straight line
    assert draw(dict(x=d), 50_000)['x'].mean() == pytest.approx(2.0, abs=0.02)


def test_bars_by_hand():
    "From -10 to 30 on 320 pixels: 0 is at 80; blue runs from there to the left, orange 240 pixels to the right"
    page = tornado_html(Tornado(0.0, [Swing('usd_per_case', 1.0, 3.0, -10.0, 30.0, 1.5)]), width=320)
    assert (
        'width:80.0px;height:13px;background:#1a73e8' in page
        and 'width:240.0px;height:13px;background:#e8710a' in page
    )
    assert (
        page.index('#1a73e8') < page.index('#e8710a')
        and '-10 … 30' in page
        and '<td>1.5</td>' in page
        and 'usd per case' in page
    )
    assert tornado_html(Tornado(math.inf, [])) == '<p>no finite result</p>'


def test_a_simulation_by_hand():
    s = simulate(dict(a=triangular(0, 1, 2), b=10.0), lambda a, b: a * b, 200_000)
    assert s.output.mean() == pytest.approx(10, abs=0.05) and s.interval().value == pytest.approx(10, abs=0.1)
    assert s.interval(0.5).low == pytest.approx(10 * math.sqrt(0.5), abs=0.1)
    assert s.interval().low == pytest.approx(10 * math.sqrt(0.1), abs=0.1)  # P(a < x) = x^2/2 below the peak
    assert simulate({}, lambda: 3.0, 10).output.tolist() == [3.0] * 10
    assert '10 draws' in simulate(dict(a=1.0), lambda a: a * math.inf, 10)._repr_html_()


def test_a_tornado_by_hand():
    inputs = dict(price=triangular(0, 1, 2), volume=triangular(90, 100, 110), fixed=50.0)
    t = tornado(inputs, lambda price, volume, fixed: price * volume - fixed)
    by = {s.name: s for s in t.swings}
    ends = math.sqrt(0.1), 2 - math.sqrt(0.1)
    assert t.value == 50 and [s.name for s in t.swings] == ['price', 'volume']
    assert (by['price'].result_low, by['price'].result_high) == pytest.approx(
        (100 * ends[0] - 50, 100 * ends[1] - 50), abs=0.1
    )
    assert by['price'].turns_at == pytest.approx(0.5, abs=1e-3) and math.isnan(by['volume'].turns_at)
    assert '<svg' not in t._repr_html_() and '<style' not in t._repr_html_()


def test_automation_by_hand():
    # 1,000 contacts: persons $10,000. With: 1,000 x $1 + 400 x $12 + $2,000 people + $500 rent + $24,000/24 = $9,300
    kw = dict(human_usd=10, handoff_usd=2, rent_usd_per_month=500, invest_usd=24_000)
    assert automation_usd(1000, 0.6, 1.0, 2000, **kw) == near(700)
    assert automation_usd(1000, 0.6, 1.0, 2000, month=15, **kw) == near(1600)


def test_scorecards_say_all_three():
    sure = dict(
        cases_per_month=1e4,
        share_resolved=resolved(160, 200),
        usd_per_case=0.05,
        human_usd=10.0,
        people_usd_per_month=Estimate(5e3, 4e3, 9e3),
    )
    go = use_case_scorecard('<i>chat', sure, n=2000)
    assert (
        (go.verdict, go.month, go.share_good) == ('go', 0, 1.0)
        and '<i>' not in go._repr_html_()
        and '<script' not in go._repr_html_()
    )
    no = use_case_scorecard('rare', sure | dict(cases_per_month=100), n=2000)
    assert (no.verdict, no.month) == ('no-go', None)
    split = use_case_scorecard('?', sure | dict(people_usd_per_month=Estimate(8e4, 6e4, 1e5)), n=2000)
    assert split.verdict == 'not yet' and split.month is None and 0.1 < split.share_good < 0.9
    later = use_case_scorecard(
        'soon', dict(now=pert(50, 60, 80)), lambda now, month=0: 6 - price_after(now, month, 15), n=2000
    )
    assert later.verdict == 'not yet' and later.month == pytest.approx(
        15 * math.log10(pert(50, 60, 80).at(0.9) / 6), abs=1.1
    )


def test_no_go_means_throughout():
    "None of the draws is good today; within five years seven in ten are, within one month still none"

    def benefit(x, month=0):
        return x + month / 60

    x = dict(x=triangular(-1.5, -0.9, -0.1))
    within = {h: use_case_scorecard('later', x, benefit, horizon_months=h, n=20_000) for h in (0, 1, 60)}
    assert within[60].share_good == 0 and draw(x, 20_000)['x'].mean() < -0.8
    assert {h: (c.verdict, c.month) for h, c in within.items()} == {
        0: ('no-go', None),
        1: ('no-go', None),
        60: ('not yet', None),
    }


def test_a_requirement_can_forbid_what_pays():
    inputs = dict(
        cases_per_month=1e4,
        share_resolved=0.8,
        usd_per_case=0.05,
        people_usd_per_month=5e3,
        seconds=triangular(0.1, 0.5, 0.6),
    )
    card = use_case_scorecard('voice', inputs, must={'fast': lambda seconds: seconds < 0.3}, n=20_000)
    p = draw(dict(s=triangular(0.1, 0.5, 0.6)), 20_000)['s']
    assert card.met['fast'] == card.share_good == pytest.approx((p < 0.3).mean(), abs=0.02)
    assert card.deciding[0] == 'seconds' and card.verdict == 'not yet'


# ---- everything public


def test_every_public_function_of_tokenomics_is_called_by_a_test():
    tests = '\n'.join(f.read_text() for f in Path(__file__).parent.glob('test_*.py'))
    assert not [
        f'{m.__name__}.{f.__name__}'
        for m in TOKENOMICS
        for f in functions(m)
        if not re.search(rf'\b{f.__name__}\(', tests)
    ]


# ---- constants


def assumptions(module):
    "{name: Assumption} of its constants, those inside tables too"
    held = {name: getattr(module, name) for name in module.__all__ if name.isupper()}
    inside = {f'{name} {k}': v for name, x in held.items() if isinstance(x, dict) for k, v in x.items()}
    return {
        name: getattr(x, 'usd', x)
        for name, x in (held | inside).items()
        if isinstance(getattr(x, 'usd', x), Assumption)
    }


def shown(thing):
    "What help() prints, without its layout"
    return re.sub(r'[|\s]', '', pydoc.plain(pydoc.render_doc(thing)))


TOKENOMICS = [
    importlib.import_module(f'rlops_lab.tokenomics.{m.name}')
    for m in pkgutil.iter_modules(tokenomics.__path__)
]


@pytest.mark.parametrize('module', TOKENOMICS, ids=lambda m: m.__name__.split('.')[-1])
def test_help_shows_source_date_and_range_of_every_constant(module):
    text = shown(module)
    for name, a in assumptions(module).items():
        assert a.source and a.date and a.unit and a.low < a.value < a.high, name
        assert re.sub(r'[|\s]', '', a.source) in text and a.date in text, name
        assert (
            any(f'[{a.low:{form}},{a.high:{form}}]' in text for form in ('.3g', '.4g', '.2f'))
            or f'low={a.low},high={a.high}' in text
        ), name
    defaults = [
        p.default
        for f in functions(module)
        for p in inspect.signature(f).parameters.values()
        if isinstance(p.default, Estimate)
    ]
    for a in defaults:
        assert isinstance(a, Assumption)


def test_help_on_one_constant_shows_it():
    for name, a in ((n, a) for m in TOKENOMICS for n, a in assumptions(m).items()):
        assert re.sub(r'[|\s]', '', a.source) in shown(a) and a.date in shown(a), name


@pytest.mark.parametrize('module', ['decisions', 'payback', 'uncertainty', 'scorecard'])
def test_no_torch(module):
    code = f"import rlops_lab.tokenomics.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
