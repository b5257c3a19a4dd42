"Replay: environments that changed are found, and forks are resumed from rows"

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_counters import Counter, acts, record_counter

from rlops_lab.environments.contract import tools_of
from rlops_lab.environments.recordings import read_log
from rlops_lab.environments.replay import (
    compare_replays,
    continued,
    fork_row,
    fork_rows,
    reenact,
    same_observation,
)
from rlops_lab.environments.support_desk.cases import DESK_FAMILIES
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle_step, random_agent, scenarios


@given(st.integers(-5, 5), acts)
@settings(max_examples=60, deadline=None)
def test_state_at_every_fork_is_the_state_that_was(start, acts):
    recording, _ = record_counter(start, acts)
    (report,) = compare_replays([recording], Counter)
    assert report.differences == [] and report.same_reward
    for turn in range(len(recording.turns)):
        env = continued(Counter)()
        assert env.reset(**json.loads(json.dumps(fork_row(recording, turn)))) is None
        assert env.n == start + sum(a for a in acts[:turn] if isinstance(a, int))
        assert env.messages == [a for a in acts[:turn] if isinstance(a, str)]
        assert env.kpis == dict(replayed_turns=turn, replay_differences=0)


def test_a_changed_environment_is_found_where_it_changed():
    recording, _ = record_counter(0, [1, 2, 'hello', 3])
    changed = type('Changed', (Counter,), dict(leak=1))
    (report,) = compare_replays([recording], changed)
    assert [d.turn for d in report.differences] == [0, 1, 3] and report.first == 0 and report.same_reward
    with pytest.warns(UserWarning, match='3 forks left out'):
        assert [r['turn'] for r in fork_rows([recording], changed)] == [0]
    env = continued(changed)()
    env.reset(**fork_row(recording, 2))
    assert env.kpis['replay_differences'] == 2


def test_another_opening_and_another_grade_are_differences():
    recording, _ = record_counter(4, [1])

    class Other(Counter):
        def reset(self, start: int, **_):
            return super().reset(start) + ' Really.'

        def get_reward(self):
            return -1.0

    (report,) = compare_replays([recording], Other)
    assert [d.turn for d in report.differences] == [-1] and not report.same_reward
    assert fork_rows_quiet([recording], Other) == []


def fork_rows_quiet(*args):
    with pytest.warns(UserWarning, match='left out'):
        return fork_rows(*args)


def test_an_episode_that_ends_early_is_refused_with_the_cure():
    recording, _ = record_counter(0, [1, 2])

    class Short(Counter):
        def add(self, k: int) -> str:
            """Add.

            Args:
                k: How much.
            """
            self.done = True
            return super().add(k)

    with pytest.raises(ValueError, match='fork_rows'):
        continued(Short)().reset(**fork_row(recording, 1))


def test_a_foreign_log_is_not_executed():
    log = read_log([dict(role='user', content='hi'), dict(role='assistant', content='bye')])
    with pytest.raises(ValueError, match='use `recorded`'):
        compare_replays([log], Counter)
    with pytest.raises(ValueError, match='turns 0 to 0'):
        fork_row(log, 1)


def test_several_environments_keep_their_names():
    recording, _ = record_counter(2, [1, 2])
    recording.task['environment'] = 'counter'
    factories = continued(dict(counter=Counter, desk=SupportDesk))
    (row,) = fork_rows([recording], dict(counter=Counter, desk=SupportDesk), turns=lambda r: [1])
    assert row.pop('environment') == 'counter'
    env = factories['counter']()
    env.reset(**row)
    assert env.n == 3


@pytest.mark.parametrize(
    'a, b, same',
    [
        ('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1}', True),
        ('a  b', 'ab', True),
        ('1', '1.0', True),
        ('1', '2', False),
        ('< |im_end|>', '<|im_end|>', True),
        ('', 'x', False),
    ],
)
def test_same_observation(a, b, same):
    assert same_observation(a, b) == same


@pytest.mark.parametrize('agent', [oracle_step, random_agent])
def test_every_family_of_the_desk_replays(agent):
    for row in scenarios(2 * len(DESK_FAMILIES), 'eval', seed=8):
        env = SupportDesk()
        messages = [dict(role='user', content=env.reset(**row))]
        while not env.done and env.turns < 8:
            name, arguments = agent(env)
            messages += [
                dict(
                    role='assistant',
                    content='',
                    tool_calls=[dict(function=dict(name=name, arguments=arguments))],
                ),
                dict(role='tool', content=getattr(env, name)(**arguments)),
            ]
        r = read_log(dict(messages=messages, task=row, reward=env.get_reward()))
        (report,) = compare_replays([r], SupportDesk)
        assert not report.differences and report.same_reward
        turn = random.Random(row['seed']).randrange(len(r.turns))
        env = continued(SupportDesk)()
        env.reset(**fork_row(r, turn))
        # it stands in the middle: the beginning would not be the beginning again
        assert reenact(env, r) != [] or turn == 0 or env.turns > turn
        assert 'get_order' in tools_of(env) and 'user' not in tools_of(env)
