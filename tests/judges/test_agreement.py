"Agreement and corrected pass rates: invariances, other libraries as oracles, coverage where it is hardest, and bad input."

import warnings
import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from rlops_lab.stats import wilson
from rlops_lab.judges.agreement import (
    calibrate,
    calibrate_slices,
    codes,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
)
from rlops_lab.judges.corrected_rate import corrected_rate, inverted_interval, rate_interval, same_shares
from rlops_lab.judges.verdicts import Verdict
from rlops_lab.judges.consistency import position_bias, rater_alpha, self_consistency

verdict = st.sampled_from(['pass', 'fail', None])
pairs = st.lists(st.tuples(verdict, verdict), min_size=1, max_size=60)


METRICS, WEIGHTS = ('nominal', 'ordinal', 'interval'), ('nominal', 'linear', 'quadratic')
place = st.one_of(st.none(), st.integers(0, 3))
ratings = st.integers(2, 4).flatmap(
    lambda raters: st.lists(st.lists(place, min_size=raters, max_size=raters), min_size=1, max_size=30)
)


@settings(deadline=None, max_examples=200)
@given(ratings, st.sampled_from(METRICS))
def test_alpha_is_that_of_the_krippendorff_package(rows, metric):
    "Any number of raters, any gaps; where one item or level alone is left, alpha is not defined, and neither invents one"
    paired = [[x for x in row if x is not None] for row in rows if sum(x is not None for x in row) > 1]
    if not paired:
        with pytest.raises(ValueError, match='no item has two ratings'):
            rater_alpha(rows, tuple(range(4)), metric)
        return
    ours = rater_alpha(rows, tuple(range(4)), metric)
    if len({x for row in paired for x in row}) < 2:
        assert np.isnan(ours.value)
        return
    theirs = krippendorff.alpha(np.array(rows, float).T, level_of_measurement=metric, value_domain=range(4))
    assert (
        ours.value == pytest.approx(theirs, abs=1e-9)
        and ours.low <= theirs + 1e-9
        and theirs <= ours.high + 1e-9
    )


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
    st.sampled_from(WEIGHTS),
    st.sampled_from(METRICS),
)
def test_kappa_and_alpha_of_two_are_those_of_the_libraries(rows, weights, metric):
    verdicts, labels = map(list, zip(*rows))
    ours = calibrate(verdicts, labels, 'random', levels=tuple(range(4)), weights=weights, metric=metric)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # theirs warns where kappa is not defined
        theirs = cohen_kappa_score(
            labels, verdicts, labels=range(4), weights=None if weights == 'nominal' else weights
        )
    assert ours.kappa.value == pytest.approx(theirs, abs=1e-9, nan_ok=True)
    if len({*verdicts, *labels}) < 2:
        assert np.isnan(ours.alpha.value)
        return
    assert ours.alpha.value == pytest.approx(
        krippendorff.alpha([verdicts, labels], level_of_measurement=metric, value_domain=range(4)), abs=1e-9
    )


def test_many_tables_in_one_call_are_those_of_the_libraries_one_by_one():
    "What neither library does, and what the intervals are made of: a posterior's worth of tables at once"
    tables = np.random.default_rng(0).integers(0, 12, (50, 4, 4))
    for weights, metric in zip(WEIGHTS, METRICS):
        kappas, alphas = (
            cohen_kappa(tables, weights),
            krippendorff_alpha(tables + tables.swapaxes(1, 2), metric),
        )
        for table, kappa, alpha in zip(tables, kappas, alphas):
            labels, verdicts = np.repeat(np.indices((4, 4)).reshape(2, -1), table.ravel(), 1)
            assert kappa == pytest.approx(
                cohen_kappa_score(labels, verdicts, weights=None if weights == 'nominal' else weights)
            )
            assert alpha == pytest.approx(
                krippendorff.alpha([labels, verdicts], level_of_measurement=metric, value_domain=range(4))
            )


