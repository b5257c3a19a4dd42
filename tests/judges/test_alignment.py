"No item shows itself, no group stands on both sides, and luck is told from gain."

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rlops_lab.judges.alignment import Examples, Wording, choose, split

word = st.sampled_from(['kettle', 'lamp', 'refund', 'late', 'Lamp', ' lamp '])
item = st.tuples(
    st.lists(word, min_size=1, max_size=3).map(' '.join), st.sampled_from(['pass', 'fail']), st.integers(0, 3)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(item, min_size=2, max_size=25), st.integers(1, 6), st.booleans())
def test_never_itself_nor_a_copy_nor_its_group(items, k, balance):
    rows = [dict(id=i, text=t, label=y, talk=g) for i, (t, y, g) in enumerate(items)]
    plain = lambda t: ' '.join(t.lower().split())
    for grouped in (None, 'talk'):
        examples = Examples(rows, group=grouped)
        for row in rows[:5]:
            shown = examples.nearest(row, k, balance)
            assert len({r['id'] for r in shown}) == len(shown) <= k
            assert all(r['id'] != row['id'] and plain(r['text']) != plain(row['text']) for r in shown)
            if grouped:
                assert all(r['talk'] != row['talk'] for r in shown)


@settings(deadline=None, max_examples=60)
@given(st.lists(item, min_size=2, max_size=40), st.integers(0, 99))
def test_copies_and_groups_stay_on_one_side(items, seed):
    rows = [dict(id=i, text=t, label=y, talk=g) for i, (t, y, g) in enumerate(items)]
    for group, key in ((None, lambda r: ' '.join(r['text'].lower().split())), ('talk', lambda r: r['talk'])):
        sides = split(rows, group=group, seed=seed)
        for k in {key(r) for r in rows}:
            assert len({s for r, s in zip(rows, sides) if key(r) == k}) == 1


def test_chosen_by_choosing_rows_alone():
    "What held-out rows say changes the report and not the choice"
    y = [True, False] * 40
    choosing = np.arange(80) < 40
    good, bad = (
        [v if i < 40 else not v for i, v in enumerate(y)],
        [not v if i < 40 else v for i, v in enumerate(y)],
    )
    found = choose(dict(bad=bad, good=good), y, choosing)
    assert (
        found.name,
        found.promised.agreement.value,
        found.reported.agreement.value,
        found.before.agreement.value,
    ) == ('good', 1, 0, 1)
    assert found.p_value < 1e-9 and found.optimism == 1
    assert (
        choose(dict(a=y, b=y), y, choosing).name == 'a' and choose(dict(a=y, b=y), y, choosing).p_value == 1
    )


def test_a_candidate_that_answers_little_does_not_win():
    "Right on every tenth item and silent on the rest, or silent on all"
    y = [i % 3 > 0 for i in range(80)]
    plain = [not v if i % 5 == 0 else v for i, v in enumerate(y)]
    found = choose(
        dict(plain=plain, easy=[v if i % 10 == 0 else None for i, v in enumerate(y)], silent=[None] * 80),
        y,
        np.arange(80) < 40,
    )
    assert found.name == 'plain' and found.promised.kappa.value < 1


def test_pass_and_true_are_the_same():
    y = ['pass', 'fail'] * 20
    assert choose(dict(a=[x == 'pass' for x in y]), y, np.arange(40) < 20).p_value == 1


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
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
