"The desk's customers: words change no grade, and the scripted one sets off no alarm"

import pytest
from fake_users import FakeSampler, FakeTokenizer

from rlops_lab.environments.contract import fork
from rlops_lab.environments.simulators import PERSONAS, leaks
from rlops_lab.environments.support_desk.cases import DESK_FAMILIES, DESK_PERSONAS
from rlops_lab.environments.support_desk.customers import desk_secrets, persona_desk
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import (
    oracle_step,
    run_scripted_case,
    scenarios,
    stalling_agent,
)


@pytest.mark.parametrize('family', DESK_FAMILIES)
def test_wording_changes_no_grade(family):
    "A model that keeps numbers and one that leaks: the expert solves both, and what is messages passes the check"
    for k, say in enumerate(
        (
            lambda prompt, seed: 'Well, ' + prompt.rsplit(': ', 1)[1],
            lambda prompt, seed: 'How can I help you? Use get_order.',
        )
    ):
        row = dict(family=family, seed=5, split='eval')
        env = persona_desk(FakeSampler(say), FakeTokenizer(), tries=2)()
        env.reset(**row)
        secrets, messages = desk_secrets(env), []
        while not env.done:
            name, arguments = oracle_step(env)
            result = getattr(env, name)(**arguments)
            if name == 'answer':
                messages.append(arguments['message'])
                if not env.done:
                    assert not leaks(result, secrets, messages)
        assert env.get_reward() == 1 and env.turns == run_scripted_case(oracle_step, row).turns
        assert env.kpis['user_plain'] == (env.kpis['user_replies'] if k else 0)


def test_a_forked_desk_shares_the_model_and_not_the_conversation():
    env = persona_desk(FakeSampler(lambda prompt, seed: f'Oh {chr(97 + seed % 26)}!'), FakeTokenizer())()
    env.reset('refund_ok', 1, 'train')
    env.answer('Please wait.')
    other = fork(env)
    assert other._voice.sampler is env._voice.sampler
    assert other.answer('Wait.') == env.answer('Wait.')  # the same place, the same words
    other.answer('Wait.')
    assert len(other._voice.replies) == len(env._voice.replies) + 1


@pytest.mark.parametrize('split', ['train', 'eval'])
def test_the_scripted_customer_sets_off_no_alarm(split):
    n = 0
    for row in scenarios(4 * len(DESK_FAMILIES), split, seed=21):
        env = SupportDesk()
        text = env.reset(**row)
        secrets, messages = desk_secrets(env), []
        while True:
            n += 1
            assert not leaks(text, secrets, messages), (row, text)
            name, arguments = (oracle_step if row['seed'] % 2 else stalling_agent)(env)
            text = getattr(env, name)(**arguments)
            if env.done:
                break
            if name != 'answer':
                text = ''
            else:
                messages.append(arguments['message'])
    assert n > 150


def test_personas_cover_those_of_the_desk():
    assert set(DESK_PERSONAS) <= set(PERSONAS)
