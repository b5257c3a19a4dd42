"Episodes of known actions: generators are restored, random arguments fit their types, scripts are repeatable."

import random
import typing

import numpy as np
import pytest

from rlops_lab.environments import probe_episodes
from rlops_lab.environments.probe_episodes import (
    first_difference,
    random_action,
    replay_episode,
    seeded_globals,
    write_script,
)

WORDS = 'order 4821 costs 12.50'.split()


class Shop:
    "A shop with many kinds of arguments."

    def reset(self, stock: int = 3, **_) -> str:
        self.stock = stock
        return f'{stock} left'

    def buy(
        self,
        count: int,
        price: float,
        names: list[str],
        notes: dict[str, int],
        size: typing.Literal['s', 'l'],
        gift: bool,
        card: str | None = None,
    ) -> str:
        """Buy.

        Args:
            count: How many.
            price: In dollars.
            names: On the label.
            notes: By page.
            size: Small or large.
            gift: Whether to wrap it.
            card: Text of a card.
        """
        self.stock -= 1
        return f'{self.stock} left'


def test_global_generators_are_restored_even_after_an_exception():
    states = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(KeyError), seeded_globals(3):
        random.random()
        np.random.rand()
        raise KeyError
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_numpy_draws_the_same_inside_the_same_seed():
    with seeded_globals(3):
        first = np.random.rand(3)
    with seeded_globals(3):
        assert (np.random.rand(3) == first).all()


def test_random_arguments_have_the_types_of_their_hints():
    for seed in range(50):
        name, arguments = random_action(Shop(), random.Random(seed), WORDS)
        assert name == 'buy' and set(arguments) >= {'count', 'price', 'names', 'notes', 'size', 'gift'}
        kinds = dict(count=int, price=float, names=list, notes=dict, gift=bool)
        assert all(isinstance(arguments[k], kind) for k, kind in kinds.items())
        assert all(isinstance(page, int) for page in arguments['notes'].values())
        assert arguments['size'] in ('s', 'l') and arguments.get('card') is None or arguments['card']


def test_numbers_are_those_that_occurred():
    assert probe_episodes._numbers_in(['4821', 'a1b22c333', '9' * 16]) == [4821.0, 1.0, 22.0]
    assert probe_episodes._numbers_in(['none']) == [1.0]


def test_the_same_seed_writes_the_same_script():
    scripts = [write_script(Shop, dict(stock=9), None, 0.0, 6, seed=4) for _ in range(2)]
    assert scripts[0] == scripts[1] and len(scripts[0].actions) == 6
    other = write_script(Shop, dict(stock=9), None, 0.0, 6, seed=5)
    assert other.actions != scripts[0].actions


def test_an_oracle_that_raises_ends_its_own_script_only():
    def oracle(env):
        raise LookupError('no idea')

    alone = write_script(Shop, dict(stock=9), oracle, 1.0, 6, seed=0)
    mixed = write_script(Shop, dict(stock=9), oracle, 0.6, 6, seed=0)
    assert (alone.actions, alone.oracle_error) == ([], 'LookupError: no idea')
    assert len(mixed.actions) == 6 and mixed.oracle_error == ''


def test_equal_episodes_have_no_first_difference():
    one = replay_episode(Shop(), dict(stock=2), [])
    assert first_difference(one, one) is None
    assert 'text after `reset`' in first_difference(one, replay_episode(Shop(), dict(stock=5), []))
