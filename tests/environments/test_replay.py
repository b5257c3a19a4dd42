"Replay: every log format, recordings of any shape, environments that changed, forks that are resumed from rows"

import json, os, random
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from rlops_lab.core import Trajectory
from rlops_lab.environments.contract import call_tool, tool_schemas, tools_of, validate_environment
from rlops_lab.environments.replay import (
    NO_RESULT,
    alike,
    compare,
    continued,
    fork_row,
    fork_rows,
    moves,
    read_log,
    recorded,
    reenact,
)
from rlops_lab.environments.support_desk.cases import DESK_FAMILIES
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle_step, random_agent, scenarios


class Counter:
    "Counts, and says how far; `leak` makes it answer by another rule"

    leak = 0

    def reset(self, start: int, **_):
        self.n, self.done, self.heard = start, False, []
        return f'At {start}.'

    def add(self, k: int) -> str:
        """Add.

        Args:
            k: How much.
        """
        self.n += k
        return str(self.n + self.leak)

    @property
    def user(self):
        return self._hear

    def _hear(self, text):
        self.heard.append(text)
        self.done = text == 'bye'
        return None if self.done else f'you said {text}'

    def get_reward(self):
        return float(self.n)


def record_counter(start, acts):
    env = Counter()
    messages = [dict(role='user', content=env.reset(start))]
    for a in acts:
        if isinstance(a, int):
            messages += [
                dict(
                    role='assistant',
                    content='',
                    tool_calls=[dict(function=dict(name='add', arguments=dict(k=a)))],
                ),
                dict(role='tool', content=env.add(a)),
            ]
        else:
            reply = env._hear(a)
            messages.append(dict(role='assistant', content=a))
            if reply:
                messages.append(dict(role='user', content=reply))
        if env.done:
            break
    return read_log(dict(messages=messages, task=dict(start=start), reward=env.get_reward())), env


acts = st.lists(st.integers(-3, 9) | st.sampled_from(['hello', 'so', 'bye']), min_size=1, max_size=8)


@given(st.integers(-5, 5), acts)
@settings(max_examples=60, deadline=None)
def test_state_at_every_fork_is_the_state_that_was(start, acts):
    recording, _ = record_counter(start, acts)
    assert (
        compare([recording], Counter)[0]['differences'] == []
        and compare([recording], Counter)[0]['same_reward']
    )
    for turn in range(len(recording.turns)):
        env = continued(Counter)()
        assert env.reset(**json.loads(json.dumps(fork_row(recording, turn)))) is None
        assert env.n == start + sum(a for a in acts[:turn] if isinstance(a, int))
        assert env.heard == [a for a in acts[:turn] if isinstance(a, str)]
        assert env.kpis == dict(replayed_turns=turn, replay_differences=0)


@given(st.integers(-5, 5), acts)
@settings(max_examples=60, deadline=None)
def test_own_moves_always_match_a_recording(start, acts):
    recording, _ = record_counter(start, acts)
    if not any(isinstance(a, int) for a in acts):
        return
    env = recorded([recording])()
    env.reset(**fork_row(recording, 0))
    for m in moves(recording):
        got = call_tool(env, *m.call)[0] if m.call else env.user(m.text)
        assert got == m.heard
    k = env.kpis
    assert (k['calls_unmatched'], k['calls_doubtful'], k['replies_unmatched']) == (0, 0, 0) and k.get(
        'calls_made', 1
    ) == 1


def test_a_changed_environment_is_found_where_it_changed():
    recording, _ = record_counter(0, [1, 2, 'hello', 3])
    changed = type('Changed', (Counter,), dict(leak=1))
    (report,) = compare([recording], changed)
    assert (
        [d.turn for d in report['differences']] == [0, 1, 3]
        and report['first'] == 0
        and report['same_reward']
    )
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

    (report,) = compare([recording], Other)
    assert [d.turn for d in report['differences']] == [-1] and not report['same_reward']
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
        compare([log], Counter)
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
    'name, argument', [('find', 'from'), ('find', 'flight-no'), ('find-flight', 'day'), ('class', 'day')]
)
def test_names_that_no_call_can_be_written_with_are_refused(name, argument):
    call = dict(function=dict(name=name, arguments={argument: 'x'}))
    log = read_log(
        [
            dict(role='user', content='?'),
            dict(role='assistant', content='', tool_calls=[call]),
            dict(role='tool', content='y'),
        ]
    )
    with pytest.raises(ValueError, match='names a tool or an argument.*rename it in the log'):
        recorded([log])


@pytest.mark.parametrize('broken', [None, 3, {}, dict(messages='hi'), dict(messages=[dict(content='x')])])
def test_what_is_no_log_is_refused(broken):
    with pytest.raises(ValueError, match='no conversation'):
        read_log(broken)


