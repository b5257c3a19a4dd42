"Several raters, positions and repetitions: another library as oracle, stored verdicts, and bad input."

import json
import os
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlops_lab.judges.consistency import position_bias, rater_alpha, self_consistency

LEVELS = tuple(range(4))
level = st.one_of(st.none(), st.integers(0, 3))


def ratings_of(raters):
    return st.lists(st.lists(level, min_size=raters, max_size=raters), min_size=1, max_size=30)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 4).flatmap(ratings_of), st.sampled_from(['nominal', 'ordinal', 'interval']))
def test_alpha_is_that_of_the_krippendorff_package(ratings, metric):
    "Any number of raters, any gaps; where one item or level alone is left, neither invents an alpha"
    given_levels = [[rating for rating in row if rating is not None] for row in ratings]
    paired = [row for row in given_levels if len(row) > 1]
    if not paired:
        with pytest.raises(ValueError, match='no item has two ratings'):
            rater_alpha(ratings, LEVELS, metric)
        return
    ours = rater_alpha(ratings, LEVELS, metric)
    if len(set().union(*paired)) < 2:
        assert np.isnan(ours.value)
        return
    theirs = krippendorff.alpha(np.array(ratings, float).T, level_of_measurement=metric, value_domain=LEVELS)
    assert ours.value == pytest.approx(theirs, abs=1e-9)
    assert ours.low <= theirs + 1e-9 and theirs <= ours.high + 1e-9


def test_position_p_value_and_consistency_of_a_coin():
    random = np.random.default_rng(8)
    bias = position_bias(*random.choice(['A', 'B'], (2, 400)))
    first = bias.first
    expected = stats.binomtest(round(first.value * first.n), first.n).pvalue
    assert bias.p_value == pytest.approx(expected)
    coin = self_consistency(random.choice(['pass', 'fail'], (300, 4)).tolist())
    assert abs(coin.agreement.value - 0.5) < 0.04 and coin.agreement.width < 0.08
    assert abs(coin.alpha.value) < 0.08


def test_position_bias_on_stored_verdicts():
    "GPT-4 on LLMBar in both orders: what the file holds"
    folder = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data'))
    file = folder / 'llmbar' / 'natural_gpt4_vanilla_verdicts.json'
    if not file.exists():
        pytest.skip(f'{file} is absent')
    rows = json.loads(file.read_text())
    name = {'1': 'A', '2': 'B'}

    def winners(swap):
        return [name.get(str(row['results'][0][f'swap = {swap}']['winner'])) for row in rows]

    orders = winners(False), winners(True)
    bias = position_bias(*orders, [name[str(row['label'])] for row in rows])
    both = [pair for pair in zip(*orders) if None not in pair]
    assert bias.flips.n == len(both)
    assert bias.flips.value == pytest.approx(sum(first != second for first, second in both) / len(both))


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: rater_alpha([]), 'no item has two ratings'),
        (lambda: rater_alpha([['pass', 'fail']], metric='ratio'), "metric='ratio'"),
        (lambda: position_bias(['A'], []), 'judge each pair in both'),
        (lambda: position_bias(['first'], ['A']), "winner 'first' in row 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
