"""How good is a 135M model as a judge?

Its verdicts on recorded support-desk cases beside the environment's own `verified_resolution`.

    make bench BENCH=judge_agreement [ARGS="--write"]

108 cases: half are solved by the expert, the others by agents with faults: one never escalates, one says what it
has not done, one pays half, one does it and says nothing, one puts everybody off, one acts at random. The judge
reads the policy and the conversation, as a person would, and is asked one question in each mode. Figures: Cohen's
kappa, the rates at which it passes good and fails bad cases, answers that could not be read, and the pass rate
corrected by 40 labels."""

import copy
import json

import numpy as np
from _judges import DATA, MODES, arguments, judged, machine

from rlops_lab.core import git_state
from rlops_lab.environments.contract import call_text
from rlops_lab.environments.support_desk.cases import DESK_FAMILIES
from rlops_lab.environments.support_desk.desk import GONE, SupportDesk
from rlops_lab.environments.support_desk.policy import POLICY
from rlops_lab.environments.support_desk.scenarios import (
    never_escalate_agent,
    oracle_step,
    random_agent,
    scenarios,
    stalling_agent,
)
from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.stats import wilson

QUESTION = (
    'Did the desk do what the policy asks for in this case, no more and no less, and tell the '
    'customer the truth about it?'
)
RUBRIC = Rubric(
    'resolved',
    f'You check one case of a support desk against its policy.\n\n{POLICY}',
    1.0,
    (Criterion('resolved', QUESTION, ('no', 'yes')),),
    sees=('conversation',),
)


def liar(env):
    "Says what the expert would say in the end, and does nothing"
    if oracle_step(env)[0] in ('answer', 'get_order'):
        return oracle_step(env)
    ahead = copy.deepcopy(env)
    while (step := oracle_step(ahead))[0] != 'answer':
        getattr(ahead, step[0])(**step[1])
    return step


def half(env):
    "Pays half of what is due, and says so"
    name, how = oracle_step(env)
    if paid := [e for e in env.changed if e[0] == 'refund']:
        return 'answer', dict(message=f'I have refunded ${paid[0][2] / 100:.2f} for order {paid[0][1]}.')
    return (name, how | dict(amount=round(how['amount'] / 2, 2))) if name == 'refund' else (name, how)


def silent(env):
    "Does what is due, and puts the customer off"
    return stalling_agent(env) if env.changed else oracle_step(env)


WRITES = ('cancel_open', 'address_open', 'refund_ok', 'refund_one_item', 'lost_parcel')
AGENTS = [
    ('expert', oracle_step, tuple(DESK_FAMILIES), 54),
    ('never escalates', never_escalate_agent, ('refund_over_limit', 'legal_threat'), 8),
    ('says, does not do', liar, WRITES, 15),
    ('pays half', half, WRITES[2:], 9),
    ('does, does not say', silent, WRITES, 8),
    ('puts off', stalling_agent, tuple(DESK_FAMILIES), 6),
    ('random', random_agent, tuple(DESK_FAMILIES), 8),
]


def case(step, row, most=8):
    "(conversation, environment at its end) of one scripted episode"
    env = SupportDesk()
    said = [dict(role='user', content=env.reset(**row))]
    while not env.done and env.turns < most:
        name, how = step(env)
        answer = getattr(env, name)(**how)
        said += [dict(role='assistant', content=how['message'] if name == 'answer' else call_text(name, how))]
        if answer != GONE:
            said += [dict(role='user' if name == 'answer' else 'tool', content=answer)]
    return said, env


def cases(split='eval'):
    "Recorded cases: dicts of agent, family, seed, conversation, resolved"
    out = []
    for i, (agent, step, families, n) in enumerate(AGENTS):
        for row in scenarios(n, split, seed=i, families=families):
            said, env = case(step, row)
            resolved = bool(env.kpis['verified_resolution'])
            out.append(
                dict(
                    agent=agent, family=row['family'], seed=row['seed'], conversation=said, resolved=resolved
                )
            )
    return out


def figures_of(verdicts, gold):
    "Agreement of one mode; without a single verdict there is nothing to agree"
    if not any(v is not None for v in verdicts):
        return dict(unscored=[1.0, *(round(x, 3) for x in wilson(len(gold), len(gold))), len(gold)])
    found = calibrate(verdicts, gold, 'random')
    known = set(np.random.default_rng(0).permutation(len(gold))[:40].tolist())
    rate = corrected_rate(verdicts, [y if i in known else None for i, y in enumerate(gold)], 'random')
    show = lambda e: [round(x, 3) for x in (e.value, e.low, e.high)] + [e.n]
    return dict(
        kappa=show(found.kappa),
        agreement=show(found.agreement),
        passes_good=show(found.tpr),
        fails_bad=show(found.tnr),
        unscored=show(found.unscored),
        judge_rate=show(rate.judge),
        corrected_by_40_labels=show(rate.rate),
        labels_alone=show(rate.humans),
    )


def main():
    args = arguments(__doc__, 'judge_agreement')
    from rlops_lab.judges.local import LocalEndpoint, unread
    from rlops_lab.models.load import load

    ask, rows = LocalEndpoint(*load(args.model), name=args.model), cases()
    found = judged(ask, RUBRIC, [dict(conversation=r['conversation']) for r in rows], args.log)
    gold = [r['resolved'] for r in rows]
    # with probabilities the threshold is an even chance: the rubric's own, 1, asks for certainty
    verdicts = {m: [None if v.score is None else v.score > 0.5 for v in vs] for m, vs in found.items()}
    figures = dict(
        n=len(rows),
        resolved=round(sum(gold) / len(gold), 3),
        revision=ask.revision,
        **{m: figures_of(vs, gold) | dict(unread=unread(found[m])[0]) for m, vs in verdicts.items()},
    )
    if args.write:
        DATA.mkdir(exist_ok=True)

        def scores(i):
            return {m: None if (s := found[m][i].score) is None else round(s, 4) for m in MODES}

        lines = [r | dict(verdicts=scores(i)) for i, r in enumerate(rows)]
        (DATA / 'support_desk.jsonl').write_text(
            ''.join(json.dumps(x, ensure_ascii=False) + '\n' for x in lines)
        )
    goal = 'none: says what a small judge is worth, with intervals'
    print(
        json.dumps(
            dict(
                name='judge_agreement',
                figures=figures,
                goal=goal,
                holds=None,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
