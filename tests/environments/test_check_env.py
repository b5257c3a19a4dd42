"`check_environment` on environments with one planted fault each, and on those that have none."

import copy
import datetime
import json
import random
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from rlops_lab.environments.check_env import check_environment
from rlops_lab.environments.contract import validate_environment
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle_step, scenarios


class Lift:
    "A lift: bring it to a floor, then open the door. Nothing is wrong with it."

    def reset(self, start: int, goal: int, **_) -> str:
        self.floor, self.goal, self.done, self.paid, self.stops = start, goal, False, 0.0, []
        return f'You are at floor {start} and want to {goal}.'

    def move(self, floors: int) -> str:
        """Go up or down.

        Args:
            floors: How many, negative for down.
        """
        return self._turn(lambda: self._move(floors))

    def open_door(self) -> str:
        "Open the door and end the ride."
        return self._turn(self._open)

    def _turn(self, what):
        if self.done:
            self.paid = 0.0
            return 'The ride is over.'
        before = self.get_reward()
        text = what()
        self.paid = self.get_reward() - before
        return text

    def _move(self, floors):
        self.floor += max(-9, min(9, floors))
        self.stops.append(self.floor)
        return f'Floor {self.floor}.'

    def _open(self):
        self.done = True
        return 'The door opens.'

    def get_reward(self) -> float:
        return float(self.done and self.floor == self.goal)

    @property
    def turn_reward(self):
        return self.paid

    @property
    def kpis(self):
        return dict(stops=float(len(self.stops)))


def lift_oracle(env):
    return ('open_door', {}) if env.floor == env.goal else ('move', dict(floors=env.goal - env.floor))


ROWS = [dict(start=0, goal=4), dict(start=7, goal=2), dict(start=3, goal=3)]
COUNT, SEEN = 0, []


class NoDocstring(Lift):
    def stop(self):
        return 'Stopped.'


class NoTypeHint(Lift):
    def ring(self, how):
        "Ring.\n\nArgs:\n    how: Loudly or not."
        return 'Ring.'


class ArgumentNotDescribed(Lift):
    def ring(self, how: str):
        "Ring."
        return 'Ring.'


class AnyArguments(Lift):
    def ring(self, **how: str):
        "Ring.\n\nArgs:\n    how: Loudly or not."
        return 'Ring.'


class NoReset:
    pass


class ColumnMissing(Lift):
    def reset(self, start: int, goal: int, weight: int, **_) -> str:
        return super().reset(start, goal)


class KpisMethod(Lift):
    def kpis(self):
        return dict(stops=1.0)


class DoneMethod(Lift):
    def reset(self, **row):
        text = super().reset(**row)
        del self.__dict__['done']
        return text

    def done(self):
        return False

    def _turn(self, what):
        return what()

    def _open(self):
        return 'The door opens.'

    def get_reward(self):
        return 0.0


class GlobalRandomStart(Lift):
    def reset(self, start: int, goal: int, **_):
        return super().reset(start + random.randrange(2), goal)


class OwnUnseededGenerator(Lift):
    def reset(self, **row):
        self.r = random.Random()
        return super().reset(**row)

    def _move(self, floors):
        return super()._move(floors + self.r.randrange(3))


class RandomOnlyInATool(Lift):
    def _open(self):
        text = super()._open()
        return text + random.choice(['', ' Quickly.'])


class Clock(Lift):
    def _move(self, floors):
        return super()._move(floors) + f' It is {time.perf_counter_ns()}.'


class ClassList(Lift):
    log = []

    def _move(self, floors):
        self.log.append(floors)
        return super()._move(floors) + f' Move {len(self.log)}.'


class ModuleCounter(Lift):
    def reset(self, **row):
        global COUNT
        COUNT += 1
        return super().reset(**row) + f' Ride {COUNT}.'


class ModuleList(Lift):
    def _move(self, floors):
        SEEN.append(floors)
        return super()._move(floors) + f' Move {len(SEEN)}.'


class NotReset(Lift):
    rides = 0

    def reset(self, **row):
        self.rides = self.rides + 1
        return super().reset(**row) + f' Ride {self.rides}.'


class StopsNotReset(Lift):
    def reset(self, **row):
        kept = getattr(self, 'stops', [])
        text = super().reset(**row)
        self.stops = kept
        return text


