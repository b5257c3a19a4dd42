"Calls in a form that is not read are told, in every syntax, and sentences that only look like calls are sentences"

import pytest

from rlops_lab.models.tool_syntax import SYNTAXES, ForeignCall, Reply, ToolCall, read_reply
from rlops_lab.models.unread_calls import unread_call

TOOLS = ['look', 'put', 'refund', 'lookup']
LOOK = ToolCall('look', dict(n=1))

CALLS = [
    'Action: look(n=1)',
    'Thought: I look.\nAction: look(n=1)\nObservation:',
    '**Action:** `look(n=1)`',
    'Action: look(order)',
    'Action: look(n=1) to find out',
    'Action: look[order]',
    'Action: look\nAction Input: {"n": 1}',
    'Tool: look\nArguments: n=1',
    '`look(n=1)`',
    '**look(n=1)**',
    '"look(n=1)"',
    '```python\nlook(n=1)\n```',
    '```tool_code\nprint(look(n=1))\n```',
    'Sure:\n```\nx = 1 + look(n=1)\n```\nDone.',
    '```python\nlook(n=1)',
    '- look(n=1)',
    '* look()',
    '1. look(n=1)\n2. put(amount=1)',
    '2) look("4821")',
    '(a) look(n=1)',
    '> look(n=1)',
    'Step 1 - look(n=1)',
    'Let me check: look(n=1)',
    'One moment! look(n=1).',
    'order = look(n=1)',
    'await look(n=1)',
    'print(look(n=1))',
    'functions.look(n=1)',
    '[look(n=1), put(amount=1)]',
    '- look(n: "4")',
    '- look(n=1)  # the order',
    'look {"n": 1}',
    'look\n{"n": 1}',
    'look[ARGS]{"n": 1}',
    '{"name": "look", "arguments": {"n": 1}}x',
    '{"tool": "look", "tool_input": {"n": 1}}',
    '{"action": "look", "action_input": "1"}',
    '{"function": "look", "args": []}x',
    '{"cmd": "look(n=1)"}',
    '<function=look>{"n": 1}</function>',
    '<invoke name="look"><parameter name="n">1</parameter></invoke>',
    '<tool_name>look</tool_name>',
    '<look><n>1</n></look>',
    '<look n="1"/>',
    '<function_call>look(n=1)</function_call>',
    'name: look\narguments:\n  n: 1',
]

SENTENCES = [
    'The item(s) are on the way.',
    'Your refund(s) will take three days.',
    'refund(s)',
    'refund(s) and item(s) are late',
    '- refund(s)\n- exchange(s)',
    'I will call lookup(order) later',
    'I will call look(n=1) now.',
    'I called look(n=1) and found 4.',
    'I looked with `look(n=1)`, as you said.',
    'lookup(order) later tells us more',
    'put(2) of them into the till',
    'You can look (or not).',
    'Use `lookup(order)` to see an order.',
    '- lookup(order): shows an order',
    '- look(n=1) shows the first',
    'My plan:\n1. look(n=1) to see it\n2. put(amount=1) to pay',
    'The result of look(n=1): 4',
    'Action: look again, please',
    'Next action: none. Input: yes',
    'Look: it is here.',
    'look',
    'put: 3',
    'Let me look {at it}.',
    '{"name": "Ann", "age": 41}',
    '{"action": "refund", "reason": "late"}',
    '{"look": "good"}',
    '{"refund": {"amount": 3}}',
    '```python\ndef look(n=1):\n    return n\n```',
    '```python\nprint(x=1)\n```',
    '```python\nsubprocess.look(["ls"])\n```',
    '<answer>42</answer>',
    '<look>good</look>',
    'usage: tool [ARGS]',
    'f(x=1) is the value.',
    'f(x)',
    'Look (n is 1).',
]


@pytest.mark.parametrize('name', SYNTAXES)
@pytest.mark.parametrize('text', CALLS)
def test_a_call_in_another_form_is_told(name, text):
    with pytest.raises(ValueError):
        read_reply(text, SYNTAXES[name], TOOLS)


@pytest.mark.parametrize('name', SYNTAXES)
@pytest.mark.parametrize('text', SENTENCES)
def test_a_sentence_is_a_sentence(name, text):
    assert read_reply(text, SYNTAXES[name], TOOLS) == Reply(text)


@pytest.mark.parametrize('name', [name for name in SYNTAXES if name != 'python'])
@pytest.mark.parametrize('text', ['look(n=1)', 'Sure.\nlook(n=1)', '  look()', 'look("4821")'])
def test_a_call_as_python_is_another_form_for_the_others(name, text):
    with pytest.raises(ForeignCall, match='looks like a call of look'):
        read_reply(text, SYNTAXES[name], TOOLS)


def test_a_call_beside_one_that_was_read_is_told_too():
    call = '<tool_call>{"name": "look", "arguments": {"n": 1}}</tool_call>'
    assert read_reply('Wait.' + call, SYNTAXES['hermes'], TOOLS).calls == (LOOK,)
    with pytest.raises(ForeignCall):
        read_reply('- put(amount=1)\n' + call, SYNTAXES['hermes'], TOOLS)


def test_only_tools_of_the_row_are_meant():
    assert [unread_call('Action: look(n=1)', tools) for tools in (TOOLS, ['put'], [])] == ['look', '', '']
    assert unread_call('Action: outlook(n=1)', TOOLS) == unread_call('Action: look_up(n=1)', TOOLS) == ''


def test_a_long_reply_is_searched_in_no_time():
    import time

    begin = time.perf_counter()
    repeated = 'look(', '{"name": ', 'action: look ', '```', '<look ', '- look(x\n', '\n', 'look("', '<tool_call>'
    for text in repeated:
        unread_call(text * 5000 + 'look(n', TOOLS)
    assert time.perf_counter() - begin < 5
