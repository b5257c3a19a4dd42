"Design choices: each formula by hand or against the textbook's sum, and what is refused"

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import fast, near

from rlops_lab.stats import wilson
from rlops_lab.tokenomics.design_choices import (
    cached_prompt_usd_per_mtok,
    cascade,
    classifier_break_even_calls,
    equivalence,
    risk_matrix,
    router,
    waiting_share,
)


def test_equivalence_by_hand():
    found = equivalence(0.10, 180, 200, 188, 200, human_usd=10)  # loses 4 points, worth $0.40; saves $0.10
    assert found.share_lost.value == near(0.04)
    assert found.saving_usd.value == near(-0.30)
    (low, high), (low_now, high_now) = wilson(180, 200), wilson(188, 200)  # Newcombe's interval, written out
    assert found.share_lost.low == near(0.04 - math.sqrt((0.94 - low_now) ** 2 + (high - 0.90) ** 2))
    assert found.share_lost.high == near(0.04 + math.sqrt((high_now - 0.94) ** 2 + (0.90 - low) ** 2))
    assert found.verdict == 'undecided'
    assert found.cases_to_decide == math.ceil(19.6**2 * (0.9 * 0.1 + 0.94 * 0.06) / 0.09)


def test_equivalence_when_it_is_clear():
    assert equivalence(1.0, 1000, 1000, 1000, 1000).verdict == 'wins'
    assert equivalence(0.0, 10, 100, 90, 100).verdict == 'loses'
    assert equivalence(0.0, 50, 100, 50, 100).cases_to_decide == math.inf


@pytest.mark.parametrize('k, k_now', [(0, 0), (200, 200), (0, 200), (200, 0), (1, 199)])
def test_equivalence_at_the_edges(k, k_now):
    found = equivalence(0.1, k, 200, k_now, 200)
    assert found.share_lost.low <= found.share_lost.value <= found.share_lost.high
    assert found.saving_usd.low <= found.saving_usd.value <= found.saving_usd.high


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


@given(st.integers(1, 60), st.floats(0, 0.999), st.floats(0, 0.999))
@fast
def test_waiting_is_a_share_and_grows_with_load(servers, a, b):
    low, high = sorted((a, b))
    assert 0 <= waiting_share(servers, low) <= waiting_share(servers, high) + 1e-12 <= 1 + 1e-9
    assert waiting_share(servers + 1, low) <= waiting_share(servers, low) + 1e-12


def test_two_models():
    # of 100 cases: all to the small (2 x 100), 30 to the large (50 x 30); 64.4 + 25.5 resolved
    seconds = dict(seconds_small=0.4, seconds_large=2.0)
    one = cascade(0.02, 0.50, 0.30, resolved_kept=0.92, resolved_escalated=0.85, **seconds)
    assert (one.usd_per_case, one.share_resolved) == near((0.17, 0.899))
    assert (one.mean_seconds, one.slow_seconds) == near((1.0, 2.4))
    other = router(0.02, 0.50, 0.30, 0.92, 0.85, usd_router=0.001, seconds_router=0.1, **seconds)
    assert (other.usd_per_case, other.share_resolved) == near((0.165, 0.899))
    assert (other.mean_seconds, other.slow_seconds) == near((0.98, 2.1))


def test_judge_and_classifier():
    assert classifier_break_even_calls(1000, 0.05, 0.01) == near(25_000)
    never = classifier_break_even_calls(np.array([1000, 1000]), 0.05, np.array([0.05, 0.06]))
    assert never.tolist() == [math.inf] * 2


def test_prompt_cache():
    # $2 fresh, $2.50 written, $0.20 cached: 60% cached, 30% written, 10% neither
    assert cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.6, 0.3) == near(0.1 * 2 + 0.6 * 0.2 + 0.3 * 2.5)
    assert cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.0) == 2.5


def test_risks():
    matrix = risk_matrix({'chat & voice': dict(ownership=1, data=4, service=2)})
    assert matrix.open == {'chat & voice': ['data']}
    assert 'chat &amp; voice' in matrix._repr_html_()
    assert risk_matrix({'a': dict(ownership=1, data=4, service=2)}, limit=5).open == {}


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: equivalence(0.1, 1, 0, 1, 1), 'at least one'),
        (lambda: waiting_share(0, 0.5), 'at least one server'),
        (lambda: waiting_share(2.7, 0.5), 'whole number'),
        (lambda: waiting_share(2, math.nan), 'a number that is not negative'),
        (lambda: cascade(0.1, 0.2, 30, 0.9, 0.9), '80% is 0.8'),
        (lambda: cached_prompt_usd_per_mtok(1, 0.1, 1, 0.7, 0.7), 'more than 1'),
        (lambda: risk_matrix({'a': dict(ownership=1, data=0, service=1)}), 'a, data: 0 is not a score'),
        (lambda: risk_matrix({'a': dict(ownership=1)}), 'ownership, data, service'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
