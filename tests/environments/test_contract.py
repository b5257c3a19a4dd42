"The contract on odd environments: properties that must not be evaluated, calls in a running loop, odd hints."

import asyncio
import inspect
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial, partialmethod, wraps

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments import contract
from rlops_lab.environments.contract import (
    attribute,
    call_text,
    call_tool,
    close_environment,
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


# ------------------------------------------------------------------ which methods are tools, as in TRL


def logged(function):
    @wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Desk(Door):
    "A door in many styles."

    @staticmethod
    def add(a: int, b: int) -> int:
        """Add.

        Args:
            a: One.
            b: The other.
        """
        return a + b

    @logged
    def knock(self, times: int) -> str:
        """Knock.

        Args:
            times: How often.
        """
        return 'knock ' * times

    @classmethod
    def painted(cls, colour):
        return cls()

    def close(self):
        raise AssertionError('closed by the model')


def test_static_and_wrapped_methods_are_tools_and_class_methods_are_not():
    assert list(tools_of(Desk())) == ['add', 'knock', 'listen', 'try_code']
    validate_environment(Desk, ['code'])
    assert call_tool(Desk(), 'add', dict(a='1', b=2)) == ('3', False)
    assert call_tool(Desk(), 'knock', dict(times='2')) == ('knock knock ', False)
    for name in ('painted', 'close'):
        assert 'no tool' in call_tool(Desk(), name, {})[0]


def test_tools_are_those_that_trl_takes_but_for_close():
    names = [name for name, _ in inspect.getmembers(Desk, inspect.isfunction) if not name.startswith('_')]
    assert set(names) - {'reset', 'get_reward', 'close'} == set(tools_of(Desk()))


def odd(**members):
    return type('Odd', (Door,), members)


def numbers(self):
    "Count."
    yield 1


async def later_numbers(self):
    "Count."
    yield 1


def slash(self, n: int, /):
    """Slash.

    Args:
        n: Number.
    """


def dated(self, day: date):
    """Date.

    Args:
        day: Which.
    """


def shut(self, door: str):
    """Shut a door.

    Args:
        door: Which.
    """


@pytest.mark.parametrize(
    'member, told',
    [
        (dict(look=lru_cache(numbers)), 'Odd.look is a lru_cache_wrapper'),
        (dict(look=partialmethod(slash, 1)), 'Odd.look is a partialmethod'),
        (dict(look=numbers), "tool 'look' yields"),
        (dict(look=later_numbers), "tool 'look' yields"),
        (dict(look=slash), 'remove the `/`'),
        (dict(look=dated), 'take a date as str'),
        (dict(close=shut), r"Odd.close takes \['door'\]"),
    ],
)
def test_methods_that_a_model_could_not_call_are_refused_by_name(member, told):
    with pytest.raises(ValueError, match=told):
        validate_environment(odd(**member), ['code'])


# ------------------------------------------------------------------ attributes


@pytest.mark.parametrize('name', ['done', 'user', 'kpis', 'turn_reward', 'truncated'])
def test_a_tool_of_that_name_is_no_attribute(name):
    assert attribute(odd(**{name: numbers})(), name, 'none') == 'none'
    assert attribute(odd(**{name: 3})(), name, 'none') == 3
    assert attribute(object(), name, 'none') == 'none'


def test_an_attribute_that_raises_is_not_missing():
    def broken(self):
        return self.no_such_thing

    with pytest.raises(AttributeError, match='no_such_thing'):
        attribute(odd(done=property(broken))(), 'done', False)


def test_attributes_behind_a_proxy_are_found():
    class Proxy(Door):
        def __getattr__(self, name):
            if name == 'kpis':
                return dict(n=1.0)
            raise AttributeError(name)

    assert attribute(Proxy(), 'kpis') == dict(n=1.0) and attribute(Proxy(), 'done', False) is False


# ------------------------------------------------------------------ what tools return and raise


@pytest.mark.parametrize(
    'result, text',
    [
        ('', ''),
        (None, ''),
        (True, 'True'),
        (2.5, '2.5'),
        (np.float64(2.5), '2.5'),
        ([], '[]'),
        (('a', None), '["a", null]'),
        ({'é': date(2026, 1, 2), 'n': np.arange(2)}, '{"é": "2026-01-02", "n": [0, 1]}'),
        ({'b', 'a'}, '["a", "b"]'),
        ([dict(type='text', text='a'), dict(type='text', text='b')], 'ab'),
        (Decimal('1.50'), '1.50'),
        ('a\ud800', 'a?'),
    ],
)
def test_results_become_text(result, text):
    assert call_tool(odd(look=lambda self: result)(), 'look', {}) == (text, False)


@pytest.mark.parametrize('result', [b'x', object(), [b'x'], lambda: 1, iter('a'), dict(a=object()), {(1, 2): 3}])
def test_results_without_a_text_are_failed_calls(result):
    text, failed = call_tool(odd(look=lambda self: result)(), 'look', {})
    assert failed and text.startswith('look failed: TypeError')


def test_a_long_answer_is_cut_and_says_so():
    text, failed = call_tool(odd(look=lambda self: 'x' * 10**6)(), 'look', {})
    assert not failed and len(text) < 201_000 and text.endswith('[cut here: 1000000 characters in all]')


class Mute(Exception):
    def __str__(self):
        raise RuntimeError('no words')


ERRORS = SystemExit(2), asyncio.CancelledError(), GeneratorExit(), KeyError('\ud800'), MemoryError(), Mute()


@pytest.mark.parametrize('error', ERRORS)
def test_whatever_a_tool_raises_is_a_failed_call(error):
    def look(self):
        raise error

    async def later(self):
        raise error

    for tool in (look, later):
        text, failed = call_tool(odd(look=tool)(), 'look', {})
        assert failed and type(error).__name__ in text
        text.encode()


def test_ctrl_c_in_a_tool_is_no_failed_call():
    def look(self):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_tool(odd(look=look)(), 'look', {})


def test_close_may_be_async_missing_or_broken():
    closed = []

    async def close(self):
        closed.append(self)

    def broken(self):
        raise SystemExit(1)

    for one in (odd(close=close)(), odd(), Door()):
        close_environment(one)
    assert len(closed) == 1
    with pytest.warns(UserWarning, match='Odd.close failed: SystemExit'):
        close_environment(odd(close=broken)())


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_in_a_call_is_the_number_that_was_meant(number):
    written = float(call_text('put', dict(amount=number)).removeprefix('put(amount=').removesuffix(')'))
    assert written == pytest.approx(number, rel=1e-11, abs=1e-11)