def test_trajectories_and_their_json_are_one():
    said = [
        dict(role='user', content='At 1.'),
        dict(role='assistant', content='add(k=2)'),
        dict(role='tool', name='add', content='3'),
    ]
    t = Trajectory(
        dict(start=1), said, [1, 2], [0, 1], [0, -0.1], [-1, 0], turn_rewards=[0.5], terminated=True
    )
    a, b = read_log(t), read_log(json.loads(json.dumps(t.to_dict())))
    assert a == b and (a.source, a.reward, a.task) == ('trajectory', 0.5, dict(start=1))
    assert [str(m) for m in moves(a)] == ['add(k=2)']


def test_old_function_calls_and_unreadable_arguments():
    log = [
        dict(role='developer', content='Be brief.'),
        dict(role='user', content='go'),
        dict(role='assistant', content=None, function_call=dict(name='add', arguments='{"k": 1}')),
        dict(role='function', name='add', content='1'),
        dict(
            role='assistant',
            content=None,
            tool_calls=[dict(id='a', function=dict(name='add', arguments='{"k": '))],
        ),
        dict(role='tool', tool_call_id='a', content='bad'),
        dict(
            role='assistant',
            content=None,
            tool_calls=[dict(id='b', function=dict(name='add', arguments='[1]'))],
        ),
        dict(role='tool', tool_call_id='b', content='bad'),
    ]
    r = read_log(log)
    assert [m['role'] for m in r.messages][:3] == ['system', 'user', 'assistant']
    assert [(m.turn, m.call, m.heard) for m in moves(r)] == [(0, ('add', dict(k=1)), '1')]


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
def test_alike(a, b, same):
    assert alike(a, b) == same


def test_schemas_of_the_log_are_used():
    tools = [
        dict(
            type='function',
            function=dict(
                name='find',
                description='Find a thing.',
                parameters=dict(
                    type='object',
                    properties=dict(
                        what=dict(type='string', description='Its name.'), most=dict(type='integer')
                    ),
                    required=['what'],
                ),
            ),
        )
    ]
    log = read_log(
        dict(messages=[dict(role='user', content='?'), dict(role='assistant', content='Hello')], tools=tools)
    )
    kind = recorded([log])
    validate_environment(kind, ['prompt', 'replay', 'turn'])
    env = kind()
    env.reset(**fork_row(log, 0))
    (schema,) = tool_schemas(env)
    assert schema['function']['description'] == 'Find a thing.' and schema['function']['parameters'][
        'required'
    ] == ['what']
    assert schema['function']['parameters']['properties']['what']['description'] == 'Its name.'
    assert call_tool(env, 'find', dict(what='x')) == (NO_RESULT, False)
    assert call_tool(env, 'find', {})[1] and call_tool(env, 'find', dict(what='x', most='two'))[1]


def test_repeated_calls_get_their_results_in_order_and_the_last_one_again():
    log = [dict(role='user', content='.')]
    for x in '123':
        log += [
            dict(role='assistant', content='', tool_calls=[dict(function=dict(name='next', arguments={}))]),
            dict(role='tool', content=x),
        ]
    r = read_log(log)
    for turn, expected in ((0, '1233'), (2, '333')):
        env = recorded([r])()
        env.reset(**fork_row(r, turn))
        assert ''.join(call_tool(env, 'next', {})[0] for _ in expected) == expected


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
        (report,) = compare([r], SupportDesk)
        assert not report['differences'] and report['same_reward']
        turn = random.Random(row['seed']).randrange(len(r.turns))
        env = continued(SupportDesk)()
        env.reset(**fork_row(r, turn))
        # it stands in the middle: the beginning would not be the beginning again
        assert reenact(env, r) != [] or turn == 0 or env.turns > turn
        assert 'get_order' in tools_of(env) and 'user' not in tools_of(env)


def test_real_logs():
    folder = (
        Path(os.environ.get('RLOPS_REAL_DATA') or Path(__file__).parents[2] / '../shared/data')
        / 'tau_airline'
    )
    if not folder.is_dir():
        pytest.skip('the τ-bench logs are not beside the repository')
    logs = [read_log(x) for f in folder.glob('*.json') for x in json.loads(f.read_text())]
    kind = recorded(logs)
    validate_environment(kind, ['prompt', 'replay', 'turn'])
    rows = fork_rows(logs)
    assert len(rows) == sum(len(r.turns) for r in logs) > 1000
    for r in random.Random(0).sample(rows, 60):
        env = kind()
        env.reset(**r)
        for m in [m for m in moves(read_log(json.loads(r['replay']))) if m.turn >= r['turn']]:
            assert (call_tool(env, *m.call)[0] if m.call else env.user(m.text)) == m.heard
        assert env.kpis['calls_unmatched'] == env.kpis['calls_doubtful'] == env.kpis['replies_unmatched'] == 0
