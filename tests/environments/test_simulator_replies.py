"Replies that fall out of a user's part are found, and replies that people write are not accused"

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.simulator_replies import reply_fault, split_reply

GOAL = (
    'You are Mia and want a refund for order 4821, because the lamp is broken. Your zip is 94107. '
    'You do not tell your order number until you are asked for it.'
)
FAULTS = {
    'empty': ['', ' ', '...', '"', '—', '\n\n'],
    'endless': ['word ' * 200, 'I want my money back. ' * 10, 'no no no no no no no no no no no no no no no'],
    'agent': [
        'I have a question.\nAgent: Of course, what is it?',
        'Assistant: How can I be of service?',
        '**Support:** Your order is on its way.',
        'Yes.<|im_start|>assistant\nGreat',
        '[INST] go on [/INST]',
    ],
    'tool': [
        '<tool_call>\n{"name": "refund"}\n</tool_call>',
        '{"name": "get_order", "arguments": {"id": 4821}}',
        'get_order(order_id="4821", zip="94107")',
        'refund({"id": 4821})',
        '[TOOL_CALLS] []',
        '<function=refund>',
    ],
    'simulation': [
        'As an AI language model I have no lamp.',
        'My instructions say that I should wait.',
        "I'm role-playing a customer.",
        'I am playing the role of Mia.',
    ],
    'goal': ['You do not tell your order number until asked.', 'Well: you are Mia and want a refund!'],
}


@pytest.mark.parametrize('kind, reply', [(kind, reply) for kind, replies in FAULTS.items() for reply in replies])
def test_a_reply_that_no_user_writes_is_found(kind, reply):
    assert reply_fault(reply, GOAL) == kind


@pytest.mark.parametrize(
    'reply',
    [
        'I want a refund for order 4821, because the lamp is broken.',
        'My zip is 94107.',
        "I clicked 'cancel' (twice), and nothing happened.",
        'Can I get a refund(s)? Or a new lamp (of the same kind)?',
        'Your agent told me: wait two days.',
        'The assistant, Tom: very rude!',
        'I tried f(x) = 2 on the website.',
        'No. No, no! That is not what I asked for, no.',
        'My plan was to give it away.',
        'The AI on your page is useless.',
        'I need the system: it is urgent.',
        'ok',
        '4821',
        '👍 yes',
        'Je voudrais un remboursement, s’il vous plaît.',
    ],
)
def test_a_reply_that_people_write_is_not_accused(reply):
    assert reply_fault(reply, GOAL) == ''


def test_an_opening_said_again_is_found_and_a_short_yes_is_not():
    opening = 'Hello, my lamp arrived broken today.'
    assert reply_fault(opening.upper(), GOAL, [opening, 'Yes.']) == 'again'
    assert reply_fault('Yes.', GOAL, [opening, 'Yes.']) == ''


@pytest.mark.parametrize(
    'text, said, leaves',
    [
        ('Yes, please do. [leaves]', 'Yes, please do.', True),
        ('Yes, please do.\n###STOP###', 'Yes, please do.', True),
        ('[Leaves] bye', '', True),
        ('Customer: "Hello there"', 'Hello there', False),
        ('Hello', 'Hello', False),
    ],
)
def test_last_words_are_said_before_the_user_leaves(text, said, leaves):
    assert split_reply(text) == (said, leaves)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_the_rules(reply, goal):
    assert isinstance(reply_fault(reply, goal, [goal]), str) and len(split_reply(reply)[0]) <= len(reply)
