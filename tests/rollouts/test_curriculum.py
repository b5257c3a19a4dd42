"Curriculum: shares, forgetting, draws that repeat, and what a resumed run needs"

import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import rng
from rlops_lab.rollouts.curriculum import Curriculum, PassRates

ROWS = [dict(level=level, i=i) for level in range(4) for i in range(3)]


def episode(row, reward):
    return SimpleNamespace(task=row, reward=reward)


def level(row):
    return row['level']


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 20)), max_size=12),
    st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_shares_are_a_distribution_and_exploration_has_its_part(seen, explore):
    c = Curriculum(ROWS, key=level, explore=explore)
    for g, k, m in seen:
        c.rates.observe({g: (k, m)})
    assert abs(c.shares.sum() - 1) < 1e-9 and (c.shares >= explore / 4 - 1e-12).all()
    lo, hi = c.rates.interval().T
    assert (lo <= hi).all() and (lo >= 0).all() and (hi <= 1).all() and (c.rates.weight <= 0.25).all()


@given(st.integers(1, 60), st.integers(0, 9), st.integers(0, 9))
def test_draws_repeat(n, update, seed):
    a, b = (Curriculum(ROWS, key=level, seed=seed) for _ in range(2))
    assert a.draw(n, update) == b.draw(n, update)
    b.load_state_dict(json.loads(json.dumps(a.state_dict())))
    assert a.draw(n, update + 1) == b.draw(n, update + 1)


def test_rows_of_a_group_take_turns():
    c = Curriculum(ROWS, key=level)
    drawn = Counter((r['level'], r['i']) for u in range(10) for r in c.draw(31, u))
    for k in range(4):
        assert max(drawn[k, i] for i in range(3)) - min(drawn[k, i] for i in range(3)) <= 1


def test_a_group_weighs_as_much_as_its_rows_would():
    alone, joined = Curriculum(ROWS), Curriculum(ROWS, key=lambda row: row['level'] > 0)
    assert np.isclose(alone.shares[3:].sum(), joined.shares[1]) and len(alone.names) == 12


def test_old_observations_fade_by_half():
    r = PassRates(2, half_life=3)
    r.observe({0: (8, 0)})
    for _ in range(3):
        r.observe({})
    assert np.allclose(r.counts, [[4, 0], [0, 0]])
    for _ in range(60):
        r.observe({})
    assert np.allclose(r.weight, 0.125, atol=1e-3)  # forgotten: as uncertain as in the beginning


def test_what_is_solved_or_hopeless_is_left_and_found_again_when_it_changes():
    def run(chance, updates, c, first):
        for u in range(first, first + updates):
            rows = c.draw(32, u)
            c.observe([episode(r, float(x < chance[r['level']])) for r, x in zip(rows, rng(7, u).random(32))])

    c = Curriculum(ROWS, key=level, half_life=5)
    run([1, 0.5, 0, 0], 15, c, 0)
    assert c.shares[1] > 0.5 and c.shares[[0, 2, 3]].max() < 0.2
    run([1, 1, 0.5, 0], 25, c, 15)
    assert c.shares[2] > 0.5 and c.shares[1] < 0.25
    assert {r['level'] for r in c.learnable()} >= {2} and c.report()[0].group == 3


def test_verdicts_that_abstain_are_left_out():
    c = Curriculum(ROWS, key=level, passed=lambda t: t.reward)
    c.observe([episode(ROWS[0], None), episode(ROWS[0], True), episode(ROWS[3], False)])
    assert c.rates.counts.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    'make, cause',
    [
        (lambda: Curriculum([]), 'needs rows'),
        (lambda: Curriculum(ROWS, explore=-0.1), 'is a share'),
        (lambda: PassRates(1, 0), 'half_life=0'),
        (lambda: PassRates(1, prior=(0, 1)), 'both counts'),
        (lambda: Curriculum(ROWS).load_state_dict(Curriculum(ROWS[1:]).state_dict()), 'over other rows'),
        (lambda: Curriculum(ROWS).observe([episode(dict(level=9), 1.0)]), 'no row of the curriculum'),
    ],
)
def test_what_cannot_work_says_why(make, cause):
    with pytest.raises(ValueError, match=cause):
        make()


def test_no_torch():
    "Nor do cases load it, which a data set is checked by before a model is there"
    modules = [
        'rlops_lab.rollouts.curriculum',
        'rlops_lab.rollouts.cases',
        'rlops_lab.environments.extraction.task',
        'rlops_lab.environments.extraction.summaries',
        'rlops_lab.environments.simulators',
        'rlops_lab.environments.recorded_environment',
    ]
    code = f'import sys, {", ".join(modules)}; print("torch" in sys.modules)'
    ran = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == 'False'
