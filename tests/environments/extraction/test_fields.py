"Fields: whatever a model writes gets a score, and numbers and dates are read in every form"

import datetime
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.environments.extraction.fields import (
    SCORES,
    date_of,
    entries_of,
    f1,
    field_score,
    is_null,
    money_of,
    number_of,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=6,
)
TRUTHS = dict(
    text='Blue Lamp',
    number=4.3,
    money=(12.5, 'EUR'),
    date=datetime.date(2026, 5, 3),
    list=['red', 'blue'],
    yesno=False,
)


@given(st.sampled_from(list(SCORES)), anything, st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_value_gets_a_score(kind, value, missing):
    score, case = field_score(kind, value, None if missing else TRUTHS[kind])
    assert (
        0 <= score <= 1
        and (score == 1) == (case == 'right')
        and case in ('right', 'part', 'wrong', 'missed', 'invented')
    )


@given(st.floats(0.01, 9_999_999).map(lambda x: round(x, 2)))
def test_numbers_survive_every_punctuation(x):
    english = f'{x:,.2f}'
    continental = english.translate(str.maketrans(',.', '.,'))
    plain = str(x) if x < 1e6 and len(str(x).split('.')[1]) < 3 else english
    for text in (english, continental, f'${english}', f'{continental} EUR', plain):
        assert math.isclose(number_of(text), x), text
    assert money_of(f'{english} USD') == (number_of(english), 'USD')


@given(st.dates(datetime.date(1950, 1, 1), datetime.date(2090, 1, 1)))
def test_dates_in_every_form(d):
    for text in (
        d.isoformat(),
        f'{d.day} {d:%B %Y}',
        f'{d:%B} {d.day}, {d.year}',
        f'{d:%d.%m.%Y}',
        f'{d.day} {d:%b} {d.year}',
        f'on {d:%A}, {d:%B} {d.day}, {d.year}',
    ):
        assert date_of(text) == d, text


@pytest.mark.parametrize(
    'found, true, score',
    [
        ([], [], 1),
        ([], ['a'], 0),
        (['a', 'a'], ['a'], 1),
        (['a', 'b'], ['a', 'c'], 0.5),
        (['a', 'b', 'c'], ['a'], 0.5),
    ],
)
def test_f1(found, true, score):
    assert f1(found, true) == score


@pytest.mark.parametrize('value', [None, '', 'null', 'N/A', 'None', [], {}, ' not stated '])
def test_ways_to_say_nothing(value):
    assert is_null(value)


@pytest.mark.parametrize('value', [0, False, '0', 'no', [None]])
def test_zero_and_false_are_something(value):
    assert not is_null(value)


def test_entries():
    assert entries_of('a, b and c/d; e') == list('abcde') and entries_of(['A', None]) == ['a', 'none']