@settings(deadline=None)
@given(pairs)
def test_nothing_is_lost_or_invented(rows):
    v, y = zip(*rows)
    c = confusion(v, y)
    assert c.table.sum() + c.unscored.sum() == sum(label is not None for label in y)
    for i, label in enumerate(c.levels):
        for j, said in enumerate(c.levels):
            assert c.table[i, j] == rows.count((said, label))


@given(pairs, st.randoms())
@settings(deadline=None, max_examples=30)
def test_order_of_rows_does_not_matter(rows, random):
    mixed = rows[:]
    random.shuffle(mixed)
    if not any(v and y for v, y in rows):
        return
    a, b = (calibrate(*zip(*x), 'random') for x in (rows, mixed))
    assert repr(a.kappa) == repr(b.kappa) and repr(a.recall) == repr(b.recall)
    first, second = (
        corrected_rate(*zip(*x), 'random', strata=[str(v) for v, _ in x]).rate for x in (rows, mixed)
    )
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200)), min_size=1, max_size=5)
)
def test_passes_and_fails_are_mirror_images(cells):
    passed, failed, others = (np.array(x) for x in zip(*cells))
    labelled, pool = passed + failed, passed + failed + others + 1
    for target in ('population', 'pool'):
        value, low, high = rate_interval(passed, labelled, pool, target)
        mirrored = rate_interval(failed, labelled, pool, target)
        assert 0 <= low <= value <= high <= 1
        assert (1 - value, 1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40), st.integers(0, 500))
def test_inverted_interval_is_one(hits, misses, alarms, quiet, judged):
    value, low, high = inverted_interval(hits, hits + misses, alarms, alarms + quiet, judged, 500)
    assert 0 <= low <= high <= 1
    if np.isfinite(value):
        assert low <= value <= high


def test_many_evaluations_in_one_call_are_the_same_as_one_by_one():
    r = np.random.default_rng(2)
    labelled = r.integers(1, 40, (50, 3))
    passed = r.binomial(labelled, 0.6)
    pool = labelled + r.integers(0, 300, (50, 3))
    together = np.stack(rate_interval(passed, labelled, pool), 1)
    assert together == pytest.approx(np.array([rate_interval(*x) for x in zip(passed, labelled, pool)]))


def test_all_labelled_is_the_plain_share():
    "Without unlabelled rows the judge adds nothing, and the interval is about that of the labels"
    y = [True] * 30 + [False] * 20
    found = corrected_rate([True, False] * 25, y, 'random')
    assert found.rate.value == 0.6
    assert found.rate.width == pytest.approx(found.humans.width, rel=0.05)
    assert corrected_rate([True, False] * 25, y, 'random', target='pool').rate.width == pytest.approx(
        0, abs=1e-4
    )


def test_a_perfect_judge_is_worth_its_verdicts():
    v = [True] * 600 + [False] * 400
    y = [x if i % 10 == 0 else None for i, x in enumerate(v)]
    found = corrected_rate(v, y, 'random')
    assert found.rate.value == pytest.approx(0.6)
    assert found.rate.width < 0.5 * found.humans.width and found.worth > 400


@pytest.mark.parametrize('p', [0.02, 0.1, 0.5, 0.95])
@pytest.mark.parametrize('tpr,tnr', [(1.0, 1.0), (0.98, 0.74), (0.6, 0.55), (0.5, 0.5)])
def test_coverage_and_width(p, tpr, tnr):
    "Good judges and useless ones, rare passes and common ones; 7% wider than labels alone at one pass in 50 labels and a coin as judge"
    r = np.random.default_rng(3)
    cells = np.array([[(1 - p) * tnr, (1 - p) * (1 - tnr)], [p * (1 - tpr), p * tpr]])
    for n, N in ((50, 1000), (200, 200)):
        mine, others = (
            r.multinomial(n, cells.ravel(), 2000).reshape(-1, 2, 2),
            r.multinomial(N, cells.sum(0), 2000),
        )
        _, low, high = rate_interval(mine[:, 1], mine.sum(1), mine.sum(1) + others)
        alone = np.array([wilson(k, n) for k in r.binomial(n, p, 2000)])
        assert np.mean((low <= p) & (p <= high)) > 0.93
        assert np.mean(high - low) < (1.08 if n * min(p, 1 - p) < 3 else 1.05) * np.mean(
            alone[:, 1] - alone[:, 0]
        )


