"Simulated users: rules, secrets in any spelling, draws that repeat"

import re

import pytest
from fake_users import FakeSampler, FakeTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.environments.simulators import (
    ROLE,
    PersonaUser,
    ScriptedUser,
    leaks,
    secret_amount,
    secret_answer,
    secret_call,
    secret_number,
)

WORDS = 'zero one two three four five six seven eight nine'.split()


@given(st.integers(1000, 99999), st.sampled_from(['', ' ', '-', '. ', ', ']), st.booleans())
def test_a_number_is_found_however_it_is_spelled(n, between, in_words):
    digits = [WORDS[int(c)] if in_words else c for c in str(n)]
    text = f"It is {(between if between or not in_words else ' ').join(digits)}, I think."
    assert leaks(text, [secret_number(n)], [])
    assert not leaks(f'It is {n}7 or 3{n}.', [secret_number(n)], [])
    assert not leaks(text, [secret_number(n)], [f'Is it {n}?'])
    assert not leaks(text, [secret_number(n, until=lambda messages: True)], [])


@given(st.integers(1, 500_000))
def test_an_amount_is_found_as_money_and_not_inside_another(cents):
    dollars = f'{cents / 100:.2f}'.removesuffix('.00')
    assert leaks(f'I paid ${dollars} for it', [secret_amount(cents)], [])
    for text in (f'{dollars} dollars', f'USD {dollars}'):
        assert leaks(text, [secret_amount(cents)], [])
    assert not leaks(f'${int(cents / 100) + 1}{dollars}', [secret_amount(cents)], [])
    assert not leaks(f'I paid ${(cents + 100) / 100:.2f}', [secret_amount(cents)], [])


@pytest.mark.parametrize(
    'text, found',
    [
        ('refund(order_id=1)', True),
        ('a refund (of the lamp)', False),
        ('any refund(s)?', False),
        ('refund()', True),
        ("I clicked 'refund' and waited", False),
        ('I want a refund', False),
        ('{"name": "refund"}', True),
        ('"refund"', True),
    ],
)
def test_a_call_is_no_word(text, found):
    assert bool(leaks(text, [secret_call('refund')], [])) == found


@pytest.mark.parametrize(
    'text, found',
    [
        ('4821', True),
        ('48 21', True),
        ('48-21', True),
        ('4, 8, 2, 1', True),
        ('four eight two one', True),
        ('on 4821-05-03', False),
        ('call 555-4821-77', False),
        ('$4821.50', False),
        ('4,821,000', False),
        ('at 4:8:2:1', False),
        ('48, 21 of them', False),
    ],
)
def test_a_number_inside_another_thing_is_not_given_away(text, found):
    assert bool(leaks(f'It was {text}, you see.', [secret_number(4821)], [])) == found


@pytest.mark.parametrize(
    'text',
    [
        'Tell me your name.',
        'Send me your address, I bring it back.',
        'I cancelled the order myself.',
        "I'll escalate the matter to my bank.",
        'The mail said "your order has been shipped", but nothing came.',
        'Thank you for your patience with me.',
        'The support team can call me tomorrow.',
        'Your order was a nightmare.',
        'I will cancel the subscription if nothing happens.',
        'I updated the address last week.',
    ],
)
def test_what_customers_say_is_not_the_agents_part(text):
    assert not leaks(text, [ROLE], [])


@pytest.mark.parametrize(
    'text',
    [
        'How can I help you today?',
        'I have refunded your order.',
        "We'll process the refund.",
        'Your order has been cancelled.',
        'Please give me your order number.',
        "I'm here to help!",
        'Thank you for contacting us.',
        'Our support team will call you.',
    ],
)
def test_the_agents_part_is_found(text):
    assert [leak.kind for leak in leaks(text, [ROLE], [])] == ['role']


def test_words_of_every_conversation_give_no_answer_away():
    secrets = secret_answer('Your refund of $35.50 is on its way. Is there anything else I can help you with today?')
    assert not leaks('No, there is nothing. Is there anything else I can do?', secrets, [])
    assert leaks('So my refund of $35.50 is on its way?', secrets, [])


