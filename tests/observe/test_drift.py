"An alarm that keeps its promise, whatever the order and dependence of verdicts."

import warnings
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.verdicts import Verdict
from rlops_lab.observe.dependence import chained, inflation_of
from rlops_lab.observe.drift import DriftAlarm, first_alarms, watch


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([True, False, None]), max_size=190), st.floats(0.05, 0.95), st.floats(1.0, 4.0)
)
def test_many_streams_are_the_same_as_one(stream, p, inflation):
    one = DriftAlarm(p, horizon=20, inflation=inflation)
    for x in stream:
        one.update(x)
    many = first_alarms([stream], p, horizon=20, inflation=inflation)[0] if stream else -1
    assert many == (one.alarm_at or -1)


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


@pytest.mark.parametrize('p, lag1', [(0.8, 0.2), (0.8, 0.4), (0.95, 0.2)])
def test_false_alarms_of_correlated_verdicts(p, lag1):
    streams = chained(p, lag1, (200, 5000), np.random.default_rng(3))
    told = first_alarms(streams, p, inflation=inflation_of(lag1))
    assert (told > 0).mean() <= 0.06  # 31 and 84% of those that aren't told, at .8
    assert (first_alarms(streams, p) > 0).mean() > 0.2


def test_correlated_neighbours_are_told_while_the_alarm_runs():
    random = np.random.default_rng(4)

    def warnings_of(lag1, **keys):
        found = 0
        for stream in chained(0.8, lag1, (40, 801), random):
            alarm = DriftAlarm(0.7, **keys)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                for right in stream:
                    alarm.update(bool(right))
            found += bool(caught)
        return found

    assert warnings_of(0.0) <= 2
    assert warnings_of(0.2) >= 32
    assert warnings_of(0.2, inflation=inflation_of(0.2)) <= 2


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
        (dict(at_least=0.8, inflation=0.9), 'inflation=0.9'),
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
