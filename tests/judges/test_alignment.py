"No item shows itself, no group stands on both sides, and luck is told from gain."

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rlops_lab.judges.alignment import Examples, Wording, choose, split

word = st.sampled_from(['kettle', 'lamp', 'refund', 'late', 'Lamp', ' lamp '])
texts = st.lists(word, min_size=1, max_size=3).map(' '.join)
items = st.tuples(texts, st.sampled_from(['pass', 'fail']), st.integers(0, 3))


def rows_of(items):
    return [dict(id=i, text=text, label=label, talk=talk) for i, (text, label, talk) in enumerate(items)]


def normalized(row):
    return ' '.join(row['text'].lower().split())


@settings(deadline=None, max_examples=60)
@given(st.lists(items, min_size=2, max_size=25), st.integers(1, 6), st.booleans())
def test_never_itself_nor_a_copy_nor_its_group(items, k, balance):
    rows = rows_of(items)
    for group in (None, 'talk'):
        examples = Examples(rows, group=group)
        for row in rows[:5]:
            shown = examples.nearest(row, k, balance)
            assert len({example['id'] for example in shown}) == len(shown) <= k
            assert all(example['id'] != row['id'] for example in shown)
            assert all(normalized(example) != normalized(row) for example in shown)
            if group:
                assert all(example['talk'] != row['talk'] for example in shown)


@settings(deadline=None, max_examples=60)
@given(st.lists(items, min_size=2, max_size=40), st.integers(0, 99))
def test_copies_and_groups_stay_on_one_side(items, seed):
    rows = rows_of(items)
    for group, key in ((None, normalized), ('talk', lambda row: row['talk'])):
        sides = split(rows, group=group, seed=seed)
        for unit in {key(row) for row in rows}:
            assert len({side for row, side in zip(rows, sides) if key(row) == unit}) == 1


def test_chosen_by_choosing_rows_alone():
    "Held-out rows change the report and not the choice"
    labels = [True, False] * 40
    choosing = np.arange(80) < 40
    good = [label if i < 40 else not label for i, label in enumerate(labels)]
    bad = [not label if i < 40 else label for i, label in enumerate(labels)]
    found = choose(dict(bad=bad, good=good), labels, choosing)
    assert found.name == 'good'
    assert found.promised.agreement.value == 1
    assert found.reported.agreement.value == 0
    assert found.before.agreement.value == 1
    assert found.p_value < 1e-9 and found.optimism == 1


def test_ties_go_to_the_first_candidate():
    labels = [True, False] * 40
    found = choose(dict(a=labels, b=labels), labels, np.arange(80) < 40)
    assert found.name == 'a' and found.p_value == 1


def test_a_candidate_that_answers_little_does_not_win():
    "Right on every tenth item and silent on the rest, or silent on all"
    labels = [i % 3 > 0 for i in range(80)]
    candidates = dict(
        plain=[not label if i % 5 == 0 else label for i, label in enumerate(labels)],
        easy=[label if i % 10 == 0 else None for i, label in enumerate(labels)],
        silent=[None] * 80,
    )
    found = choose(candidates, labels, np.arange(80) < 40)
    assert found.name == 'plain' and found.promised.kappa.value < 1


def test_p_is_that_of_a_fair_coin_on_the_rows_where_the_two_differ():
    "Exact two-sided McNemar: twice the lower tail of the binomial distribution, at most 1"
    from scipy.stats import binom

    random = np.random.default_rng(0)
    for _ in range(20):
        labels = random.random(60) < 0.6
        verdicts = {
            name: (labels == (random.random(60) < p)).tolist() for name, p in (('a', 0.6), ('b', 0.8))
        }
        held_out = np.arange(60) >= 20
        found = choose(verdicts, labels.tolist(), ~held_out)
        a, b = (np.array(verdicts[name]) == labels for name in ('a', found.name))
        won, lost = int((b & ~a & held_out).sum()), int((a & ~b & held_out).sum())
        expected = min(1.0, 2 * binom.cdf(min(won, lost), won + lost, 0.5))
        assert found.p_value == pytest.approx(expected, abs=1e-9)


def test_pass_and_true_are_the_same():
    labels = ['pass', 'fail'] * 20
    passed = [label == 'pass' for label in labels]
    assert choose(dict(a=passed), labels, np.arange(40) < 20).p_value == 1


@pytest.mark.parametrize(
    'call,message',
    [
        (lambda: split([dict(text='a', label='pass')], 1.0), 'share 1.0'),
        (lambda: choose(dict(a=[True]), [True, False], [True, False]), 'has 1 verdicts for 2 labels'),
        (lambda: Examples([dict(id=1, text='a', label=float('nan'))]), 'no labelled rows'),
        (lambda: choose(dict(a=[True] * 2), [True, False], [False] * 2), 'all rows are on one side'),
        (lambda: Wording('a').reword(' A ', 'shorter'), 'says the same'),
        (lambda: Examples([dict(id=1, text='a', label='pass')], group='talk'), 'rows without talk'),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