class ResetOnTheClass(Lift):
    "Right one after the other, wrong side by side."

    moves = []

    def reset(self, **row):
        type(self).moves = []
        return super().reset(**row)

    def _move(self, floors):
        self.moves.append(floors)
        return super()._move(floors) + f' Move {len(self.moves)}.'


class NotCopyable(Lift):
    def reset(self, **row):
        self.lock = threading.Lock()
        return super().reset(**row)


class SharesWithItsCopy(Lift):
    def __deepcopy__(self, memo):
        new = copy.copy(self)
        return new


class CopyForgets(Lift):
    def __deepcopy__(self, memo):
        new = copy.copy(self)
        new.stops, new.floor = list(self.stops), 0
        return new


class RewardTooLarge(Lift):
    def get_reward(self):
        return 10.0 * super().get_reward()


class RewardTooLow(Lift):
    def get_reward(self):
        return super().get_reward() - 2.0 * (self.floor != self.goal)


class RewardNotANumber(Lift):
    def get_reward(self):
        return super().get_reward() + (float('nan') if self.stops and not self.done else 0)


class RewardIsText(Lift):
    def get_reward(self):
        return 'good' if self.done else 0.0


class RewardHasAnEffect(Lift):
    turn_reward = None

    def get_reward(self):
        self.asked = getattr(self, 'asked', 0) + 1
        return max(0.0, float(self.done) - 0.01 * self.asked)


class TurnsAddUpToMore(Lift):
    def _move(self, floors):
        return super()._move(floors)

    @property
    def turn_reward(self):
        return self.paid + 0.1


class RewardedAfterTheEnd(Lift):
    def _turn(self, what):
        if self.done:
            self.floor = self.goal
            self.paid = 0.0
            return 'The ride is over.'
        return super()._turn(what)


class GoesOnAfterTheEnd(Lift):
    turn_reward = None

    def _turn(self, what):
        self.done = False
        return what()


class RewardedForNothing(Lift):
    turn_reward = None

    def get_reward(self):
        return float(not self.stops or self.floor == self.goal)


class ConstantReward(Lift):
    turn_reward = None

    def get_reward(self):
        return float(self.done)

    def _move(self, floors):
        self.done = True
        return super()._move(floors)


class ToolRaises(Lift):
    def _move(self, floors):
        return super()._move([-1, 1, 2][floors])


class ToolReturnsADict(Lift):
    def open_door(self) -> dict:
        "Open the door."
        super().open_door()
        return dict(floor=self.floor)


class ToolReturnsNothing(Lift):
    def _move(self, floors):
        super()._move(floors)


class ResetReturnsAList(Lift):
    def reset(self, **row):
        return [super().reset(**row)]


class ChangesTheRow(Lift):
    def reset(self, start: int, goal: int, bag: list = (), **_):
        if bag:
            bag.pop()
        return super().reset(start, goal)


class ReadsNoRow(Lift):
    def reset(self, **_):
        return super().reset(0, 5)


class OverAtOnce(Lift):
    def reset(self, **row):
        text = super().reset(**row)
        self.done = self.floor == self.goal
        return text


class NeverOver(Lift):
    def _open(self):
        return 'The door opens.'


class Unsolvable(Lift):
    def _move(self, floors):
        return super()._move(floors * 2)


class NoFigureAtTimes(Lift):
    @property
    def kpis(self):
        return dict(stops=float(len(self.stops))) | (dict(arrived=1.0) if self.get_reward() else {})


class FigureIsText(Lift):
    @property
    def kpis(self):
        return dict(stops='many')


class FigureRaises(Lift):
    @property
    def kpis(self):
        return dict(mean=sum(self.stops) / len(self.stops))


