"The support desk: the expert solves it, nothing else does; paraphrases are understood, lies and lists are not."

import json
import random
from pathlib import Path

import pytest

from rlops_lab.environments.contract import call_tool, fork, tool_schemas, validate_environment
from rlops_lab.environments.support_desk.claims import Claim, claims
from rlops_lab.environments.support_desk.desk import FAMILIES, INTENT_QUEUE, QUEUES, SupportDesk, draw_case
from rlops_lab.environments.support_desk.records import (
    SPLITS,
    days_text,
    effects,
    money,
    numbers,
    open_db,
    record,
    samples,
    world,
)
from rlops_lab.environments.support_desk.scenarios import (
    demonstrate,
    never_escalate_agent,
    oracle_step,
    play,
    playbook,
    random_agent,
    scenarios,
    stalling_agent,
)

SEEDS = range(60)


def at_answer(family, seed, split='eval'):
    "An episode right before the expert's last message."
    env = SupportDesk()
    env.reset(family, seed, split)
    while True:
        before = fork(env)
        name, arguments = oracle_step(env)
        getattr(env, name)(**arguments)
        if env.done:
            return before


def fill(text, env):
    "A message with the case's true values."
    rec = record(env.db, env.case.wish['order'])
    paid = sum(e[2] for e in env.changed if e[0] == 'refund')
    return text.format(
        order=rec['order'],
        days=days_text(rec['days']),
        address=env.case.wish['address'],
        paid=money(paid),
        prior=money(rec['refunded']),
        total=money(rec['total']),
        item=env.case.wish['items'][0],
        name=rec['name'].split()[0],
    )


# ------------------------------------------------------------------ who solves it
@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('family', FAMILIES)
def test_the_expert_solves_every_case(family, split):
    for seed in SEEDS:
        env = play(oracle_step, dict(family=family, seed=seed, split=split))
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
        assert sum(play(agent, r).kpis['verified_resolution'] for r in rows) / len(rows) <= most
    paid = [play(never_escalate_agent, r) for r in rows]
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


def test_doing_nothing_earns_nothing():
    for family in FAMILIES:
        env = SupportDesk()
        env.reset(family, 5)
        assert env.get_reward() == 0 and env.turn_reward == 0


# ------------------------------------------------------------------ the splits
def test_splits_share_no_record():
    sql = (
        'select name from customers',
        'select zip from customers',
        'select order_id from orders',
        'select product from items',
        'select address from orders',
    )
    for q in sql:
        train, held_out = ({x for (x,) in open_db(s).execute(q)} for s in SPLITS)
        assert train and held_out and not train & held_out, q
    for pool in samples('pools')['train']:
        assert not set(samples('pools')['train'][pool]) & set(samples('pools')['eval'][pool])
    parts = [
        {w for a in samples('pools')[s]['street'] for w in a.split()[:1]}
        | {p for p in samples('pools')[s]['product']}
        for s in SPLITS
    ]
    assert not parts[0] & parts[1]


def leaves(x):
    if isinstance(x, str):
        return {x} if x else set()
    return {y for part in (x.values() if isinstance(x, dict) else x) for y in leaves(part)}


def test_splits_share_no_wording():
    train, held_out = (leaves(samples('wordings')[s]) for s in SPLITS)
    assert not {w.lower().strip(' .!?') for w in train} & {w.lower().strip(' .!?') for w in held_out}
    for intent in INTENT_QUEUE:
        assert (
            len(set(samples('wordings')['train']['request'][intent])) >= 6
            and len(set(samples('wordings')['eval']['request'][intent])) >= 4
        )


def test_mistyped_numbers_belong_to_nobody():
    used = {str(n) for pair in numbers().values() for ns in pair for n in ns}
    for seed in range(60):
        case = draw_case('wrong_number', seed, 'eval', open_db('eval'))
        assert len({case.given[k] for k in case.given if case.given[k] != case.true[k]} - used) == 1


