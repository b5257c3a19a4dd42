"Turns: calls of any form are the policy's, compared by value"

import subprocess
import sys

import pytest

from rlops_lab.rewards.checks import calls_match
from rlops_lab.rewards.compose import check, matches, tools_exist
from rlops_lab.rewards.turns import calls_in, policy_messages, policy_turns, same_calls


def calling(*calls, **more):
    functions = [dict(id=str(i), type='function', function=dict(name=n, arguments=a)) for i, (n, a) in enumerate(calls)]
    return [dict(role='assistant', content=None, tool_calls=functions) | more]


def test_arguments_as_text_or_object_are_one():
    text, plain = calling(('book', '{"seat": 4}')), calling(('book', dict(seat=4)))
    assert policy_turns(text) == policy_turns(plain) == ['book(seat=4)']
    assert calls_in(text) == calls_in(plain) == [('book', dict(seat=4))]
    for completion in (text, plain):
        assert calls_match()([None], [completion], calls=[[('book', dict(seat=4))]]) == [1.0]


def test_blocks_of_anthropic_and_items_of_responses():
    block = dict(type='tool_use', id='1', name='book', input=dict(seat=4))
    item = dict(type='function_call', call_id='1', name='book', arguments='{"seat": 4}')
    for completion in ([dict(role='assistant', content=[block])], [item]):
        assert calls_in(completion) == [('book', dict(seat=4))] and matches('seat=4')([None], [completion]) == [1.0]


def test_text_in_parts():
    completion = [dict(role='assistant', content=[dict(type='text', text='Seat '), dict(type='text', text='4')])]
    assert policy_turns(completion) == ['Seat 4']

    @check
    def says_the_seat(turns):
        assert 'Seat 4' in turns

    assert says_the_seat([None], [completion]) == [1.0]


def test_a_call_that_was_written_wrongly_is_text_and_no_reason_to_stop():
    completion = calling(('book', '{"seat": '))
    assert policy_turns(completion) == ['book({"seat": )'] and calls_in(completion) == []
    assert calls_match()([None], [completion], calls=[[('book', dict(seat=4))]]) == [0.0]


def test_an_image_is_refused_by_name():
    with pytest.raises(ValueError, match="message 0: its content of type 'image_url' is no text"):
        policy_turns([dict(role='user', content=[dict(type='image_url')])])


def test_nothing_was_written():
    assert policy_messages(None) == policy_turns(None) == policy_turns([]) == calls_in([]) == []


def test_small_differences_and_odd_values_are_seen():
    made = calling(('pay', dict(usd=0.004)), ('on', dict(day=None)), ('of', dict(who=dict(a=[1.0]))))
    assert calls_in(made) == [('pay', dict(usd=0.004)), ('on', dict(day=None)), ('of', dict(who=dict(a=[1.0])))]
    assert same_calls(calls_in(made)[:1], [('pay', dict(usd=0.004))])
    assert not same_calls(calls_in(made)[:1], [('pay', dict(usd=0.003))])


@pytest.mark.parametrize(
    'expected',
    [
        ('book', dict(seat=4)),
        ['book', dict(seat=4.0)],
        ('book', '{"seat": 4}'),
        dict(name='book', arguments=dict(seat=4)),
        dict(id='1', type='function', function=dict(name='book', arguments='{"seat": 4}')),
        ('book', dict(seat=4, code=None, who=None)),
    ],
)
def test_forms_of_an_expected_call(expected):
    assert same_calls([('book', dict(seat=4))], [expected])
    assert not same_calls([('book', dict(seat=5))], [expected])
    assert not same_calls([('book', dict(seat=4, note='x'))], [expected])


def test_gaps_of_a_data_set_are_closed_at_any_depth():
    made = [('book', dict(who=dict(name='Ann'), seats=[dict(row=1)]))]
    filled = dict(who=dict(name='Ann', age=None), seats=[dict(row=1, code=None)], note=None)
    assert same_calls(made, [('book', filled)])
    assert not same_calls(made, [('book', filled | dict(who=dict(name='Ann', age=3)))])


def test_what_is_expected_of_a_data_set():
    datasets = pytest.importorskip('datasets')
    calls = dict(name='book', arguments=dict(seat=4)), dict(name='cancel', arguments=dict(code='A'))
    rows = datasets.Dataset.from_list([dict(calls=[call]) for call in calls])
    assert calls_match()([None] * 2, ['book(seat=4)', 'cancel(code="A")'], calls=rows['calls']) == [1.0, 1.0]
    assert calls_match()([None] * 2, ['book(seat=5)', 'cancel()'], calls=rows['calls']) == [0.0, 0.0]


def test_null_in_json_text_is_expected_to_the_letter():
    for made, right in ((dict(note=None), True), (dict(), False)):
        assert same_calls([('book', made)], [('book', '{"note": null}')]) == right


def test_each_expected_call_needs_its_own():
    loose, exact = ('f', dict(x=1, n=None)), ('f', dict(x=1))
    made = [('f', dict(x=1)), ('f', dict(x=1, n=None))]
    for expected in ([loose, exact], [exact, loose]):
        assert same_calls(made, expected) and same_calls(made[::-1], expected)
    assert not same_calls(made[:1] * 2, [('f', '{"x": 1, "n": null}'), exact])
    assert same_calls(made, [exact], extra=True) and not same_calls(made, [exact])
    assert same_calls(made, [loose, loose], in_order=True) and not same_calls(made[1:], [exact], in_order=True)
    assert same_calls([], []) and not same_calls([], [exact])


@pytest.mark.parametrize('expected', [('book', 'seat 4'), 'book', ('book',), dict(arguments={}), ('book', [4])])
def test_what_is_no_expected_call_is_refused_with_its_row(expected):
    with pytest.raises(ValueError, match="'calls_match': row 1 of the column 'calls': "):
        calls_match()([None] * 2, ['f()', 'f()'], calls=[None, [expected]])


def test_every_call_of_a_turn_must_exist():
    two = calling(('book', {}), ('delete', {}), content='One moment.')
    assert tools_exist(['book'])([None] * 2, [two, two[:0]]) == [0.0, None]
    assert tools_exist(['book', 'delete'])([None], [two]) == [1.0]


def test_no_torch():
    script = "import rlops_lab.rewards.turns, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', script]).returncode == 0
