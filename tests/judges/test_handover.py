"The hand-over's intervals hold what they promise, under both designs, and odd graders are met with reasons."

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.graded import Graded, graded
from rlops_lab.judges.handover import handover
from rlops_lab.stats import stratified_gain


def draw(rng, n, cells):
    "Labels and two graders' verdicts; `cells` are shares of (both right, first alone, second alone, none)"
    y, kind = rng.random(n) < 0.6, rng.choice(4, n, p=cells)
    a, b = np.where(kind < 2, y, ~y), np.where(np.isin(kind, (0, 2)), y, ~y)
    return [[('fail', 'pass')[int(v)] for v in x] for x in (y, a, b)]


@pytest.mark.parametrize('cells', [(0.75, 0.05, 0.12, 0.08), (0.9, 0.02, 0.02, 0.06), (0.5, 0.2, 0.2, 0.1)])
def test_paired_interval_covers(cells):
    rng, truth, n = np.random.default_rng(0), cells[2] - cells[1], 100
    hits = 0
    for i in range(400):
        kind = rng.choice(4, n, p=cells)
        e = stratified_gain(kind < 2, np.isin(kind, (0, 2)), seed=i)
        hits += e.low <= truth <= e.high
    assert hits / 400 >= 0.925  # 95% of 400, less two and a half standard errors


def test_labels_by_verdict_are_weighted_back():
    rng, hits, truth = np.random.default_rng(1), 0, 0.12 - 0.05
    for i in range(150):
        y, a, b = draw(rng, 1500, (0.75, 0.05, 0.12, 0.08))
        chosen = set(
            sum(
                (
                    rng.permutation([j for j, v in enumerate(a) if v == verdict])[:60].tolist()
                    for verdict in ('pass', 'fail')
                ),
                [],
            )
        )
        h = handover(
            Graded('j', a, 1.0),
            Graded('m', b, 0.1),
            [v if j in chosen else None for j, v in enumerate(y)],
            design='verdict',
            seed=i,
        )
        hits += h.difference.low <= truth <= h.difference.high
    assert hits / 150 >= 0.9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(['pass', 'fail', None])] * 3), min_size=1, max_size=30))
def test_any_verdicts_give_a_recommendation_or_a_reason(rows):
    a, b, y = map(list, zip(*rows))
    try:
        h = handover(Graded('j', a, 1.0, 0.01), Graded('m', b, 0.1, 0.0), y, invest_usd=5)
    except ValueError as e:
        assert 'no labelled item' in str(e)
        return
    assert h.recommendation in ('reward model', 'judge', 'label more', 'neither') and h.reason
    assert h.difference.low <= h.difference.value <= h.difference.high and h.break_even == 500
    assert '<table' in h._repr_html_()


def test_nothing_is_asked_twice_and_failures_are_named():
    class Remembering:
        __name__ = 'remembering'

        def grade(self, items):
            from rlops_lab.judges.verdicts import Verdict

            return [Verdict('pass', 1.0, cached=True) for _ in items]

    items = [dict(prompt='a', completion='b')] * 3
    with pytest.raises(ValueError, match='3 of 3 verdicts came from the log'):
        graded(Remembering(), items)
    with pytest.raises(ValueError, match='1 answers to 3 items'):
        graded(lambda prompts, completions, **c: [1.0], items, warm=0)
    assert graded(lambda prompts, completions, **c: [None, 0.2, 0.9], items, warm=0).verdicts == [
        None,
        'fail',
        'pass',
    ]


def test_loads_no_torch():
    code = "import sys, rlops_lab.judges.handover; assert not {'torch', 'sklearn', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_score_that_is_no_number_is_no_verdict():
    items = [dict(prompt='a', completion='b')] * 3
    for scores in ([float('nan'), 0.2, 0.9], np.array([np.nan, 0.2, 0.9])):
        assert graded(lambda prompts, completions, **c: scores, items).verdicts == [None, 'fail', 'pass']
    for bad in (
        [dict(completion='b')],
        [dict(prompt='a', completion='b'), dict(prompt='a', completion='b', reference='c')],
    ):
        with pytest.raises(ValueError, match='1 of . items lack'):
            graded(lambda prompts, completions, **c: 1 / 0, bad)


def test_strata_need_their_pool():
    for strata, pool in ((['a', 'b'], None), (['a', 'b'], dict(a=3)), (['a'], dict(a=3))):
        with pytest.raises(ValueError, match='strata need one name an item'):
            stratified_gain([1, 0], [1, 1], strata, pool)


def test_figures_of_a_hand_over_by_hand():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(3)
    y, a, b = draw(rng, 300, (0.7, 0.1, 0.15, 0.05))
    h = handover(Graded('judge', a, 2.0, 0.004), Graded('model', b, 0.02, 0.001), y, invest_usd=60.0)
    right = {who: np.mean([v == label for v, label in zip(x, y)]) for who, x in (('judge', a), ('reward model', b))}
    for who, x in (('judge', a), ('reward model', b)):
        assert h.agreement[who].value == pytest.approx(right[who]) and h.kappa[who].value == pytest.approx(
            cohen_kappa_score(x, y)
        )
    only_b, only_a = (
        sum(u == label != v for v, u, label in zip(a, b, y)),
        sum(v == label != u for v, u, label in zip(a, b, y)),
    )
    assert (
        h.difference.value
        == pytest.approx(right['reward model'] - right['judge'])
        == pytest.approx((only_b - only_a) / 300)
    )
    se = ((only_a + only_b) / 300 - h.difference.value**2) ** 0.5 / 300**0.5
    assert h.difference.width == pytest.approx(2 * 1.96 * se, rel=0.1)  # Wald's interval of paired shares
    assert h.break_even == pytest.approx(60 / 0.003) and h.speedup == pytest.approx(100)
    page = h._repr_html_()
    assert (
        re.search('>4</td><td [^>]*>1</td>', page) and 'after 20,000 items' in page and '100 times faster' in page
    )  # dollars for 1,000


@pytest.mark.filterwarnings('error')
def test_weighted_agreement_is_the_pools():
    "Fifty labels of each verdict, of 900 passes and 100 fails"
    a = ['pass'] * 900 + ['fail'] * 100
    y = ['pass'] * 40 + ['fail'] * 10 + [None] * 850 + ['fail'] * 45 + ['pass'] * 5 + [None] * 50
    b = [v or 'pass' for v in y]
    h = handover(Graded('judge', a, 1.0), Graded('model', b, 0.1), y, design='verdict')
    assert (
        h.agreement['judge'].value == pytest.approx(0.9 * 0.8 + 0.1 * 0.9)
        and h.agreement['reward model'].value == 1
    )
    with pytest.raises(ValueError, match="among those of 'fail'"):
        handover(Graded('judge', a, 1.0), Graded('model', b, 0.1), y[:900] + [None] * 100, design='verdict')
