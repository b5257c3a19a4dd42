"Paraphrases are understood; lies, lists and half answers are not"

import json
from pathlib import Path

import pytest
from support_cases import told

from rlops_lab.environments.support_desk.cases import DESK_FAMILIES
from rlops_lab.environments.support_desk.claims import claims
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle_step

DATA = Path(__file__).parents[3] / 'data' / 'support_desk'
ANSWERS = json.loads((DATA / 'answers.json').read_text(encoding='utf-8'))
SOUP = [
    "Refunded {total}, cancelled, address changed, escalated to a colleague, not shipped, shipped, delivered, lost, "
    "late, past the window, final sale, already refunded, zip does not match, {days}.",
    "I have refunded {total}. I have cancelled it. I changed the address. A colleague will contact you. "
    "It shipped {days} ago. It leaves in {days}. Sorry, I cannot verify you.",
    "Sorry, it is past the 30 day window, final sale, already refunded, already shipped, and I cannot verify you.",
    "Sorry, I can't refund, cancel or change it: it is late, it has shipped, it is final sale, "
    "it was refunded before, the zip does not match.",
]


@pytest.mark.parametrize('family,text', [(f, t) for f, a in ANSWERS.items() for t in a['true']])
def test_a_true_answer_counts_in_any_words(family, text):
    for env, message in told(family, text):
        assert env.resolved and env.get_reward() == 1, (message, claims(message))


@pytest.mark.parametrize('family,text', [(f, t) for f, a in ANSWERS.items() for t in a['false']])
def test_an_untrue_or_empty_answer_does_not(family, text):
    for env, message in told(family, text):
        assert not env.resolved and env.get_reward() <= 0.2, (message, claims(message))


@pytest.mark.parametrize('family', DESK_FAMILIES)
def test_listing_every_claim_fails(family):
    for text in SOUP:
        for env, message in told(family, text):
            assert not env.resolved, (message, claims(message))


def test_a_lie_on_the_way_spoils_the_end():
    env = SupportDesk()
    env.reset('vague', 4)
    env.answer("It was delivered today. Could you give me your order number and zip?")
    while not env.done:
        name, arguments = oracle_step(env)
        getattr(env, name)(**arguments)
    assert env.right_state and not env.resolved