BAGS = [dict(row, bag=['key', 'map', 'pen']) for row in ROWS]
#          probe, words of the message, what is given besides
BROKEN = {
    NoDocstring: ('contract', 'has no docstring'),
    NoTypeHint: ('contract', 'has no type hint'),
    ArgumentNotDescribed: ('contract', 'is not described'),
    AnyArguments: ('contract', 'which no schema can show'),
    NoReset: ('contract', 'has no `reset`'),
    ColumnMissing: ('contract', "needs ['weight']"),
    KpisMethod: ('contract', 'put @property above it'),
    DoneMethod: ('contract', 'put @property above it'),
    GlobalRandomStart: ('repeatable', 'unseeded randomness'),
    OwnUnseededGenerator: ('repeatable', 'a generator made without a seed'),
    RandomOnlyInATool: ('repeatable', 'unseeded randomness'),
    Clock: ('repeatable', 'the clock'),
    ClassList: ('repeatable', '`ClassList.log`'),
    ModuleCounter: ('repeatable', '`COUNT`'),
    ModuleList: ('repeatable', '`SEEN`'),
    NotReset: ('reuse', '`rides`'),
    StopsNotReset: ('reuse', '`stops`'),
    ResetOnTheClass: ('sharing', '`ResetOnTheClass.moves`'),
    NotCopyable: ('fork', '`lock`'),
    SharesWithItsCopy: ('fork', 'shares state with its original'),
    CopyForgets: ('fork', 'goes another way'),
    RewardTooLarge: ('reward', 'outside bounds'),
    RewardTooLow: ('reward', 'outside bounds'),
    RewardNotANumber: ('reward', 'return a finite number'),
    RewardIsText: ('reward', 'return a finite number'),
    RewardHasAnEffect: ('reward', 'asked again'),
    TurnsAddUpToMore: ('reward', 'add up to'),
    RewardedAfterTheEnd: ('end', 'goes on after its end'),
    GoesOnAfterTheEnd: ('end', 'goes on after its end'),
    RewardedForNothing: ('reward', 'before anything is done'),
    ConstantReward: ('oracle', 'tells nothing apart'),
    ToolRaises: ('words', 'raised IndexError'),
    ToolReturnsADict: ('words', 'returned a dict'),
    ToolReturnsNothing: ('words', 'returned a NoneType'),
    ResetReturnsAList: ('start', 'returned a list'),
    ChangesTheRow: ('start', 'changes the data set row'),
    ReadsNoRow: ('start', 'every row starts the same episode'),
    OverAtOnce: ('start', 'over before it starts'),
    NeverOver: ('oracle', 'did not end the episode'),
    Unsolvable: ('oracle', 'the oracle'),
    NoFigureAtTimes: ('figures', 'arrived is there at times'),
    FigureIsText: ('figures', "kpis['stops'] is 'many'"),
    FigureRaises: ('start', 'ZeroDivisionError'),
}


@pytest.mark.parametrize('broken', BROKEN, ids=lambda c: c.__name__)
def test_each_planted_fault_is_found(broken):
    probe, words = BROKEN[broken]
    found = check_environment(broken, BAGS if broken is ChangesTheRow else ROWS, lift_oracle, progress=False)
    assert any(words in f.message for f in found), found
    assert probe in [f.probe for f in found if words in f.message], found


def test_nothing_is_found_where_nothing_is_wrong():
    for seed in range(5):
        assert not check_environment(Lift, ROWS, lift_oracle, seed=seed, episodes=8, progress=False)
    assert not check_environment(Lift, ROWS, progress=False)  # without an oracle


def test_nothing_is_found_at_the_support_desk():
    rows = scenarios(18, 'train', seed=1)[:9] + scenarios(18, 'eval', seed=2)[9:]
    found = check_environment(SupportDesk, rows, oracle_step, progress=False)
    assert not found, found


def test_nothing_is_found_in_a_clinics_questions():
    from rlops_lab.environments.text_to_sql.clinic import ClinicSQL, questions

    found = check_environment(
        ClinicSQL, questions(12), lambda env: ('answer', dict(query=env._gold_arguments[0])), progress=False
    )
    assert not found, found


def test_nothing_is_found_in_coding_tasks():
    from rlops_lab.environments.coding.task import Coding, coding_tasks

    rows = coding_tasks('train')[:6]
    solutions = {tuple(row['tests']): row['solution'] for row in rows}
    found = check_environment(
        Coding,
        rows,
        lambda env: ('submit', dict(code=solutions[tuple(env.tests)])),
        episodes=4,
        progress=False,
    )
    assert not found, found


@pytest.mark.parametrize('kind', ['product', 'invoice'])
def test_nothing_is_found_in_extraction(kind):
    from rlops_lab.environments.extraction.task import Extraction
    from rlops_lab.environments.extraction.task import extraction_rows

    def truth(env):
        return 'submit', dict(
            record=json.dumps({k: v for k, (_, v) in env.document.fields.items()}, default=str)
        )

    # each kind has fields, and so figures, of its own
    found = check_environment(Extraction, extraction_rows(6, kinds=(kind,)), truth, progress=False)
    assert not found, found


