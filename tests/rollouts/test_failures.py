"One bad episode is one bad episode: what is retried and recorded, what ends the run, who closes the environment"

import asyncio
import json
import os
import signal
import threading
import warnings

import pytest
from scripted_rollouts import TOKENIZER, Scripted, Till, run

from rlops_lab.core import Trajectory
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.load import load
from rlops_lab.rollouts.engine import EpisodesFailed, rollout
from rlops_lab.samplers.local import HFSampler

ROWS = [dict(goal=10, bad=i == 6) for i in range(16)]


class Counted(Till):
    "A till that counts its openings and closings; in bad rows it fails at one place, so many times"

    place, faults, error = '', -1, OSError('database is locked')

    def _pass(self, place):
        if place == self.place and self.bad and self.faults != 0:
            type(self).faults -= 1
            raise self.error

    def reset(self, goal: int, bad: bool = False) -> str:
        self.bad = bad
        self.opened.append(self)
        self._pass('reset')
        return super().reset(goal)

    @property
    def user(self):
        return lambda text: self._pass('user')

    @property
    def kpis(self):
        return self._pass('kpis') or {}

    def get_reward(self):
        self._pass('get_reward')
        return 1.0

    def close(self):
        self.closed.append(self)


class CountedByTurn(Counted):
    @property
    def turn_reward(self):
        self._pass('turn_reward')
        return 0.5


def counted(place='', **members):
    base = CountedByTurn if place == 'turn_reward' else Counted
    return type('Till', (base,), dict(place=place, opened=[], closed=[]) | members)


PLACES = ['reset', 'user', 'kpis', 'turn_reward', 'get_reward']


def played(environment, rows=ROWS, **options):
    script = {i: ['put(amount=1)', 'That is all.'] for i in range(len(rows))}
    return run([0] * len(rows), environment, rows, sampler=Scripted(script), **options)


@pytest.mark.parametrize('place', PLACES)
def test_an_episode_that_fails_twice_is_recorded_and_the_others_are_returned(place):
    environment = counted(place)
    with pytest.warns(UserWarning, match='1 of 16 episodes failed.*OSError: database is locked'):
        ts = played(environment)
    bad = ts.pop(6)
    assert (bad.stop_reason, bad.error) == ('error', 'OSError: database is locked')
    assert not (bad.has_verdict or bad.terminated or bad.truncated or bad.reward)
    assert all(t.has_verdict and not t.error and t.stop_reason == 'done' for t in ts)
    assert sorted(map(id, environment.opened)) == sorted(map(id, environment.closed)) and len(environment.closed) == 17
    assert Trajectory.from_dict(json.loads(json.dumps(bad.to_dict()))) == bad


@pytest.mark.parametrize('place', PLACES)
def test_an_episode_that_fails_once_is_played_again_with_the_same_number(place):
    environment = counted(place, faults=1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ts = played(environment)
    assert [t.task for t in ts] == ROWS and len({tuple(t.token_ids) for t in ts}) == 1
    assert len(environment.closed) == 17 and not any(t.error for t in ts)
    assert ts[6].usage.calls == (2 if place == 'reset' else 3 if place == 'turn_reward' else 4)


@pytest.mark.parametrize('error', [SystemExit(1), asyncio.CancelledError(), ValueError('row')])
@pytest.mark.parametrize('place', ['reset', 'get_reward'])
def test_exits_and_cancellations_fail_one_episode_too(place, error):
    with pytest.warns(UserWarning):
        ts = played(counted(place, error=error))
    assert [t.error != '' for t in ts] == [i == 6 for i in range(16)] and type(error).__name__ in ts[6].error


def test_a_drawn_episode_is_the_same_after_a_failure():
    class Locked(SupportDesk):
        faults = 0

        def get_reward(self):
            type(self).faults -= 1
            if type(self).faults == 0:
                raise OSError('locked')
            return super().get_reward()

        @property
        def kpis(self):
            self.get_reward()
            return super().kpis

    def drawn(faults):
        Locked.faults = faults
        model, tokenizer = load('tiny')
        sampler = HFSampler(model, tokenizer)
        options = dict(max_turns=2, max_tokens_per_turn=8, seed=3, progress=False)
        return rollout(sampler, tokenizer, Locked, scenarios(4, 'train'), **options)

    assert [t.token_ids for t in drawn(3)] == [t.token_ids for t in drawn(-1)]


# ------------------------------------------------------------------ too many


def rows(pattern):
    return [dict(goal=10, bad=x == 'x') for x in pattern]


@pytest.mark.parametrize('pattern, limit', [('x', 1.0), ('xx', 0.5), ('.xxx', 0.5), ('..x.', 0.0), ('x' * 20, 1.0)])
def test_too_many_failures_end_the_run_with_the_first_as_cause(pattern, limit):
    with pytest.raises(EpisodesFailed, match='episodes failed.*Mend the environment') as caught:
        played(counted('get_reward'), rows(pattern), max_failed=limit)
    assert isinstance(caught.value.__cause__, OSError) and 'database is locked' in str(caught.value)
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, ValueError)


