"Uncertainty: draws have the distribution they are named after, correlation leaves it alone, and what is refused"

import math

import numpy as np
import pytest

from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.uncertainty import (
    as_distribution,
    check_parameters,
    draw_inputs,
    format_figure,
    lognormal,
    measured,
    parameter_names,
    pert,
    resolved,
    simulate,
    triangular,
    with_default_ranges,
)


SHARES = np.linspace(0.01, 0.99, 99)


@pytest.mark.parametrize(
    'distribution, exact',
    [
        (triangular(2, 5, 11), lambda rng: rng.triangular(2, 5, 11, 400_000)),
        (triangular(0, 0, 1), lambda rng: rng.triangular(0, 0, 1, 400_000)),
        (pert(0, 1, 9), lambda rng: 9 * rng.beta(1 + 4 / 9, 1 + 32 / 9, 400_000)),
        (resolved(0, 10), lambda rng: rng.beta(1, 11, 400_000)),
        (resolved(9_980, 10_000), lambda rng: rng.beta(9_981, 21, 400_000)),
        (lognormal(1, 10, 100), lambda rng: 10 ** rng.normal(1, 1 / 1.6448536, 400_000)),
    ],
)
def test_draws_have_the_distribution_they_are_named_after(distribution, exact):
    ours = np.quantile(draw_inputs(dict(x=distribution), 400_000, seed=1)['x'], SHARES)
    theirs = np.quantile(exact(np.random.default_rng(2)), SHARES)
    spread = theirs[-1] - theirs[0]
    assert np.abs(ours - theirs).max() < 0.012 * spread
    assert np.abs(distribution.at(SHARES) - theirs).max() < 0.012 * spread


def test_draws_are_the_same_for_a_seed_and_fixed_inputs_stay():
    a, b, c = (draw_inputs(dict(x=Estimate(1, 0, 2), y=3.0), 100, seed=seed) for seed in (0, 0, 1))
    assert (a['x'] == b['x']).all()
    assert (a['x'] != c['x']).any()
    assert (a['y'] == 3).all()


@pytest.mark.parametrize('r', [-1, -0.5, 0.0, 0.8, 1.0])
def test_correlated_inputs_keep_their_distributions(r):
    inputs = dict(a=triangular(0, 1, 4), b=lognormal(1, 2, 9), c=pert(0, 1, 2))
    drawn = draw_inputs(inputs, 50_000, {('a', 'b'): r})
    ranks = [np.argsort(np.argsort(drawn[name])) for name in 'abc']
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] == pytest.approx(6 / np.pi * np.arcsin(r / 2), abs=0.02)
    assert np.corrcoef(ranks[0], ranks[2])[0, 1] == pytest.approx(0, abs=0.02)
    assert np.quantile(drawn['b'], [0.05, 0.5, 0.95]) == pytest.approx([1, 2, 9], rel=0.05)


def test_a_sample_by_hand():
    sample = measured([3.0, 1.0, 2.0])
    assert sample.value == 2.0
    # in between on a straight line
    assert sample.at([0, 0.25, 0.5, 1]) == pytest.approx((1.0, 1.5, 2.0, 3.0), abs=1e-4)
    assert draw_inputs(dict(x=sample), 50_000)['x'].mean() == pytest.approx(2.0, abs=0.02)


def test_a_simulation_by_hand():
    product = simulate(dict(a=triangular(0, 1, 2), b=10.0), lambda a, b: a * b, 200_000)
    assert product.output.mean() == pytest.approx(10, abs=0.05)
    assert product.interval().value == pytest.approx(10, abs=0.1)
    # P(a < x) = x^2/2 below the peak
    assert product.interval(0.5).low == pytest.approx(10 * math.sqrt(0.5), abs=0.1)
    assert product.interval().low == pytest.approx(10 * math.sqrt(0.1), abs=0.1)


def test_a_simulation_without_inputs_or_without_a_finite_result():
    assert simulate({}, lambda: 3.0, 10).output.tolist() == [3.0] * 10
    assert '10 draws' in simulate(dict(a=1.0), lambda a: a * math.inf, 10)._repr_html_()


def test_a_number_is_fixed_and_a_range_is_read_as_pert():
    assert as_distribution('x', 3).is_fixed
    assert as_distribution('x', 3).at([0, 0.5, 1]).tolist() == [3, 3, 3]
    ranged = as_distribution('x', Estimate(1, 0, 2))
    assert (ranged.quantiles == pert(0, 1, 2).quantiles).all()
    assert as_distribution('x', ranged) is ranged


def test_figures_in_print():
    assert format_figure(0.012345) == '0.0123'
    assert format_figure(-1234.5) == '-1,234'
    assert format_figure(Estimate(2, 1, math.inf)) == '2 [1, never]'


def test_names_that_a_function_takes():
    assert parameter_names(lambda a, b=1: a) == ['a', 'b']
    assert parameter_names(lambda a, **more: a) is None
    check_parameters(lambda a, **more: a, dict(anything=1))


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: pert(1, 0, 2), 'in this order'),
        (lambda: lognormal(0, 1, 2), 'use pert or triangular'),
        (lambda: resolved(5, 4), '5 of 4 cases'),
        (lambda: measured([1, math.nan]), 'drop the failed'),
        (lambda: simulate(dict(a=1), lambda b: b), 'has no parameter a'),
        (lambda: draw_inputs(dict(a='1')), 'a is a str'),
        (lambda: draw_inputs(dict(a=Estimate(1, 0, 2)), 0), 'at least one draw'),
        (lambda: draw_inputs(dict(a=Estimate(1, 0, 2)), 9, {('a', 'z'): 0.5}), 'correlation names z'),
        (lambda: draw_inputs(dict(a=Estimate(1, 0, 2), b=Estimate(1, 0, 2)), 9, {('a', 'b'): 2}), 'from -1 to 1'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_defaults_with_a_range_are_drawn_and_others_stay():
    person = Estimate(10.0, 5.0, 20.0)

    def usd(cases, human_usd=person, fee=3.0):
        return cases * human_usd + fee

    assert with_default_ranges(dict(cases=2.0), usd) == dict(cases=2.0, human_usd=person)
    assert with_default_ranges(dict(cases=2.0, human_usd=1.0), usd) == dict(cases=2.0, human_usd=1.0)
    drawn = simulate(dict(cases=2.0), usd, n=5000)
    assert drawn.output.min() < 2 * 7 + 3 and drawn.output.max() > 2 * 14 + 3
    assert simulate(dict(cases=2.0, human_usd=1.0), usd, n=10).output.tolist() == [5.0] * 10
    with pytest.raises(ValueError, match='human_usd has two defaults'):
        with_default_ranges({}, usd, lambda human_usd=Estimate(1.0, 0.0, 2.0): human_usd)