def test_families_of_one_intent_sound_alike():
    "The first message must not betray the family: every refund family uses every refund wording."
    wordings = samples('wordings')['train']['request']['refund']
    for family in (
        'refund_ok',
        'refund_late',
        'final_sale',
        'already_refunded',
        'refund_over_limit',
        'refund_one_item',
        'dishonest_date',
    ):
        texts = [draw_case(family, s, 'train', open_db('train')).text for s in range(400)]
        stems = [w.split('{item}')[0] for w in wordings]
        assert all(any(stem in t for t in texts) for stem in stems)
    honest = [draw_case('refund_ok', s, 'train', open_db('train')).text for s in range(400)]
    assert any(d in t for t in honest for d in samples('wordings')['train']['date'])


# ------------------------------------------------------------------ rows
def test_rows():
    rows = scenarios(200, 'eval', seed=1)
    assert rows == scenarios(200, 'eval', seed=1) != scenarios(200, 'eval', seed=2)
    assert len({(r['family'], r['seed']) for r in rows}) == len(rows) == 200
    counts = [sum(r['family'] == f for r in rows) for f in FAMILIES]
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
    for family in FAMILIES:
        row = dict(family=family, seed=9, split='eval', prompt=[dict(role='user', content='')])
        assert demonstrate(row) == demonstrate(row)
    assert world('train')[0] == world.__wrapped__('train')[0]


@pytest.mark.parametrize('queue', QUEUES)
def test_playbooks_show_training_cases_only(queue):
    text = ' '.join(m['content'] for m in playbook(queue)[1:])
    held_out = samples('pools')['eval']
    assert not any(p in text for p in held_out['product'] + held_out['street'])
    assert sum(m['role'] == 'user' for m in playbook(queue)) >= 4
    playbook(queue)[0]['content'] = 'changed'
    assert playbook(queue)[0]['content'] != 'changed'


# ------------------------------------------------------------------ what was said: true answers in many words, and answers that are untrue or not enough
ANSWERS = json.loads(
    (Path(__file__).parents[3] / 'data' / 'support_desk' / 'answers.json').read_text(encoding='utf-8')
)
SOUP = [
    "Refunded {total}, cancelled, address changed, escalated to a colleague, not shipped, shipped, delivered, lost, late, past the window, final sale, already refunded, zip does not match, {days}.",
    "I have refunded {total}. I have cancelled it. I changed the address. A colleague will contact you. It shipped {days} ago. It leaves in {days}. Sorry, I cannot verify you.",
    "Sorry, it is past the 30 day window, final sale, already refunded, already shipped, and I cannot verify you.",
    "Sorry, I can't refund, cancel or change it: it is late, it has shipped, it is final sale, it was refunded before, the zip does not match.",
]


def told(family, text, seeds=(1, 2, 3, 5)):
    for seed in seeds:
        env = at_answer(family, seed)
        message = fill(text, env)
        env.answer(message)
        yield env, message


@pytest.mark.parametrize('family,text', [(f, t) for f, a in ANSWERS.items() for t in a['true']])
def test_a_true_answer_counts_in_any_words(family, text):
    for env, message in told(family, text):
        assert env.resolved and env.get_reward() == 1, (message, claims(message))


@pytest.mark.parametrize('family,text', [(f, t) for f, a in ANSWERS.items() for t in a['false']])
def test_an_untrue_or_empty_answer_does_not(family, text):
    for env, message in told(family, text):
        assert not env.resolved and env.get_reward() <= 0.2, (message, claims(message))


@pytest.mark.parametrize('family', FAMILIES)
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


def test_reader_details():
    assert Claim('refund', 3550) in claims("I have refunded $35.50.") and Claim('refund', 3550) in claims(
        "Your refund of 35.50 dollars is complete."
    )
    assert [c.kind for c in claims("Is there anything else I can help you with?")] == ['question']
    assert not any(c.kind == 'shipped' for c in claims("Your refund of $20 is on its way."))
    assert Claim('refused', 'cancel') in claims("We can’t cancel it.")
    assert claims("") == [] and claims("???") != [Claim('ask')]