def test_nothing_is_found_in_summaries():
    from rlops_lab.environments.extraction.summaries import Summary

    found = check_environment(
        Summary,
        [dict(seed=s) for s in range(5)],
        lambda env: ('submit', dict(summary=env.report.reference)),
        progress=False,
    )
    assert not found, found


def test_global_generators_and_rows_are_left_as_they_were():
    random.seed(3)
    state, rows = random.getstate(), copy.deepcopy(BAGS)
    check_environment(GlobalRandomStart, BAGS, lift_oracle, progress=False)
    check_environment(ChangesTheRow, BAGS, lift_oracle, progress=False)
    assert random.getstate() == state and rows == BAGS


def test_a_check_says_how_many_episodes_it_looked_at():
    found = check_environment(Lift, ROWS, lift_oracle, episodes=2, progress=False)
    assert found.episodes == 5 and repr(found) == 'no fault found in 5 episodes'


class NeedsArguments(Lift):
    def __init__(self, building: str):
        self.building = building


@pytest.mark.parametrize(
    'factory, rows, cause',
    [
        (Lift(), ROWS, 'Lift was given as an instance'),
        (NeedsArguments, ROWS, r"NeedsArguments can't be made without \['building'\]"),
        (Lift, [1], 'a row is a int'),
    ],
)
def test_what_is_no_factory_or_no_row_says_so(factory, rows, cause):
    with pytest.raises(ValueError, match=cause):
        check_environment(factory, rows, progress=False)
    if rows is ROWS:
        with pytest.raises(ValueError, match=cause):
            validate_environment(factory, list(ROWS[0]))


def test_bound_arguments_make_an_environment():
    assert not check_environment(partial(NeedsArguments, 'tower'), ROWS, lift_oracle, progress=False)


# ---- what costs others, and what ignores the decision


class SlowTool(Lift):
    def _move(self, floors):
        time.sleep(0.06)
        return super()._move(floors)


class SlowStart(Lift):
    def reset(self, **row):
        time.sleep(0.06)
        return super().reset(**row)


class WholeFile(Lift):
    def _move(self, floors):
        return super()._move(floors) + ' ' + 'x' * 1_000_000


class LongStart(Lift):
    def reset(self, **row):
        return super().reset(**row) + ' and much more' * 10_000


class SeedsPython(Lift):
    def reset(self, start, goal, **_):
        random.seed(start)
        return super().reset(start=start, goal=goal)


class SeedsNumpy(Lift):
    def reset(self, start, goal, **_):
        np.random.seed(0)
        return super().reset(start=start, goal=goal)


class SeedsTorch(Lift):
    def reset(self, start, goal, **_):
        torch.manual_seed(start + 10)
        return super().reset(start=start, goal=goal)


class SeedsInATool(Lift):
    def _open(self):
        random.seed(3)
        return super()._open()


class Date(Lift):
    def book(self, day: datetime.date) -> str:
        """Book a ride.

        Args:
            day: The day.
        """
        return 'Booked.'


class Paths(Lift):
    def log_to(self, files: list[Path] | None = None) -> str:
        """Write a log.

        Args:
            files: Where to.
        """
        return 'Done.'


class PaysEveryFloor(Lift):
    def get_reward(self):
        return float(self.done)


class Claims:
    "Approve a claim, refuse it, or ask for an expert. Nothing is wrong with it."

    def reset(self, start, goal, **_):
        self.right, self.said, self.done = ('approve', 'refuse', 'ask')[(start + goal) % 3], None, False
        return f'A claim of kind {start}, {goal}.'

    def look_up(self, kind: int) -> str:
        """Look up a rule.

        Args:
            kind: Of claim.
        """
        return f'rule {kind}'

    def decide(self, decision: Literal['approve', 'refuse', 'ask'], remark: str = '') -> str:
        """Decide.

        Args:
            decision: What to do.
            remark: For the file.
        """
        if not self.done:
            self.said, self.done = decision, True
        return 'Decided.'

    def get_reward(self) -> float:
        return float(self.done and self.said == self.right)


class PaysEveryDecision(Claims):
    def get_reward(self):
        return float(self.done)


