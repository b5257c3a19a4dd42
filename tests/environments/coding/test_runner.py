"The runner: plain values cross its line unchanged."

import json

from hypothesis import given, settings
from plain_values import plain_values

from rlops_lab.environments.coding.limits import is_plain
from rlops_lab.environments.coding.runner import pack, unpack


@settings(deadline=None)
@given(plain_values)
def test_plain_values_cross_unchanged(value):
    there = unpack(json.loads(json.dumps(pack(value))))
    assert there == value and type(there) is type(value) and is_plain(value)
