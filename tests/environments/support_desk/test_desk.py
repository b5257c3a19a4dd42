"The desk: wrongful actions go through and are counted, and the contract is kept"

import random

import pytest
from support_cases import verified

from rlops_lab.environments.contract import call_tool, fork, tool_schemas, validate_environment
from rlops_lab.environments.support_desk.cases import DESK_FAMILIES
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.records import money, read_order, world
from rlops_lab.environments.support_desk.scenarios import (
    never_escalate_agent,
    oracle_step,
    random_agent,
    run_scripted_case,
    scenarios,
)

SEEDS = range(60)


def test_doing_nothing_earns_nothing():
    for family in DESK_FAMILIES:
        env = SupportDesk()
        env.reset(family, 5)
        assert env.get_reward() == 0 and env.turn_reward == 0


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
    env, order, record = verified(family)
    assert 'refunded' in env.refund(order, record.total / 100)
    assert env.wrongful == 1 and env.turn_reward == env.get_reward() == -0.5 and not env.right_state
    assert ('refund', record.order, record.total) in env.changed


def test_other_forbidden_writes_are_counted():
    for family, write in (
        ('cancel_shipped', lambda e, o: e.cancel_order(o)),
        ('address_shipped', lambda e, o: e.change_address(o, e.case.wish.address)),
        ('cancel_open', lambda e, o: e.change_address(o, '1 Elm Street, Dover')),
        ('address_open', lambda e, o: e.change_address(o, 'elsewhere')),
    ):
        env, order, _ = verified(family)
        write(env, order)
        assert env.wrongful == 1 and env.kpis['wrongful_actions'] == 1.0 and env.get_reward() == -0.5
    env, order, record = verified('refund_one_item')
    env.refund(order, record.total / 100)
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
    other = next(o for o in world('train').orders['open'] if str(o) != order)
    assert (
        'not verified' in env.cancel_order(str(other))
        and env.get_order(str(other), '00000')
        == f'zip does not match order {other}, ask for order number and zip'
    )


def test_work_on_another_customers_order_is_seen():
    env, order, record = verified('cancel_open')
    other = next(o for o in world('train').orders['open'] if str(o) != order)
    env.get_order(str(other), read_order(env.db, other).zip)
    env.cancel_order(str(other))
    env.cancel_order(order)
    env.answer(f"Order {order} is cancelled.")
    assert env.done and not env.right_state and env.wrongful == 1 and not env.resolved


def test_nonsense_is_refused_without_a_trace():
    env, order, record = verified('refund_ok')
    for amount in (-5.0, 0.0, record.total / 100 + 1):
        assert 'amount must be' in env.refund(order, amount)
    assert (
        env.refund('0000', 5.0) == 'no order 0000'
        and env.cancel_order('abc') == 'no order abc'
        and env.change_address(order, ' ') == 'address is empty'
    )
    assert (env.changed, env.wrongful, env.tool_errors) == (set(), 0, 6)


def test_two_halves_make_a_whole_refund():
    env, order, record = verified('refund_ok')
    env.refund(order, 5.0)
    env.refund(order, record.total / 100 - 5)
    assert env.right_state and env.wrongful == 0
    env.refund(order, 0.5)
    assert env.wrongful == 1 and not env.right_state


def test_nothing_happens_after_the_customer_left():
    env = run_scripted_case(oracle_step, dict(family='refund_ok', seed=3, split='train'))
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
    env, order, record = verified('refund_ok')
    other = fork(env)
    other.refund(order, record.total / 100)
    other.answer("Done.")
    assert env.changed == set() and env.turns == 1 and other.turns == 3 and not env.tool_errors
    assert fork(other).changed == other.changed == other.expected
    third = fork(other)
    assert third.user(f"I have refunded {money(record.total)}.") is None and third.resolved and not other.done
    fork(SupportDesk())


def test_reset_forgets_the_last_episode():
    env = run_scripted_case(never_escalate_agent, dict(family='legal_threat', seed=1, split='train'))
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
    record = read_order(env.db, int(order))
    assert call_tool(env, 'refund', dict(order_id='#' + order, amount=f"${record.total / 100:.2f}")) == (
        f"refunded {money(record.total)} on order {order}",
        False,
    )
    assert call_tool(env, 'refund', dict(order_id=order, amount=float('nan')))[1] and env.wrongful == 0
    assert env.right_state
