"Recorded environments: own moves match, schemas are used, results come in their order"

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_counters import acts, record_counter

from rlops_lab.environments.contract import call_tool, tool_schemas, validate_environment
from rlops_lab.environments.recorded_environment import NO_RESULT, recorded
from rlops_lab.environments.recordings import moves, read_log
from rlops_lab.environments.replay import fork_row, fork_rows


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
        assert got == m.observation
    k = env.kpis
    assert (k['calls_unmatched'], k['calls_doubtful'], k['replies_unmatched']) == (0, 0, 0) and k.get(
        'calls_made', 1
    ) == 1


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
            assert (call_tool(env, *m.call)[0] if m.call else env.user(m.text)) == m.observation
        assert env.kpis['calls_unmatched'] == env.kpis['calls_doubtful'] == env.kpis['replies_unmatched'] == 0
