"The expert solves every case, bad agents do not; rows and playbooks"

import pytest
from support_cases import fill

from rlops_lab.environments.support_desk.cases import DESK_FAMILIES, QUEUES
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.records import SPLITS, desk_samples, world
from rlops_lab.environments.support_desk.scenarios import (
    demonstrate,
    never_escalate_agent,
    oracle_step,
    playbook,
    random_agent,
    run_scripted_case,
    scenarios,
    stalling_agent,
)

SEEDS = range(60)


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('family', DESK_FAMILIES)
def test_the_expert_solves_every_case(family, split):
    for seed in SEEDS:
        env = run_scripted_case(oracle_step, dict(family=family, seed=seed, split=split))
        assert env.kpis['verified_resolution'] == 1 and env.get_reward() == 1 and env.wrongful == 0, (
            seed,
            env.case.text,
            env.kpis,
        )
        assert env.turns <= 5


@pytest.mark.parametrize('split', SPLITS)
def test_bad_agents_do_not(split):
    rows = scenarios(360, split, seed=7)
    for agent, most in ((random_agent, 0.02), (stalling_agent, 0.0)):
        assert sum(run_scripted_case(agent, r).kpis['verified_resolution'] for r in rows) / len(rows) <= most
    paid = [run_scripted_case(never_escalate_agent, r) for r in rows]
    assert all(e.kpis['containment'] == 1 for e in paid)
    assert {e.case.family for e in paid if not e.kpis['verified_resolution']} == {
        'refund_over_limit',
        'legal_threat',
    }
    assert all(e.wrongful == 1 and e.get_reward() == -0.5 for e in paid if not e.kpis['verified_resolution'])


@pytest.mark.parametrize(
    'always',
    [
        'Sorry, order {order} has already shipped, so I cannot do this.',
        'Sorry, it was delivered {days} ago, past our 30 day refund window.',
        'Order {order} is on its way, it shipped {days} ago.',
        'Sorry, I cannot verify you.',
    ],
)
def test_one_sentence_for_everybody_solves_only_its_own_families(always):
    "An agent that looks up the order and then says the same to all, without having to read."
    solved = set()
    for row in scenarios(90, 'eval', seed=3):
        env = SupportDesk()
        env.reset(**row)
        if env.case.given:
            env.get_order(env.case.given['order'], env.case.given['zip'])
        for _ in range(3):
            env.answer(fill(always, env))
        if env.resolved:
            solved.add(row['family'])
    assert len(solved) <= 4 and not solved & {
        'refund_ok',
        'cancel_open',
        'address_open',
        'lost_parcel',
        'refund_over_limit',
        'legal_threat',
    }


def test_rows():
    rows = scenarios(200, 'eval', seed=1)
    assert rows == scenarios(200, 'eval', seed=1) != scenarios(200, 'eval', seed=2)
    assert len({(r['family'], r['seed']) for r in rows}) == len(rows) == 200
    counts = [sum(r['family'] == f for r in rows) for f in DESK_FAMILIES]
    assert max(counts) - min(counts) <= 1
    for r in rows:
        env = SupportDesk()
        text = env.reset(**r)
        assert (
            r['queue'] == env.case.queue in QUEUES
            and r['prompt'][-1]['content'] == ''
            and 4 <= len(text.split()) <= 60
        )
    assert {r['family'] for r in scenarios(10, families=['vague', 'impostor'])} == {'vague', 'impostor'}


def test_episodes_are_deterministic():
    for family in DESK_FAMILIES:
        row = dict(family=family, seed=9, split='eval', prompt=[dict(role='user', content='')])
        assert demonstrate(row) == demonstrate(row)
    assert world('train').image == world.__wrapped__('train').image


@pytest.mark.parametrize('queue', QUEUES)
def test_playbooks_show_training_cases_only(queue):
    text = ' '.join(m['content'] for m in playbook(queue)[1:])
    held_out = desk_samples('pools')['eval']
    assert not any(p in text for p in held_out['product'] + held_out['street'])
    assert sum(m['role'] == 'user' for m in playbook(queue)) >= 4
    playbook(queue)[0]['content'] = 'changed'
    assert playbook(queue)[0]['content'] != 'changed'
