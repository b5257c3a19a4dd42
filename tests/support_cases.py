"Episodes of the support desk that tests start from"

from rlops_lab.environments.contract import fork
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.records import days_text, money, paid_out, read_order
from rlops_lab.environments.support_desk.scenarios import oracle_step


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
    record = read_order(env.db, env.case.wish.order)
    paid = paid_out(env.changed)
    return text.format(
        order=record.order,
        days=days_text(record.days),
        address=env.case.wish.address,
        paid=money(paid),
        prior=money(record.refunded),
        total=money(record.total),
        item=env.case.wish.items[0],
        name=record.name.split()[0],
    )


def told(family, text, seeds=(1, 2, 3, 5)):
    for seed in seeds:
        env = at_answer(family, seed)
        message = fill(text, env)
        env.answer(message)
        yield env, message


def verified(family, seed=1):
    env = SupportDesk()
    env.reset(family, seed)
    env.get_order(env.case.true['order'], env.case.true['zip'])
    return env, env.case.true['order'], read_order(env.db, env.case.wish.order)
