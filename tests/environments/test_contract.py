"The contract on odd environments: properties that must not be evaluated, calls in a running loop, odd hints."

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments import contract
from rlops_lab.environments.contract import (
    call_tool,
    fork,
    make_environment,
    tools_of,
    validate_environment,
    validate_rows,
)


class Door:
    "A door with a lock."

    def reset(self, code: str = '1', **_) -> str:
        self.code = code
        self.open = False
        return 'A door.'

    def try_code(self, code: str) -> str:
        """Try a code.

        Args:
            code: Digits.
        """
        self.open = code == self.code
        return 'open' if self.open else 'shut'

    async def listen(self) -> str:
        "Listen at the door."
        await asyncio.sleep(0)
        return 'steps'

    @property
    def user(self):
        raise AssertionError('a property was evaluated')


def test_tools_are_listed_without_evaluating_a_property():
    assert list(tools_of(Door())) == ['listen', 'try_code']


def test_an_async_tool_answers_inside_a_running_loop():
    async def inside():
        return call_tool(Door(), 'listen', {})

    assert asyncio.run(inside()) == ('steps', False)


words = st.text(max_size=6)
values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | words | st.lists(words)


@given(
    name=st.sampled_from(['try_code', 'listen', 'reset', '_x', 'user', '']) | words,
    arguments=st.dictionaries(words, values),
)
def test_a_call_never_raises_whatever_a_model_writes(name, arguments):
    door = Door()
    door.reset()
    text, failed = call_tool(door, name, arguments)
    assert isinstance(text, str) and isinstance(failed, bool)


def test_arguments_that_are_no_dict_are_told_so():
    assert call_tool(Door(), 'try_code', ['1']) == ('try_code: arguments must be written name=value', True)


def test_bound_arguments_make_an_environment():
    class Named(Door):
        def __init__(self, name: str):
            self.name = name

    assert make_environment(partial(Named, 'front')).name == 'front'
    with pytest.raises(ValueError, match=r"can't be made without \['name'\]"):
        validate_environment(Named)


def test_rows_with_the_same_columns_are_checked_once(monkeypatch):
    checked = []
    monkeypatch.setattr(contract, 'validate_environment', lambda factory, columns: checked.append(columns))
    validate_rows(Door, [dict(code='1'), dict(code='2'), dict(code='3', hint='odd')])
    assert checked == [['code'], ['code', 'hint']]


def test_a_fork_and_its_original_go_their_own_ways():
    door = Door()
    door.reset('7')
    other = fork(door)
    door.try_code('7')
    assert door.open and not other.open
