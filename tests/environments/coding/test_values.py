"Values: they cross a line unchanged, are compared as Python would, and cost this process no more than their line."

import json
import time

import pytest
from hypothesis import given, settings
from plain_values import plain_values

from rlops_lab.environments.coding.values import equals, pack, parse_line, readable, unpack


@settings(deadline=None)
@given(plain_values)
def test_plain_values_cross_unchanged(value):
    there = unpack(parse_line(json.dumps(pack(value))))
    assert there == value and type(there) is type(value)
    repr(readable(pack(value)))


@settings(deadline=None)
@given(plain_values, plain_values)
def test_packed_values_are_compared_as_python_compares_them(came, expected):
    assert equals(pack(came), came)
    assert equals(pack(came), expected) == (came == expected)


@pytest.mark.parametrize('kind', ['d', 's', 'z', 'C'])
def test_colliding_numbers_are_not_built_here(kind):
    "As a dict, these take minutes"
    numbers = [['i', hex(i * (2**61 - 1))] for i in range(50_000)]
    packed = [kind, [[number, 0] for number in numbers] if kind in 'dC' else numbers]
    begin = time.perf_counter()
    assert not equals(packed, {1: 0}) and not equals(packed, {1})
    assert not equals(['l', [packed]], [{1: 0}]) and not equals(['d', [[['z', numbers], 1]]], {2: 1})
    readable(packed)
    assert time.perf_counter() - begin < 5


def test_one_key_sent_twice_is_not_two_keys():
    assert not equals(['d', [['a', ['i', '0x1']], ['a', ['i', '0x1']]]], {'a': 1, 'b': 1})
    assert not equals(['s', ['a', 'a']], {'a', 'b'})
