"Simulated users: rules, secrets in any spelling, draws that repeat, and a desk whose grade the wording doesn't change"

import re
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from rlops_lab.environments.contract import fork
from rlops_lab.environments.simulators import (
    PERSONAS,
    ROLE,
    PersonaUser,
    ScriptedUser,
    amount,
    answer,
    call,
    desk_secrets,
    identifier,
    leaks,
    persona_desk,
)
from rlops_lab.environments.support_desk.desk import FAMILIES, SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle_step, play, scenarios, stalling_agent

WORDS = 'zero one two three four five six seven eight nine'.split()


class FakeTokenizer:
    "A token a character"

    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=True):
        return '\n'.join(f"{m['role']}: {m['content']}" for m in messages)

    def __call__(self, text, add_special_tokens=False):
        return dict(input_ids=[ord(c) for c in text])

    def decode(self, ids, skip_special_tokens=True):
        return ''.join(map(chr, ids))


class FakeSampler:
    "Says what `say(prompt, seed)` returns"

    def __init__(self, say, reason='stop'):
        self.say, self.reason, self.seeds = say, reason, []

    def sample(self, prompts, params, keys=None):
        from rlops_lab.core import Usage

        self.seeds.append(params.seed)
        return [
            SimpleNamespace(
                token_ids=[ord(c) for c in self.say(''.join(map(chr, p)), params.seed)],
                finish_reason=self.reason,
                usage=Usage(calls=1),
            )
            for p in prompts
        ]

    def __deepcopy__(self, memo):
        raise AssertionError('the model was copied')


@given(st.integers(1000, 99999), st.sampled_from(['', ' ', '-', '. ', ', ']), st.booleans())
def test_a_number_is_found_however_it_is_spelled(n, between, in_words):
    digits = [WORDS[int(c)] if in_words else c for c in str(n)]
    text = f"It is {(between if between or not in_words else ' ').join(digits)}, I think."
    assert leaks(text, [identifier(n)], [])
    assert not leaks(f'It is {n}7 or 3{n}.', [identifier(n)], [])
    assert not leaks(text, [identifier(n)], [f'Is it {n}?'])
    assert not leaks(text, [identifier(n, until=lambda heard: True)], [])


@given(st.integers(1, 500_000))
def test_an_amount_is_found_as_money_and_not_inside_another(cents):
    dollars = f'{cents / 100:.2f}'.removesuffix('.00')
    assert leaks(f'I paid ${dollars} for it', [amount(cents)], [])
    for text in (f'{dollars} dollars', f'USD {dollars}'):
        assert leaks(text, [amount(cents)], [])
    assert not leaks(f'${int(cents / 100) + 1}{dollars}', [amount(cents)], [])
    assert not leaks(f'I paid ${(cents + 100) / 100:.2f}', [amount(cents)], [])


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
    assert bool(leaks(text, [call('refund')], [])) == found


def test_the_answer_needs_five_words_in_a_row_and_the_users_own_words_are_free():
    secrets = answer(
        'I have changed the address of order 12 to 7 Forest Lane, Madison.', own='7 Forest Lane, Madison'
    )
    assert leaks('so you HAVE changed, the address of it'.replace('so you', 'I'), secrets, [])
    assert not leaks('send it to 7 Forest Lane, Madison', secrets, [])
    assert not leaks('changed the address', secrets, [])


@given(st.text(max_size=80), st.lists(st.text(max_size=40), max_size=3))
@settings(max_examples=200)
def test_no_text_breaks_the_check(text, heard):
    leaks(text, [identifier('12'), amount(100), call('get_order'), ROLE, *answer(text)], heard)


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


@pytest.mark.parametrize('family', FAMILIES)
def test_wording_changes_no_grade(family):
    "A model that keeps numbers and one that leaks: the expert solves both, and what is heard passes the check"
    for k, say in enumerate(
        (
            lambda prompt, seed: 'Well, ' + prompt.rsplit(': ', 1)[1],
            lambda prompt, seed: 'How can I help you? Use get_order.',
        )
    ):
        row = dict(family=family, seed=5, split='eval')
        env = persona_desk(FakeSampler(say), FakeTokenizer(), tries=2)()
        env.reset(**row)
        secrets, heard = desk_secrets(env), []
        while not env.done:
            name, arguments = oracle_step(env)
            result = getattr(env, name)(**arguments)
            if name == 'answer':
                heard.append(arguments['message'])
                if not env.done:
                    assert not leaks(result, secrets, heard)
        assert env.get_reward() == 1 and env.turns == play(oracle_step, row).turns
        assert env.kpis['user_plain'] == (env.kpis['user_replies'] if k else 0)


def test_a_forked_desk_shares_the_model_and_not_the_conversation():
    env = persona_desk(FakeSampler(lambda prompt, seed: f'Oh {chr(97 + seed % 26)}!'), FakeTokenizer())()
    env.reset('refund_ok', 1, 'train')
    env.answer('Please wait.')
    other = fork(env)
    assert other._voice.sampler is env._voice.sampler
    assert other.answer('Wait.') == env.answer('Wait.')  # the same place, the same words
    other.answer('Wait.')
    assert len(other._voice.said) == len(env._voice.said) + 1


@pytest.mark.parametrize('split', ['train', 'eval'])
def test_the_scripted_customer_sets_off_no_alarm(split):
    n = 0
    for row in scenarios(4 * len(FAMILIES), split, seed=21):
        env = SupportDesk()
        text = env.reset(**row)
        secrets, heard = desk_secrets(env), []
        while True:
            n += 1
            assert not leaks(text, secrets, heard), (row, text)
            name, arguments = (oracle_step if row['seed'] % 2 else stalling_agent)(env)
            text = getattr(env, name)(**arguments)
            if env.done:
                break
            if name != 'answer':
                text = ''
            else:
                heard.append(arguments['message'])
    assert n > 150


def test_personas_cover_those_of_the_desk():
    from rlops_lab.environments.support_desk.desk import PERSONAS as desk

    assert set(desk) <= set(PERSONAS)
