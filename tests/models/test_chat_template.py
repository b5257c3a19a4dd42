"Calls that can be read, calls that can't, and tokenizers that our template does not fit"

import pytest

from rlops_lab.models.chat_template import setup_chat_format
from rlops_lab.models.tool_syntax import parse_call
from rlops_lab.models.load import load


def test_our_template_needs_the_tokens_of_chatml():
    _, tokenizer = load('tiny')
    tokenizer.convert_tokens_to_ids = lambda token: None
    with pytest.raises(ValueError, match='ChatML'):
        setup_chat_format(tokenizer)


@pytest.mark.parametrize(
    'text',
    [
        'refund(order_id="1", amount=1',
        'refund("1")',
        'refund(**x)',
        'refund(a=[x for x in y])',
        'refund(a=1); cancel(b=2)',
        'a(b="c"',
    ],
)
def test_a_call_that_cannot_be_read_raises(text):
    with pytest.raises(ValueError):
        parse_call(text)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('  ask(x="a(b)") ', ('ask', {'x': 'a(b)'})),
        ('f()', ('f', {})),
        ("f(a='it\\'s', b=-2, c=None)", ('f', dict(a="it's", b=-2, c=None))),
        ('Hello (there)', None),
        ('', None),
    ],
)
def test_calls_and_plain_text_are_told_apart(text, expected):
    assert parse_call(text) == expected