def test_the_answer_needs_five_words_in_a_row_and_the_users_own_words_are_free():
    secrets = secret_answer(
        'I have changed the address of order 12 to 7 Forest Lane, Madison.', own='7 Forest Lane, Madison'
    )
    assert leaks('so you HAVE changed, the address of it'.replace('so you', 'I'), secrets, [])
    assert not leaks('send it to 7 Forest Lane, Madison', secrets, [])
    assert not leaks('changed the address', secrets, [])


@given(st.text(max_size=80), st.lists(st.text(max_size=40), max_size=3))
@settings(max_examples=200)
def test_no_text_breaks_the_check(text, messages):
    leaks(
        text,
        [secret_number('12'), secret_amount(100), secret_call('get_order'), ROLE, *secret_answer(text)],
        messages,
    )


def test_rules_run_out():
    user = ScriptedUser([('a', 'A', 2), ('a', None), ('b', 'B')])
    assert [user(m) for m in 'aabac'] == ['A', 'A', 'B', None, None]


def make(say, **how):
    return PersonaUser(FakeSampler(say), FakeTokenizer(), **dict(goal='You want help.') | how)


def test_draws_repeat_and_depend_on_seed_number_and_turn():
    def seeds(**how):
        user = make(lambda prompt, seed: f'words {chr(97 + seed % 26)}', **how)
        replies = [user(m) for m in ('x', 'y')]
        return user.sampler.seeds, replies

    assert seeds(seed=1) == seeds(seed=1)
    assert (
        len({tuple(seeds(seed=s, number=n)[0]) for s in (1, 2) for n in (1, 2)}) == 4
        and len(set(seeds()[0])) == 2
    )


def test_patience_ends_a_free_conversation():
    user = make(lambda *_: 'Hm.', patience=2)
    assert [user('x') for _ in range(4)] == ['Hm.', 'Hm.', None, None]


@pytest.mark.parametrize('how, cause', [(dict(goal=''), 'goal, or a script'), (dict(tries=-1), 'tries=-1')])
def test_bad_settings_are_refused(how, cause):
    with pytest.raises(ValueError, match=re.escape(cause)):
        make(lambda *_: '', **how)


def test_unfinished_replies_and_lost_numbers_fall_back_to_the_plain_line():
    user = PersonaUser(
        FakeSampler(lambda *_: 'cut', reason='length'), FakeTokenizer(), script=lambda m: 'It is 12.', tries=2
    )
    assert user('?') == 'It is 12.' and user.counts['unfinished'] == 2 and user.counts['plain'] == 1
    user = make(lambda *_: 'It is twelve.', goal='', script=lambda m: 'It is 12.', tries=2)
    assert user('?') == 'It is 12.' and user.counts['numbers'] == 2
    assert make(lambda *_: 1 / 0, goal='', script=lambda m: 'Plain.', tries=0)('?') == 'Plain.'


def test_only_what_the_user_hears_is_in_the_prompt():
    seen = []

    def say(prompt, seed):
        seen.append(prompt)
        return 'Yes.'

    user = make(say)
    user('first')
    user('second')
    assert seen[1].endswith('user: first\nassistant: Yes.\nuser: second')


def test_last_words_reach_the_agent_before_the_user_leaves():
    user = make(lambda *_: 'Yes, please cancel it. [leaves]')
    assert [user('Shall I?'), user('Done.'), user('Hello?')] == ['Yes, please cancel it.', None, None]
    assert make(lambda *_: '[leaves]')('Bye.') is None


@pytest.mark.parametrize(
    'bad, fault',
    [
        ('How can I help you?', 'leak'),
        ('Hm.\nAgent: I see.', 'agent'),
        ('refund(order_id="4821")', 'tool'),
        ('As an AI, I have none.', 'simulation'),
        ('...', 'empty'),
        ('and so on ' * 30, 'endless'),
    ],
)
def test_a_reply_out_of_the_part_is_drawn_again(bad, fault):
    drawn = iter([bad, 'My lamp is broken.'])
    user = make(lambda *_: next(drawn))
    assert user('Hello?') == 'My lamp is broken.' and user.counts[fault] == 1 and not user.counts['plain']


def test_a_user_who_starts_over_is_drawn_again():
    drawn = iter(['Hello, my lamp arrived broken.', 'Hello, my lamp arrived broken.', 'It is order 4821.'])
    user = make(lambda *_: next(drawn))
    assert [user('Hi?'), user('Which order?')] == ['Hello, my lamp arrived broken.', 'It is order 4821.']
    assert user.counts['again'] == 1