def test_an_environment_with_a_bug_is_given_up_before_the_rest_is_played():
    environment = counted('reset')
    sampler = Scripted({})
    with pytest.raises(EpisodesFailed, match='8 of 200'):
        run([0] * 200, environment, rows('x' * 200), sampler=sampler)
    assert len(environment.closed) == 16 and not sampler.batches


@pytest.mark.parametrize('pattern', ['x.', 'xx..', '.' * 9 + 'x' * 9])
def test_half_of_the_episodes_may_fail_unless_another_limit_is_set(pattern):
    with pytest.warns(UserWarning, match='episodes failed'):
        ts = played(counted('get_reward'), rows(pattern))
    assert [bool(t.error) for t in ts] == [x == 'x' for x in pattern]


def test_a_text_of_reset_that_does_not_fit_fails_its_own_episode():
    class Long(Till):
        def reset(self, goal: int, **_) -> str:
            return super().reset(goal) + ' more' * (2000 if goal == 7 else 0)

    with pytest.warns(UserWarning, match='Shorten the prompt'):
        ts = played(Long, [dict(goal=g) for g in (10, 7, 10)])
    assert [t.stop_reason for t in ts] == ['done', 'error', 'done'] and ts[1].token_ids == []


NONSENSE = dict(max_failed=1.5), dict(max_failed=-0.1), dict(tool_timeout=0), dict(tool_timeout=-1)


@pytest.mark.parametrize('options', NONSENSE)
def test_limits_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        played(Till, **options)


# ------------------------------------------------------------------ rewards that are none


@pytest.mark.parametrize('reward', [float('nan'), float('inf'), 'much', [1.0]])
def test_a_reward_that_is_no_number_fails_the_episode_by_name(reward):
    class Odd(Till):
        def get_reward(self):
            return reward if self.goal == 7 else 1.0

    with pytest.warns(UserWarning, match='get_reward gave'):
        ts = played(Odd, [dict(goal=g) for g in (10, 7, 10)])
    assert 'return a finite number, or None' in ts[1].error and [t.reward for t in ts] == [1.0, 0.0, 1.0]


def test_turns_without_a_verdict_leave_the_episode_without_one():
    class ByTurn(Till):
        pay = {7: None, 8: 0.25}

        @property
        def turn_reward(self):
            return self.pay.get(self.goal, float('nan'))

    ts = played(ByTurn, [dict(goal=g) for g in (7, 8)])
    assert [t.has_verdict for t in ts] == [False, True] and ts[1].turn_rewards == [0.25, 0.25]


# ------------------------------------------------------------------ limits and names


