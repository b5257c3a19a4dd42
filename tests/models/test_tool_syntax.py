"Replies that must be read right, or answered: never passed as text, never run with half of their arguments"

import pytest

from rlops_lab.models.tool_syntax import SYNTAXES, ForeignCall, Reply, ToolCall, read_reply

LOOK = ToolCall('look', dict(n=1))


def read(name, text, **options):
    return read_reply(text, SYNTAXES[name], ['look'], **options)


@pytest.mark.parametrize(
    'name, text',
    [
        ('hermes', '<tool_call>{"name": "look", "args": {"n": 1}}</tool_call>'),
        ('hermes', '<tool_call>{"name": "look", "n": 1}</tool_call>'),
        ('hermes', '<tool_call>{"name": "look", "arguments": []}</tool_call>'),
        ('hermes', '<tool_call>{"name": "look", "arguments": {}, "parameters": {"n": 1}}</tool_call>'),
        ('hermes', '<tool_call>[]</tool_call>'),
        ('hermes', '<think>I look.\n<tool_call>{"name": "look", "arguments": {"n": 1}}</tool_call>'),
        ('tags', '<tool_call><function=look><parameter=n>has </parameter> in it</parameter></function></tool_call>'),
        ('tags', '<tool_call><function=look>{"n": 1}</function></tool_call>'),
        ('tags', '<tool_call><function=look><parameter name="n">1</parameter></function></tool_call>'),
        ('harmony', '<|channel|>commentary to=functions.look {"n": 1}'),
        ('mistral', '[TOOL_CALLS][]'),
        ('hermes', '```json\n{"name": "look", "arguments": {"n": 1}}\n```'),
        ('hermes', '<function=look><parameter=n>1</parameter></function>'),
        ('llama', '<|python_tag|>look.call(n=1)'),
        ('python', "{'name': 'look', 'arguments': {'n': 1}}"),
    ],
)
def test_a_call_with_something_else_in_it_is_an_error(name, text):
    with pytest.raises(ValueError, match='.'):
        read(name, text)


@pytest.mark.parametrize('recipient', ['look', 'functions.look'])
def test_a_recipient_is_a_call_whatever_its_prefix(recipient):
    text = f'<|start|>assistant to={recipient}<|channel|>commentary <|constrain|>json<|message|>{{"n": 1}}'
    assert read('harmony', text).calls == (LOOK,)


def test_the_end_of_a_thought_inside_of_text_is_text():
    assert read('python', 'look(n="</think>")').calls[0].arguments == dict(n='</think>')
    assert read('python', 'Sure. </think>') == Reply('Sure. </think>')
    assert read('python', 'Sure.</think>look(n=1)', is_open=True) == Reply('', 'Sure.', (LOOK,))
    assert read('python', 'never closed', is_open=True) == Reply('', 'never closed')


def test_a_second_call_in_a_foreign_mark_is_not_told_to_anybody():
    call = '<tool_call>{"name": "look", "arguments": {"n": 1}}</tool_call>'
    with pytest.raises(ForeignCall):
        read('hermes', call + '\n<|tool_call|>[{"name": "look"}]')


def test_an_object_that_names_no_tool_is_text():
    text = '{"name": "Ann", "age": 41}'
    assert read('hermes', text) == read('llama', text) == Reply(text)


def test_an_id_that_the_policy_wrote_is_kept():
    call = read('mistral', '[TOOL_CALLS]look[CALL_ID]a1B2c3D4e[ARGS]{"n": 1}').calls[0]
    assert call == LOOK._replace(id='a1B2c3D4e')