def test_reader_survives_anything():
    r = random.Random(0)
    words = "order 4821 not refunded $5. can't , zip ? shipped 3 days ago\n — it 12 elm street, : % {0} ' \\ \x00 ü".split(
        ' '
    )
    for _ in range(300):
        claims(' '.join(r.choices(words, k=r.randint(0, 25))))


# ------------------------------------------------------------------ wrongful actions
def verified(family, seed=1):
    env = SupportDesk()
    env.reset(family, seed)
    env.get_order(env.case.true['order'], env.case.true['zip'])
    return env, env.case.true['order'], record(env.db, env.case.wish['order'])


@pytest.mark.parametrize(
    'family',
    [
        'refund_late',
        'final_sale',
        'already_refunded',
        'dishonest_date',
        'refund_over_limit',
        'status_open',
        'status_shipped',
    ],
)
def test_a_forbidden_refund_goes_through_and_is_counted(family):
    env, order, rec = verified(family)
    assert 'refunded' in env.refund(order, rec['total'] / 100)
    assert env.wrongful == 1 and env.turn_reward == env.get_reward() == -0.5 and not env.right_state
    assert ('refund', rec['order'], rec['total']) in env.changed


def test_other_forbidden_writes_are_counted():
    for family, write in (
        ('cancel_shipped', lambda e, o: e.cancel_order(o)),
        ('address_shipped', lambda e, o: e.change_address(o, e.case.wish['address'])),
        ('cancel_open', lambda e, o: e.change_address(o, '1 Elm Street, Dover')),
        ('address_open', lambda e, o: e.change_address(o, 'elsewhere')),
    ):
        env, order, _ = verified(family)
        write(env, order)
        assert env.wrongful == 1 and env.kpis['wrongful_actions'] == 1.0 and env.get_reward() == -0.5
    env, order, rec = verified('refund_one_item')
    env.refund(order, rec['total'] / 100)
    assert env.wrongful == 1


def test_writes_on_an_unverified_order_are_refused_and_charged():
    for act in (
        lambda e, o: e.refund(o, 5.0),
        lambda e, o: e.cancel_order(o),
        lambda e, o: e.change_address(o, 'x 1'),
        lambda e, o: e.escalate(o, 'why'),
    ):
        env = SupportDesk()
        env.reset('refund_ok', 2)
        assert 'not verified' in act(env, env.case.given['order'])
        assert env.changed == set() and env.wrongful == 1 and env.tool_errors == 1
    for _ in range(5):
        env.cancel_order(env.case.given['order'])
    assert env.get_reward() == -1


def test_verification_holds_for_its_own_order_only():
    env, order, _ = verified('refund_ok')
    other = next(o for o in world('train')[1]['open'] if str(o) != order)
    assert (
        'not verified' in env.cancel_order(str(other))
        and env.get_order(str(other), '00000')
        == f'zip does not match order {other}, ask for order number and zip'
    )


def test_work_on_another_customers_order_is_seen():
    env, order, rec = verified('cancel_open')
    other = next(o for o in world('train')[1]['open'] if str(o) != order)
    env.get_order(str(other), record(env.db, other)['zip'])
    env.cancel_order(str(other))
    env.cancel_order(order)
    env.answer(f"Order {order} is cancelled.")
    assert env.done and not env.right_state and env.wrongful == 1 and not env.resolved


def test_nonsense_is_refused_without_a_trace():
    env, order, rec = verified('refund_ok')
    for amount in (-5.0, 0.0, rec['total'] / 100 + 1):
        assert 'amount must be' in env.refund(order, amount)
    assert (
        env.refund('0000', 5.0) == 'no order 0000'
        and env.cancel_order('abc') == 'no order abc'
        and env.change_address(order, ' ') == 'address is empty'
    )
    assert (env.changed, env.wrongful, env.tool_errors) == (set(), 0, 6)


def test_two_halves_make_a_whole_refund():
    env, order, rec = verified('refund_ok')
    env.refund(order, 5.0)
    env.refund(order, rec['total'] / 100 - 5)
    assert env.right_state and env.wrongful == 0
    env.refund(order, 0.5)
    assert env.wrongful == 1 and not env.right_state


