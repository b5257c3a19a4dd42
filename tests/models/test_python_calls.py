"Our own syntax: what is a call, what is a failed one, and what is a sentence"

import pytest

from rlops_lab.models.python_calls import closing, read_python
from rlops_lab.models.tool_calls import Reply, ToolCall

TOOLS = ['look', 'put', 'refund']
LOOK = ToolCall('look', dict(n=1))


@pytest.mark.parametrize(
    'text, said, names',
    [
        ('look(n=1)', '', ['look']),
        ('  look(n=1)\n', '', ['look']),
        ('look()', '', ['look']),
        ('look(n=1)\nput(amount=2)', '', ['look', 'put']),
        ('Sure.\n  look(n=1)\n\n  put(amount=2)', 'Sure.', ['look', 'put']),
        ('put(\n  amount=2,\n  note="a(b"\n)', '', ['put']),
        ('put(note="""a\nlook(n=1)\nb""")', '', ['put']),
        ('look(n=1)  # the first', '', ['look']),
        ('refund(s) take three days.\nlook(n=1)', 'refund(s) take three days.', ['look']),
        ('find(n=1)', '', ['find']),  # no tool: it fails when it is made, and the policy reads which there are
        ('find(n=1)\nlook(n=1)', '', ['find', 'look']),
    ],
)
def test_calls(text, said, names):
    reply = read_python(text, TOOLS)
    assert reply.text == said and [call.name for call in reply.calls] == names


@pytest.mark.parametrize(
    'text',
    [
        'look(1)',
        'look(order)',
        'look(n=1',
        'look(n="1',
        'look(',
        'look(n=A12)',
        'look(n=1, n=2)',
        'look(n=1); put(amount=2)',
        'look(n=1) and so on',
        'look(n=1)\nThen I tell you.',
        'look("4821") and so on',
        'Sure.\nlook(order)',
        'Sure.\nlook(n=1',
        'look(n={1: 2, 1: 3})',
        'find("4821")',
    ],
)
def test_failed_calls(text):
    with pytest.raises(ValueError):
        read_python(text, TOOLS)


@pytest.mark.parametrize(
    'text',
    [
        'The item(s) are late.',
        'item(s) are late',
        'refund(s)',
        'match(es)',
        'Late are\nrefund(s) and item(s)',
        'I will call look(order) later',
        'I say look(n=1) now',
        'look(order) comes later',
        'find(order)',
        'find(n=1) is no tool of ours',
        'Try this:\nprint(x=1)',
        '```\nlook(n=1)\n```',
        '',
    ],
)
def test_sentences(text):
    assert read_python(text, TOOLS) == Reply(text)


def test_without_the_tools_any_name_may_be_one():
    assert read_python('find(n=1)').calls[0].name == 'find'
    assert read_python('item(s) are late') == Reply('item(s) are late')
    for text in ('find(order)', 'find(n=1) and so on'):
        with pytest.raises(ValueError):
            read_python(text)


def test_brackets_and_quotes_of_an_argument_close_nothing():
    assert closing('f(")", \'(\', [1], {})x', 2) == len('f(")", \'(\', [1], {})')
    assert closing('f("\\")")', 2) == 8
    assert closing("f(it's)", 2) == 7
    assert closing('f(((', 2) == -1