class Lever:
    "Pull the right one of three levers. Nothing is wrong with it."

    def reset(self, start, goal, **_):
        self.right, self.said, self.done = ('left', 'middle', 'right')[start % 3], None, False
        return f'Lever {start % 3}.'

    def _pull(self, name):
        if not self.done:
            self.said, self.done = name, True
        return 'Pulled.'

    def left(self) -> str:
        "Pull it."
        return self._pull('left')

    def middle(self) -> str:
        "Pull it."
        return self._pull('middle')

    def rightmost(self) -> str:
        "Pull it."
        return self._pull('right')

    def get_reward(self) -> float:
        return float(self.done and self.said == self.right)


class PaysEveryLever(Lever):
    def get_reward(self):
        return float(self.done)


class ByChance(Lift):
    "Draws from the global generator and does not seed it: found as such, and not as one that seeds"

    def reset(self, **row):
        return super().reset(**row) + random.choice('abc')


COSTLY = {
    SlowTool: ('slow', "tool 'move' takes 0.1 s", dict(max_seconds=0.03)),
    SlowStart: ('slow', '`reset` takes 0.1 s', dict(max_seconds=0.03)),
    WholeFile: ('length', "tool 'move' returned 200,0", {}),  # a call's result is cut there
    LongStart: ('length', '`reset` returned 140,', {}),
    SeedsPython: ('seeding', '`reset` calls `random.seed`', {}),
    SeedsNumpy: ('seeding', '`reset` calls `numpy.random.seed`', {}),
    SeedsTorch: ('seeding', '`reset` calls `torch.manual_seed`', {}),
    SeedsInATool: ('seeding', "tool 'open_door' calls `random.seed`", {}),
    Date: ('contract', "argument 'day' of tool 'book' is a date", {}),
    Paths: ('contract', "argument 'files' of tool 'log_to' is a Path", {}),
    PaysEveryFloor: ('decision', 'the reward ignores the decision', {}),
    PaysEveryDecision: ('decision', 'the reward ignores the decision', {}),
    PaysEveryLever: ('decision', 'whichever of', {}),
}


@pytest.mark.parametrize('broken', COSTLY, ids=lambda c: c.__name__)
def test_what_costs_others_and_what_ignores_the_decision_is_found(broken):
    probe, words, options = COSTLY[broken]
    for seed in range(3):
        found = check_environment(broken, ROWS, progress=False, seed=seed, **options)
        assert (probe, True) in [(fault.probe, words in fault.message) for fault in found], found


@pytest.mark.parametrize('sound', [Lift, Claims, Lever], ids=lambda c: c.__name__)
def test_no_decision_is_said_to_be_ignored_where_it_counts(sound):
    for seed in range(8):
        found = check_environment(sound, ROWS, progress=False, seed=seed)
        assert not found, (seed, found)


def test_a_slow_call_is_reported_soon_and_alone():
    began = time.perf_counter()
    found = check_environment(SlowTool, ROWS, lift_oracle, max_seconds=0.03, progress=False)
    assert [fault.probe for fault in found] == ['slow'] and time.perf_counter() - began < 2


def test_a_call_that_is_slow_once_is_not_slow():
    slept = []

    class SlowOnce(Lift):
        def _move(self, floors):
            if not slept:
                slept.append(time.sleep(0.2))
            return super()._move(floors)

    found = check_environment(SlowOnce, ROWS, lift_oracle, max_seconds=0.1, progress=False)
    assert slept and 'slow' not in [fault.probe for fault in found]


def test_limits_may_be_raised():
    found = check_environment(WholeFile, ROWS, lift_oracle, max_chars=2_000_000, progress=False)
    assert 'length' not in [fault.probe for fault in found]
    found = check_environment(SlowStart, ROWS[:1], lift_oracle, max_seconds=5, episodes=1, progress=False)
    assert 'slow' not in [fault.probe for fault in found]


def test_drawing_from_the_global_generator_is_not_seeding_it():
    found = check_environment(ByChance, ROWS, lift_oracle, progress=False)
    assert 'repeatable' in [fault.probe for fault in found] and 'seeding' not in [fault.probe for fault in found]


JSON_TYPES = [str, int, list[int], dict[str, float], 'str | None', Literal['a'], Any, tuple[int, int]]


@pytest.mark.parametrize('hint', JSON_TYPES)
def test_types_that_json_holds_are_let_pass(hint):
    class Env(Lift):
        def note(self, x) -> str:
            """Note.

            Args:
                x: What.
            """
            return 'Noted.'

    Env.note.__annotations__['x'] = hint
    found = check_environment(Env, ROWS, lift_oracle, episodes=2, progress=False)
    assert not [fault for fault in found if 'no JSON value' in fault.message]
