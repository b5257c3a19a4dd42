"Arguments as their schema says: what is converted, what is refused, and that nothing is lost on the way"

from enum import Enum, IntEnum
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import get_json_schema

from rlops_lab.environments.arguments import as_number, as_type, bind_arguments


class Size(Enum):
    SMALL = 's'
    LARGE = 'l'


class Deck(IntEnum):
    LOWER = 1
    UPPER = 2


@pytest.mark.parametrize(
    'written, hint, expected',
    [
        ('s', Size, Size.SMALL),
        ('2', Deck, Deck.UPPER),
        ('l', Size | None, Size.LARGE),
        (None, Size | None, None),
        (['s', 'l'], list[Size], [Size.SMALL, Size.LARGE]),
        ('b', Literal['a', 'b'], 'b'),
        (2, Literal['1', '2'], '2'),
        (7, float | None, 7.0),
        ('7', Optional[float], 7.0),  # noqa: UP045
        ('null', Optional[float], None),  # noqa: UP045
        ('null', str | None, 'null'),
        ('7', str | int, '7'),
        (7, str | None, '7'),
        ('$12,000', Union[int, float], 12000),  # noqa: UP007
        ([1, '2'], tuple[int, int], (1, 2)),
        ((1, 2), list[int], [1, 2]),
        ('[["1"]]', list[list[int]], [[1]]),
        ('{"a": 1}', dict[str, float], {'a': 1.0}),
        ('False', bool, False),
        ({'a': [1]}, dict, {'a': [1]}),
        ([1], Any, [1]),
        ('1e3', float, 1000.0),
        (-3.0, int, -3),
    ],
)
def test_what_the_schema_allows_arrives_in_its_type(written, hint, expected):
    found = as_type(written, hint)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    'written, hint',
    [
        ('S', Size),
        ('SMALL', Size),
        (3, Deck),
        (True, Literal[1]),
        ('1,5', float),
        ('1,50', float),
        ('12,34,56', int),
        ('1.234,5', float),
        ('nan', float),
        (float('inf'), float | None),
        (10**400, float),
        (10**400, int),
        ('1e999', float),
        ('9' * 5000, int),
        (2.5, int),
        (True, float),
        (False, int),
        (1, bool),
        ('yes', bool),
        ([1, 2, 3], tuple[int, int]),
        ([1, None], list[int]),
        ('12', list[int]),
        ({'a': 'x'}, dict[str, float]),
        ('[' * 100_000, list[int]),
        (None, str),
    ],
)
def test_what_would_be_guessed_or_lost_is_refused(written, hint):
    with pytest.raises(ValueError):
        as_type(written, hint)


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_keep_every_digit(number):
    assert as_number(str(number), int) == as_number(number, int) == as_number(f'{number:,}', int) == number


@given(st.text('0123456789,.$ -', max_size=9))
def test_a_comma_never_changes_the_value_unless_it_groups_thousands(text):
    try:
        number = as_number(text, float)
    except ValueError:
        return
    groups = text.strip().lstrip('$').split('.')[0].lstrip('-').split(',')
    assert len(groups) == 1 or all(len(group) == 3 for group in groups[1:])
    assert number == float(text.strip().lstrip('$').replace(',', ''))


def seat(row: int, size: Size, price: float | None, tags: list[str], window: bool = False, note: str = None):
    """Take a seat.

    Args:
        row: Which.
        size: How large.
        price: At most.
        tags: Words.
        window: By the window?
        note: Remark.
    """


def test_values_of_the_schemas_own_enumerations_are_taken():
    sizes = get_json_schema(seat)['function']['parameters']['properties']['size']['enum']
    for size in sizes:
        assert bind_arguments(seat, dict(row=1, size=size, price=1, tags=[]))['size'] is Size(size)


def test_a_refusal_names_the_argument_its_type_and_a_short_piece_of_the_value():
    good = dict(row=1, size='s', price=None, tags=[])
    assert bind_arguments(seat, good | dict(note=None, window='true'))['window'] is True
    for wrong, told in (
        (dict(row='x' * 10**6), 'row must be int'),
        (dict(size='m'), "size must be one of 's', 'l', not 'm'"),
        (dict(price='1,5'), 'price must be float | None'),
        (dict(tags=[None]), r'tags must be list\[str\]'),
        (dict(row=10**5000), 'a number of thousands of digits'),
        (dict(window=None), 'window must be bool'),
    ):
        with pytest.raises(ValueError, match=told.replace('|', r'\|')) as caught:
            bind_arguments(seat, good | wrong)
        assert len(str(caught.value)) < 300
