"An alarm that keeps its promise, whatever the order and dependence of verdicts."

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.verdicts import Verdict
from rlops_lab.observe.drift import DriftAlarm, first_alarms, watch


@settings(deadline=None)
@given(st.lists(st.sampled_from([True, False, None]), max_size=200), st.floats(0.05, 0.95))
def test_many_streams_are_the_same_as_one(stream, p):
    one = DriftAlarm(p, horizon=20)
    for x in stream:
        one.update(x)
    assert (first_alarms([stream], p, horizon=20)[0] if stream else -1) == (one.alarm_at or -1)


def test_the_state_goes_on_from_where_it_was_stored():
    r = np.random.default_rng(0)
    stream = (r.random(900) < 0.6).tolist()
    whole, half = DriftAlarm(0.8), DriftAlarm(0.8)
    for x in stream:
        whole.update(x)
    for x in stream[:300]:
        half.update(x)
    half = DriftAlarm(**asdict(half))
    for x in stream[300:]:
        half.update(x)
    assert half == whole and whole.alarm_at


@pytest.mark.parametrize('p', [0.5, 0.8, 0.95])
def test_false_alarms(p):
    r = np.random.default_rng(1)
    assert (first_alarms(r.random((400, 2000)) < p, p, horizon=2000) > 0).mean() <= 0.05
    assert (first_alarms(r.random((400, 2000)) < p, p, horizon=2000, level=0.2) > 0).mean() <= 0.2


def test_false_alarms_with_dependence():
    "Right with probability at least .8 given the past, in bursts: the promise needs no more"
    r = np.random.default_rng(2)
    state, streams = np.ones(300), []
    for _ in range(2000):
        state = np.where(r.random(300) < 0.02, 1 - state, state)
        streams.append(r.random(300) < np.where(state == 1, 0.8, 0.99))
    assert (first_alarms(np.array(streams).T, 0.8, horizon=2000) > 0).mean() <= 0.05


def test_an_improvement_is_no_alarm_and_a_collapse_is_a_quick_one():
    assert first_alarms(np.ones((1, 3000)), 0.8)[0] == -1
    assert 0 < first_alarms(np.zeros((1, 100)), 0.8)[0] <= 20


@pytest.mark.parametrize(
    'keys,message',
    [
        (dict(at_least=0.0), 'a share between 0 and 1'),
        (dict(at_least=0.8, level=2.0), 'level=2.0'),
        (dict(at_least=0.8, horizon=0), 'horizon=0'),
        (dict(at_least=0.8, drops=(-0.1,)), 'differences above 0'),
        (dict(at_least=0.02, drops=(0.1,)), 'no drop is smaller'),
    ],
)
def test_bad_input(keys, message):
    with pytest.raises(ValueError, match=message):
        DriftAlarm(**keys)


def test_a_stream_of_something_else_is_refused():
    with pytest.raises(ValueError, match='more than True, False and None'):
        first_alarms([[1.0, 0.5]], 0.8)
    assert first_alarms([[True, None] * 500], 0.8)[0] == -1  # a verdict that is missing is no wrong one


def test_verdicts_on_canaries():
    "As many as there are; none that was given before; one that is missing is neither right nor wrong"

    def said(choice, cached=False):
        return Verdict(choice, None if choice is None else 1.0, cached=cached)

    alarm, by_hand = DriftAlarm(0.8, horizon=20), DriftAlarm(0.8, horizon=20)
    assert not watch(alarm, [said('pass'), said('fail'), said(None)], ['pass', 'pass', 'pass'])
    for x in (True, False):
        by_hand.update(x)
    assert alarm == by_hand and alarm.seen == 2
    assert watch(alarm, [said('fail')] * 20, ['pass'] * 20) and watch(alarm, [], [])
    with pytest.raises(ValueError, match='1 verdicts, 2 right choices'):
        watch(alarm, [said('pass')], ['pass'] * 2)
    before = alarm.seen
    with pytest.raises(ValueError, match='1 of 2 verdicts were given before'):
        watch(alarm, [said('pass'), said('pass', True)], ['pass'] * 2)
    assert alarm.seen == before
