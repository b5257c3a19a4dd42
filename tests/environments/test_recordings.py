"Recordings: every log format is read, and what is none is refused"

import json

import pytest

from rlops_lab.core import Trajectory
from rlops_lab.environments.recordings import moves, read_log


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
    assert [(m.turn, m.call, m.observation) for m in moves(r)] == [(0, ('add', dict(k=1)), '1')]


CALL = dict(id='1', type='function', function=dict(name='f', arguments={}))
CALLED = dict(role='assistant', content='', tool_calls=[CALL])


def test_logs_of_anthropic_and_of_the_responses_api():
    block = dict(type='tool_use', id='1', name='f', input={})
    result = dict(type='tool_result', tool_use_id='1', content='done')
    anthropic = dict(
        system=[dict(type='text', text='Be brief.')],
        messages=[
            dict(role='user', content='go'),
            dict(role='assistant', content=[block]),
            dict(role='user', content=[result]),
        ],
        response=dict(role='assistant', type='message', content=[dict(type='text', text='It is done.')]),
    )
    call = dict(type='function_call', call_id='1', name='f', arguments='{}')
    said = dict(type='message', role='assistant', content=[dict(type='output_text', text='It is done.')])
    responses = dict(
        instructions='Be brief.',
        input=[
            dict(role='user', content='go'),
            call,
            dict(type='function_call_output', call_id='1', output='done'),
        ],
        response=dict(output=[said]),
    )
    for log in (anthropic, responses):
        read = read_log(log)
        assert [m['role'] for m in read.messages] == ['system', 'user', 'assistant', 'tool', 'assistant']
        assert [(str(m), m.observation) for m in moves(read)] == [('f()', 'done'), ('It is done.', None)]
    assert read_log(dict(input='go', response=dict(output=[call]))).messages[1] == CALLED


def test_a_call_without_an_answer_does_not_take_that_of_another():
    both = dict(CALLED, tool_calls=[CALL, dict(CALL, id='2')])
    log = [dict(role='user', content='go'), both, dict(role='tool', tool_call_id='2', content='second')]
    assert [m.observation for m in moves(read_log(log))] == [None, 'second']


def test_an_image_in_a_log_is_refused_by_name():
    with pytest.raises(ValueError, match="message 0: its content of type 'image_url' is no text"):
        read_log([dict(role='user', content=[dict(type='image_url')])])
