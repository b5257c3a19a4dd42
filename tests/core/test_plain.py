"Plain values at the doors of core: hash, generator, log and record"

import datetime
import enum
import fractions
import json
import math
import pathlib
import random
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from plain_values import plain_values

from rlops_lab.core import Run, Trajectory, digest, rng, seed_everything
from rlops_lab.core.files import append_jsonl, plain, read_jsonl


def recorded(task=None, **kpis):
    return Trajectory(task or {}, [], [1, 2], [0, 1], [0.0, -0.5], [-1, 0], [1.0], kpis=kpis)


class Colour(enum.Enum):
    red = np.int64(1)


@dataclass
class Price:
    amount: Decimal
    on: datetime.date


Pair = namedtuple('Pair', 'a b')
TORCH = pytest.importorskip('torch')

ODD = [
    (np.float32(1), 1.0),
    (np.float64(0.1), 0.1),
    (np.int64(3), 3),
    (np.uint8(3), 3),
    (np.bool_(True), True),
    (np.str_('a'), 'a'),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(2.5), 2.5),
    (np.array(['2026-11-02'], 'datetime64[ns]'), ['2026-11-02T00:00:00.000000000']),
    (np.datetime64('2026-11-02'), '2026-11-02'),
    (TORCH.tensor(3), 3),
    (TORCH.tensor([0.5, 1.0]), [0.5, 1.0]),
    (Decimal('1.5'), 1.5),
    (Decimal('7'), 7.0),
    (Decimal('0.1'), 0.1),
    (Decimal('12345678901234567890.25'), '12345678901234567890.25'),
    (fractions.Fraction(1, 3), '1/3'),
    (datetime.date(2026, 11, 2), '2026-11-02'),
    (datetime.datetime(2026, 11, 2, 5, tzinfo=datetime.UTC), '2026-11-02 05:00:00+00:00'),
    (datetime.timedelta(days=1), '1 day, 0:00:00'),
    (pathlib.PurePosixPath('a/b'), 'a/b'),
    (uuid.UUID(int=1), '00000000-0000-0000-0000-000000000001'),
    (Colour.red, 1),
    (Price(Decimal('2.50'), datetime.date(2026, 1, 2)), dict(amount=2.5, on='2026-01-02')),
    (Pair(1, np.int8(2)), [1, 2]),
    (OrderedDict(b=np.int8(1)), dict(b=1)),
    (frozenset({'b', 'a'}), ['a', 'b']),
    ({(1, 2): 'a', np.int64(3): 'b'}, {'[1, 2]': 'a', '3': 'b'}),
    ({np.int64(3): 'b', 1.5: 'a'}, {3: 'b', 1.5: 'a'}),
]


@pytest.mark.parametrize('value, want', ODD, ids=[type(value).__name__ for value, _ in ODD])
def test_odd_values_are_plain_at_every_door(value, want, tmp_path):
    found = plain(value)
    assert found == want and type(found) is type(want)
    assert digest(value) == digest(want)
    assert rng(0, value).random() == rng(0, want).random()
    t = recorded(dict(x=value), k=value)
    run = Run(tmp_path / 'run')
    run.log('trajectories', [t.to_dict()])
    run.log('raw', [dict(x=value)])
    run.save(last=value)
    written = json.loads(json.dumps(want))
    assert run.read('raw') == [dict(x=written)] and Run(tmp_path / 'run', resume=True).state['last'] == written
    back = Trajectory.from_dict(run.read('trajectories')[0])
    assert back.task['x'] == back.kpis['k'] == written


def test_not_a_number_stays_one():
    assert math.isnan(plain(np.float32('nan'))) and math.isnan(plain(Decimal('nan')))


@given(plain_values)
def test_whatever_comes_is_logged_and_hashed(tmp_path_factory, value):
    log = tmp_path_factory.mktemp('log') / 'x.jsonl'
    append_jsonl(log, [dict(x=value)])
    assert len(read_jsonl(log)) == 1 and digest([value]) == digest([value])


def test_hashes_and_draws_of_plain_data_are_those_of_before():
    data = dict(b=[1, 2.5, None, True, 'ü', (3,)], a={})
    assert digest(data, 1) == 'c3e5c111b36d'
    assert rng(3, 'rollout', 1).integers(2**31) == 1247090780


def test_an_object_without_a_text_of_its_own_has_a_hash_that_lasts():
    class Thing:
        pass

    assert digest(Thing()) == digest(Thing()) and digest(recorded) == digest(recorded)
    assert ' at 0x' not in plain(recorded)


def test_seeds_out_of_arrays_seed_everything():
    seed_everything(7)
    want = random.random(), np.random.rand(), TORCH.rand(1).item()
    seed_everything(np.array([7])[0])
    assert (random.random(), np.random.rand(), TORCH.rand(1).item()) == want