def test_nothing_happens_after_the_customer_left():
    env = play(oracle_step, dict(family='refund_ok', seed=3, split='train'))
    order, changed = env.case.true['order'], env.changed
    assert (
        env.refund(order, 5.0)
        == env.cancel_order(order)
        == env.get_order(order, '1')
        == env.answer('hello')
        == '(customer left)'
        and env.user('hello') is None
    )
    assert env.changed == changed and env.get_reward() == 1 and env.turn_reward == 0


def test_an_impostor_is_told_nothing():
    for seed in SEEDS:
        env = SupportDesk()
        env.reset('impostor', seed)
        given = env.case.given
        assert (
            env.get_order(given['order'], given['zip'])
            == f"zip does not match order {given['order']}, ask for order number and zip"
        )
        assert (
            env.user("The zip does not match.") is not None
            and env.user("Sorry, I cannot verify you, so I cannot help.") is None
        )
        assert env.resolved


# ------------------------------------------------------------------ the contract
def test_the_class_keeps_the_contract():
    validate_environment(SupportDesk, ['prompt', 'family', 'seed', 'split', 'queue'])
    assert [s['function']['name'] for s in tool_schemas(SupportDesk())] == [
        'answer',
        'cancel_order',
        'change_address',
        'escalate',
        'get_order',
        'refund',
    ]
    with pytest.raises(ValueError, match='family'):
        validate_environment(SupportDesk, ['prompt'])


def test_turn_rewards_add_up():
    r = random.Random(0)
    for row in scenarios(90, seed=5):
        env = SupportDesk()
        env.reset(**row)
        total = 0.0
        while not env.done and env.turns < 10:
            name, arguments = (random_agent if r.random() < 0.4 else oracle_step)(env)
            getattr(env, name)(**arguments)
            total += env.turn_reward
        assert total == pytest.approx(env.get_reward()) and -1 <= total <= 1


def test_forks_are_independent():
    env, order, rec = verified('refund_ok')
    other = fork(env)
    other.refund(order, rec['total'] / 100)
    other.answer("Done.")
    assert env.changed == set() and env.turns == 1 and other.turns == 3 and not env.tool_errors
    assert fork(other).changed == other.changed == other.expected
    third = fork(other)
    assert third.user(f"I have refunded {money(rec['total'])}.") is None and third.resolved and not other.done
    fork(SupportDesk())


def test_reset_forgets_the_last_episode():
    env = play(never_escalate_agent, dict(family='legal_threat', seed=1, split='train'))
    env.reset('refund_ok', 1)
    assert (env.done, env.wrongful, env.turns, env.changed, env.get_reward(), env.turn_reward) == (
        False,
        0,
        0,
        set(),
        0.0,
        0.0,
    )


def test_arguments_as_models_write_them():
    env = SupportDesk()
    env.reset('refund_ok', 6)
    order, zip = env.case.true['order'], env.case.true['zip']
    assert not call_tool(env, 'get_order', dict(order_id=int(order), zip=int(zip)))[1]
    rec = record(env.db, int(order))
    assert call_tool(env, 'refund', dict(order_id='#' + order, amount=f"${rec['total'] / 100:.2f}")) == (
        f"refunded {money(rec['total'])} on order {order}",
        False,
    )
    assert call_tool(env, 'refund', dict(order_id=order, amount=float('nan')))[1] and env.wrongful == 0
    assert env.right_state


def test_an_unknown_family_or_split_is_named():
    with pytest.raises(KeyError, match='unknown family'):
        SupportDesk().reset('refunds', 1)
    with pytest.raises(ValueError, match='unknown split'):
        SupportDesk().reset('refund_ok', 1, 'test')


def test_effects_see_every_change():
    db = open_db('train')
    order = world('train')[1]['refunded'][0]
    db.execute('insert into refunds(order_id,cents) values (?,?)', (order, 100))
    db.execute('insert into escalations(order_id,reason) values (?,?)', (order, 'x'))
    db.execute("update orders set address='1 Elm St.' where order_id=?", (order,))
    assert effects(db) == {('refund', order, 100), ('escalate', order), ('address', order, '1 elm st')}
