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
        ('a refund (of the lamp)', True),
        ('I want a refund', False),
        ('{"name": "refund"}', True),
        ('"refund"', True),
    ],
)
def test_a_call_is_no_word(text, found):
    assert bool(leaks(text, [secret_call('refund')], [])) == found


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