class Waiting(Counted):
    opened, closed = [], []

    async def wait(self) -> str:
        "Wait for ever."
        await asyncio.Event().wait()

    def sleep(self) -> str:
        "Sleep for ever."
        threading.Event().wait()


@pytest.mark.parametrize('call', ['wait()', 'sleep()'])
def test_a_tool_that_hangs_is_a_failed_call(call):
    (t,) = run([[call, 'put(amount=10)']], Waiting, tool_timeout=0.2)
    assert 'no answer within 0.2 seconds' in t.messages[2]['content']
    assert (t.reward, t.kpis['failed_calls']) == (1.0, 1.0)


@pytest.mark.parametrize('name', ['reset', 'get_reward', 'user'])
def test_other_calls_of_the_environment_have_the_limit_too(name):
    def hang(self, *_, **__):
        threading.Event().wait()

    members = {name: property(lambda self: lambda text: hang(self)) if name == 'user' else hang}
    with pytest.raises(EpisodesFailed, match='TimeoutError: no answer within 0.1 seconds'):
        played(type('E', (Till,), members), [dict(goal=10)], tool_timeout=0.1)


@pytest.mark.parametrize('name', ['done', 'user', 'kpis', 'turn_reward'])
def test_tools_with_the_names_of_attributes_are_played_as_trl_plays_them(name):
    def tool(self) -> str:
        "Say something."
        return 'said'

    class Bare:
        def reset(self, **_):
            self.n = 0

        def look(self) -> str:
            "Look."
            self.n += 1
            return 'a seat'

        def get_reward(self):
            return float(self.n)

    environment = type('E', (Bare,), {name: tool})
    row = dict(prompt=[dict(role='user', content='Look.')])
    (t,) = run([['look()', f'{name}()', 'look()', 'Bye.']], environment, [row])
    assert (t.n_turns, t.reward, t.stop_reason) == (4, 2.0, 'done')
    assert t.messages[4]['content'] == 'said' and t.kpis == dict(tool_calls=3.0, failed_calls=0.0)


# ------------------------------------------------------------------ close, once


@pytest.mark.parametrize(
    'options', [{}, dict(max_turns=1), dict(max_tokens_per_turn=4), dict(abort=lambda env: True)]
)
def test_close_is_called_once_however_an_episode_ends(options):
    environment = counted()
    played(environment, rows('....'), **options)
    assert len(environment.closed) == len(set(environment.closed)) == 4


def test_kept_environments_stay_open():
    environment = counted()
    ts = played(environment, rows('..'), keep_environments=True)
    assert not environment.closed and [t.environment for t in ts] == environment.opened


def test_ctrl_c_closes_what_runs_and_cancels_what_waits():
    Waiting.opened, Waiting.closed = [], []
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        run([['wait()']] * 3 + [['put(amount=10)']], Waiting)
    assert len(caught.value.trajectories) == 0 and len(Waiting.closed) == len(set(Waiting.closed)) == 4


def test_a_lost_server_closes_them_too():
    class Gone(Scripted):
        def sample(self, prompts, params, keys):
            raise ConnectionError('server gone')

    environment = counted()
    with pytest.raises(ConnectionError):
        run([0] * 4, environment, rows('....'), sampler=Gone({}))
    assert len(environment.closed) == 4


def test_a_sampler_that_decides_when_to_answer_gets_the_episode_again():
    class Talking(Scripted):
        def converse(self, advance, params):
            contexts = advance({})
            while contexts:
                key = next(iter(contexts))
                reply = self.sample([contexts.pop(key)], params, [key])[0]
                contexts |= advance({key: reply})

    environment = counted('get_reward', faults=1)
    sampler = Talking({i: ['put(amount=10)'] for i in range(4)})
    ts = run([0] * 4, environment, rows('.x..'), sampler=sampler, batch_size=2)
    assert [t.reward for t in ts] == [1.0] * 4 and len(sampler.batches) == 5
    assert TOKENIZER.eos_token_id == ts[1].token_ids[-1]
