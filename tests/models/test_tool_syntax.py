"Replies that must be read right, or answered: never passed as text, never run with half of their arguments"

import pytest

from rlops_lab.models.tool_calls import THOUGHT_MARKS
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


@pytest.mark.parametrize('text', ['{"name": "Ann", "age": 41}', '{"name": "Ann", "car": {"parameters": 3}}'])
def test_an_object_that_names_no_tool_is_text(text):
    assert read('hermes', text) == read('llama', text) == Reply(text)


TWICE = {
    'python': 'look(n=1, n=2)',
    'lfm2': '<|tool_call_start|>[look(n=1, n=2)]<|tool_call_end|>',
    'hermes': '<tool_call>{"name": "look", "arguments": {"n": 1, "n": 2}}</tool_call>',
    'llama': '{"name": "look", "parameters": {"n": 1, "n": 2}}',
    'mistral': '[TOOL_CALLS]look[ARGS]{"n": 1, "n": 2}',
    'phi4': '<|tool_call|>[{"name": "look", "arguments": {"n": 1, "n": 1}}]<|/tool_call|>',
    'harmony': '<|channel|>commentary to=functions.look<|message|>{"n": 1, "n": 2}',
    'deepseek': '<｜tool▁call▁begin｜>look<｜tool▁sep｜>{"n": 1, "n": 2}<｜tool▁call▁end｜>',
    'gemma': '<|tool_call>call:look{n:1,n:2}<tool_call|>',
    'tags': '<tool_call><function=look><parameter=n>1</parameter><parameter=n>2</parameter></function></tool_call>',
    'glm': '<tool_call>look' + '<arg_key>n</arg_key><arg_value>1</arg_value>' * 2 + '</tool_call>',
}


@pytest.mark.parametrize('name', SYNTAXES)
def test_an_argument_that_is_written_twice_fails_the_call(name):
    with pytest.raises(ValueError, match='n is written twice'):
        read(name, TWICE[name])


@pytest.mark.parametrize('value', ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]'])
def test_so_does_a_key_of_an_object_among_the_arguments(value):
    call = f'{{"name": "look", "arguments": {{"n": {value}}}}}'
    for name, text in [('hermes', f'<tool_call>{call}</tool_call>'), ('llama', call), ('python', f'look(n={value})')]:
        with pytest.raises(ValueError, match='is written twice'):
            read(name, text)


def test_equal_keys_of_different_objects_are_no_twins():
    value = [dict(a=1), dict(a=2)]
    assert read('python', f'look(n={value}, m={{"n": 1}})').calls[0].arguments == dict(n=value, m=dict(n=1))


@pytest.mark.parametrize('start, end', THOUGHT_MARKS.items())
@pytest.mark.parametrize('name, call', [('python', 'look(n=1)'), ('mistral', '[TOOL_CALLS]look[ARGS]{"n": 1}')])
def test_a_call_counts_behind_the_thoughts_and_not_among_them(name, call, start, end):
    assert read(name, f'{start}\n{call}{end}Sorry.') == Reply('Sorry.', call)
    assert read(name, f'{start}\nHm.{end}{call}') == Reply('', 'Hm.', (LOOK,))
    assert read(name, f'Hm.{end}{call}', is_open=True) == Reply('', 'Hm.', (LOOK,))
    assert read(name, f'{start}a{end}\n{start}{call}{end}Sorry.') == Reply('Sorry.', f'a\n{call}')
    with pytest.raises(ValueError, match='close the thought'):
        read(name, f'{start}\n{call}')


def test_thoughts_that_mention_a_mark_are_thoughts():
    thought = '<|channel|>analysis<|message|>I could write to=functions.look<|end|>'
    assert read('harmony', thought + '<|start|>assistant<|channel|>final<|message|>Hi.').text == 'Hi.'


@pytest.mark.parametrize('odd', ['<|im_end|>', '</tool_call>', '<|channel|>', 'look up', '', '../look'])
def test_a_name_that_is_none_fails_the_call(odd):
    with pytest.raises(ValueError):
        read('llama', f'{{"name": "{odd}", "parameters": {{}}}}')
    assert read('llama', '{"name": "look.up-2", "parameters": {}}').calls[0].name == 'look.up-2'


@pytest.mark.parametrize(
    'name, text',
    [
        ('hermes', '{"n": 1}</tool_call>'),
        ('python', '{"n": 1}</tool_call>'),
        ('gemma', 'call:look{n:1}<tool_call|>'),
        ('hermes', '<arg_key>n</arg_key>'),
        ('glm', '<tool_call>look<arg_key>n</arg_key><arg_value>a</arg_value></arg_value></tool_call>'),
        ('hermes', '<tool_call>{"function": {"name": "look"}, "arguments": {"n": 1}}</tool_call>'),
    ],
)
def test_half_a_call_is_an_error(name, text):
    with pytest.raises(ValueError):
        read(name, text)


def test_an_id_that_the_policy_wrote_is_kept():
    call = read('mistral', '[TOOL_CALLS]look[CALL_ID]a1B2c3D4e[ARGS]{"n": 1}').calls[0]
    assert call == LOOK._replace(id='a1B2c3D4e')