@pytest.mark.filterwarnings('ignore:the verdicts on labelled rows')
@pytest.mark.parametrize('unscored', [0.0, 0.1])
def test_coverage_by_row_and_design(unscored):
    "Rows, labels by verdict and balanced ones, some verdicts missing more often where people pass"
    r = np.random.default_rng(4)
    held = dict(random=0, verdict=0, label=0)
    for _ in range(200):
        y = r.random(500) < 0.3
        v = np.where(r.random(500) < np.where(y, 0.9, 0.25), 'pass', 'fail').astype(object)
        v[r.random(500) < unscored * np.where(y, 2, 0.5)] = None
        for drawn in held:
            kinds = (
                [np.ones(500, bool)]
                if drawn == 'random'
                else [v == k for k in ('pass', 'fail', None)]
                if drawn == 'verdict'
                else [y, ~y]
            )
            rows = np.concatenate([r.permutation(np.flatnonzero(k))[: 120 // len(kinds)] for k in kinds])
            labels = np.full(500, None)
            labels[rows] = y[rows]
            found = corrected_rate(v.tolist(), labels.tolist(), drawn).rate
            held[drawn] += found.low <= 0.3 <= found.high
    assert all(k >= 182 for k in held.values()), held  # 182 of 200 or more in 99% of the cases, if it is 95%


def test_kappa_coverage():
    r = np.random.default_rng(5)
    cells = np.array([[0.5, 0.1], [0.05, 0.35]])
    chance = cells.sum(0) @ cells.sum(1)
    truth = (np.trace(cells) - chance) / (1 - chance)
    held = 0
    for _ in range(200):
        table = r.multinomial(80, cells.ravel())
        rows = np.repeat(np.arange(4), table)
        k = calibrate((rows % 2).tolist(), (rows // 2).tolist(), 'random').kappa
        held += k.low <= truth <= k.high
    assert held >= 182


def test_labels_by_verdict_are_weighted_back():
    r = np.random.default_rng(6)
    y = r.random(20_000) < 0.2
    v = np.where(y, r.random(20_000) < 0.95, r.random(20_000) < 0.3)
    rows = np.concatenate([r.permutation(np.flatnonzero(v == k))[:2000] for k in (True, False)])
    labels = np.full(20_000, None)
    labels[rows] = y[rows]
    whole, some = (
        calibrate(v.tolist(), y.tolist(), 'random'),
        calibrate(v.tolist(), labels.tolist(), 'verdict'),
    )
    for name in ('tpr', 'tnr', 'agreement', 'kappa', 'alpha'):
        e = getattr(some, name)
        assert e.low <= getattr(whole, name).value <= e.high and e.width < 0.15
    # the same labels from another collection, beside rows without a label
    apart_v, apart_y = v[rows].tolist() + v.tolist(), y[rows].tolist() + [None] * 20_000
    apart, within = (
        corrected_rate(apart_v, apart_y, 'verdict', from_pool=False),
        corrected_rate(v.tolist(), labels.tolist(), 'verdict'),
    )
    assert apart.rate.value == pytest.approx(within.rate.value)


def test_unscored_is_neither_pass_nor_fail():
    v, y = ['pass'] * 40 + ['fail'] * 40 + [None] * 20, ['pass'] * 40 + ['fail'] * 40 + ['pass'] * 20
    c = calibrate(v, y, 'random')
    assert c.agreement.value == 1 and c.unscored.value == 0.2 and c.unscored.n == 100
    assert corrected_rate(v, y, 'random').rate.value == pytest.approx(0.6)


def test_labels_that_do_not_look_random_are_doubted():
    v = [True] * 500 + [False] * 500
    y = [None] * 400 + [True] * 100 + [None] * 490 + [False] * 10
    with pytest.warns(UserWarning, match='labels drawn at random would not'):
        corrected_rate(v, y, 'random')


def test_slices_partition_the_rows():
    r = np.random.default_rng(7)
    v, y, s = (
        (r.random(300) < 0.5).tolist(),
        (r.random(300) < 0.5).tolist(),
        r.choice(['a', 'b', 'c'], 300).tolist(),
    )
    parts = calibrate_slices(v, y, s, 'random')
    assert sum(c.counts.table for c in parts.values()).tolist() == confusion(v, y).table.tolist()


def test_position_p_value_and_consistency_of_a_coin():
    r = np.random.default_rng(8)
    a, b = r.choice(['A', 'B'], (2, 400))
    bias = position_bias(a, b)
    assert bias.p_value == pytest.approx(
        stats.binomtest(round(bias.first.value * bias.first.n), bias.first.n).pvalue
    )
    coin = self_consistency(r.choice(['pass', 'fail'], (300, 4)).tolist())
    assert (
        abs(coin.agreement.value - 0.5) < 0.04
        and abs(coin.alpha.value) < 0.08
        and coin.agreement.width < 0.08
    )


def test_position_bias_on_stored_verdicts():
    "GPT-4 on LLMBar in both orders: what the file holds"
    import json, os
    from pathlib import Path

    folder = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data'))
    file = folder / 'llmbar' / 'natural_gpt4_vanilla_verdicts.json'
    if not file.exists():
        pytest.skip(f'{file} is absent')
    rows = json.loads(file.read_text())
    name = {'1': 'A', '2': 'B'}
    winners = [
        [name.get(str(row['results'][0][f'swap = {swap}']['winner'])) for row in rows]
        for swap in (False, True)
    ]
    bias = position_bias(*winners, [name[str(row['label'])] for row in rows])
    both = [pair for pair in zip(*winners) if None not in pair]
    assert bias.flips.n == len(both) and bias.flips.value == pytest.approx(
        sum(a != b for a, b in both) / len(both)
    )


@pytest.mark.parametrize(
    'call,message',
    [
        (lambda: corrected_rate(['pass'], ['pass'], 'stratified'), "say how the labelled items were chosen"),
        (lambda: corrected_rate(['pass', 'fail'], ['pass'], 'random'), 'give one of each an item'),
        (lambda: corrected_rate(['pass', 'meh'], ['pass', None], 'random'), "verdict 'meh' in row 1"),
        (lambda: corrected_rate([0.7, 0.2], [True, None], 'random'), 'verdict 0.7 in row 0'),
        (lambda: corrected_rate(['pass'] * 3, [None] * 3, 'random'), 'no labels'),
        (
            lambda: corrected_rate(['pass'] * 3, ['pass'] * 3, 'verdict', from_pool=False),
            'no rows besides the labelled ones',
        ),
        (
            lambda: corrected_rate(
                ['pass'] * 3, ['pass', None, None], 'verdict', from_pool=False, target='pool'
            ),
            'labels from the pool',
        ),
        (
            lambda: corrected_rate(['pass'] * 3, ['pass', None, None], 'verdict', strata=['a']),
            '1 strata for 3 rows',
        ),
        (
            lambda: corrected_rate(['pass'] * 3, ['pass', 'pass', None], 'label'),
            'label some passes and some fails',
        ),
        (lambda: calibrate(['pass', 'fail'], [None, None], 'random'), 'no item has both'),
        (
            lambda: calibrate(['pass'] * 9 + ['fail'] * 9, ['pass'] * 9 + [None] * 9, 'verdict'),
            'no label on any item with verdict fail',
        ),
        (lambda: calibrate_slices(['pass'], ['pass'], [], 'random'), '0 slices'),
        (lambda: rater_alpha([[1, 2], [1]], (1, 2)), 'different numbers of ratings'),
        (lambda: rater_alpha([['pass', 'fail']], metric='ratio'), "metric='ratio'"),
        (lambda: position_bias(['A'], []), 'judge each pair in both'),
        (lambda: position_bias(['first'], ['A']), "winner 'first' in row 0"),
        (lambda: codes([[1]], (1, 2)), 'is not one of 1, 2'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_gap_is_a_gap_however_it_is_written():
    "pandas writes nan for what is missing"
    nan, v = float('nan'), ['pass', 'fail'] * 10 + ['pass'] * 5
    gaps = [
        calibrate(v, ['pass', 'fail'] * 10 + [gap] * 5, 'verdict', from_pool=False).agreement
        for gap in (None, nan)
    ]
    assert gaps[0] == gaps[1] and gaps[0].value == 1
    assert (
        calibrate_slices(['pass', 'fail', 'pass'], ['pass', 'fail', nan], ['a', 'a', 'b'], 'random')['b']
        is None
    )


def test_labels_at_random_from_elsewhere_give_the_rate_of_these_rows():
    "The judge passed 80% of the labelled rows and half of these; a verdict is worth as much here as there"
    r, held, truth = np.random.default_rng(9), 0, 0.5 * 0.9 + 0.5 * 0.2
    for _ in range(200):
        v = [r.random(200) < 0.8, r.random(400) < 0.5]
        y = np.where(v[0], r.random(200) < 0.9, r.random(200) < 0.2)
        with warnings.catch_warnings(action='error'):
            found = corrected_rate(
                np.concatenate(v).tolist(), y.tolist() + [None] * 400, 'random', from_pool=False
            )
        held += found.rate.low <= truth <= found.rate.high
    assert held >= 182 and found.humans is None and found.pool.sum() == 400


@pytest.mark.parametrize('drawn', ['verdict', 'label'])
def test_labelled_rows_without_those_they_were_chosen_from(drawn):
    v, y = [True] * 50 + [False] * 50, [True] * 40 + [False] * 10 + [True] * 10 + [False] * 40
    with pytest.warns(UserWarning, match='every row has a label'):
        assert corrected_rate(v, y, drawn).rate.value == pytest.approx(0.5)
    with warnings.catch_warnings(action='error'):
        assert corrected_rate(v + [True] * 300, y + [None] * 300, drawn).rate.value > 0.6
        corrected_rate(v, y, 'random')
        if drawn == 'verdict':
            corrected_rate(v, y, drawn, target='pool')
    if drawn == 'verdict':
        with pytest.warns(UserWarning, match='every row has a label'):
            calibrate(v, y, drawn)


@pytest.mark.parametrize('n, N, p', [(50, 5000, 0.001), (50, 500, 0.01), (100, 1000, 0.003)])
def test_rare_kinds_raise_no_false_alarm(n, N, p):
    "A verdict that is missing now and then; chi-square alone has p below .01 in 2% to 5% of the cases"
    r = np.random.default_rng(10)
    rows = [r.multinomial(k, [0.4 * (1 - p), 0.6 * (1 - p), p], 1000) for k in (n, N)]
    ps = np.array([same_shares(*pair) for pair in zip(*rows)])
    assert (ps < 0.01).mean() <= 0.017 and (
        ps < 1e-3
    ).mean() <= 0.004  # 99% of the cases, if the level is kept
    assert same_shares([n - 5, 0, 5], [N, 0, 0]) < 1e-3  # and what is there is found


def test_what_a_judge_gives_is_taken_as_it_is():
    v, y = ['pass', None, 'fail', 'pass'] * 5, ['pass', 'pass', 'fail', None] * 5
    verdicts = [Verdict(x, None if x is None else float(x == 'pass')) for x in v]
    assert repr(calibrate(verdicts, y, 'random')) == repr(calibrate(v, y, 'random'))
    assert repr(corrected_rate(verdicts, y, 'random')) == repr(corrected_rate(v, y, 'random'))


def test_rows_are_paired_by_place():
    "A shuffled frame keeps its old index, by which nothing is looked up"
    r = np.random.default_rng(12)
    frame = pd.DataFrame(dict(v=r.random(60) < 0.5, y=r.random(60) < 0.5, s=r.choice(['a', 'b'], 60))).sample(
        frac=1, random_state=0
    )
    plain = calibrate_slices(frame.v.tolist(), frame.y.tolist(), frame.s.tolist(), 'random')
    assert repr(calibrate_slices(frame.v, frame.y, frame.s, 'random')) == repr(plain)


def test_slices_by_verdict_say_which_one_lacks_labels_and_may_be_labelled_whole():
    v, y, s = ['pass', 'fail'] * 6, ['pass', 'fail'] * 2 + ['pass'] + [None] * 7, ['a'] * 4 + ['b'] * 8
    with pytest.raises(ValueError, match="slice 'b': no label on any item with verdict fail"):
        calibrate_slices(v, y, s, 'verdict')
    y[5] = 'fail'
    with warnings.catch_warnings(action='error'):
        assert calibrate_slices(v, y, s, 'verdict')['a'].agreement.value == 1
    with pytest.warns(UserWarning, match='every row has a label'):
        calibrate_slices(v[:6], y[:6], s[:6], 'verdict')


@pytest.mark.parametrize('p', [0.01, 0.02, 0.1, 0.9, 0.98])
@pytest.mark.parametrize('n, N', [(30, 300), (50, 1000), (200, 2000)])
def test_balanced_labels_without_a_judges_error(p, n, N):
    "No false alarm or no miss among a few labels, and passes or fails that are rarer than half a one of them"
    r = np.random.default_rng(13)
    for tpr, fpr in ((1.0, 0.0), (1.0, 0.13), (0.87, 0.0)):
        t, f, judged = (
            r.binomial(n // 2, tpr, 1000),
            r.binomial(n // 2, fpr, 1000),
            r.binomial(N, p * tpr + (1 - p) * fpr, 1000),
        )
        _, low, high = inverted_interval(t, n // 2, f, n // 2, judged, N)
        assert np.mean((low <= p) & (p <= high)) > 0.92, (tpr, fpr)


@pytest.mark.parametrize('p', [0.005, 0.02, 0.1, 0.9, 0.99])
@pytest.mark.parametrize('n, N', [(50, 1000), (100, 350), (200, 2000)])
def test_a_stratum_without_a_pass_may_hold_none(p, n, N):
    "Good judges and rare passes or fails, half of the labels in each verdict or all at random; pseudo-items alone hold 58% and more"
    r = np.random.default_rng(14)
    for tpr, fpr in ((1.0, 0.0), (0.95, 0.01), (0.9, 0.05)):
        q = p * tpr + (1 - p) * fpr
        judged = r.binomial(N, q, 1500)
        pool = np.stack([N - judged, judged], 1)
        labelled = np.minimum(n // 2, pool)
        by_verdict = r.binomial(labelled, [p * (1 - tpr) / (1 - q), p * tpr / q]), labelled, pool
        mine = r.multinomial(n, [(1 - p) * (1 - fpr), (1 - p) * fpr, p * (1 - tpr), p * tpr], 1500).reshape(
            -1, 2, 2
        )
        for counts in (by_verdict, (mine[:, 1], mine.sum(1), mine.sum(1) + pool)):
            _, low, high = rate_interval(*counts)
            assert np.mean((low <= p) & (p <= high)) > 0.93, (tpr, fpr)
