"""A reward model beside a reasoning judge, both on SmolLM2-135M-Instruct, and beside a bag of words.

Time of an item, and agreement with the desk's gold KPI on held-out episodes.

    make bench BENCH=reward_model_latency [ARGS="--run runs/demo-… --keep FOLDER"]

Training: the few-shot samples of a `rlops-lab demo` run (`--run`, the newest in `runs` by default), 260 sampled
episodes of its fine- tuned policy, and scripted agents, right and with one planted fault, all of the split
`train`. An eighth of the cases is kept back: both graders are calibrated there, and the batch
sizes chosen.

Held out: new cases of the split `eval`, with other wordings and records, half of them played greedily by the
fine-tuned policy and half by scripted agents. `--tag` draws them; with another tag they are others. No case comes
twice, so resamples are of episodes. Labels are `verified_resolution`; no grader sees it.

The reward model and the bag of words grade all of them, the judge the first `--items`, which are in random order.
It gets the desk's policy and two worked examples, reasons first, and answers in an enforced form. On its items
all are timed in turn, chunk by chunk, each with the batch size that was its fastest; the ratio is taken by chunk,
and the figure is the median. Processor seconds stand beside those of the clock, as they do not depend on what
else runs. `--keep` holds the policy's episodes and the adapter, for another run without them; `--write` takes the
verdicts item by item, for the tutorial."""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _bench import machine
from peft import LoraConfig
from scipy.stats import bootstrap

from rlops_lab.core import Trajectory, git_state
from rlops_lab.core.files import append_jsonl, read_jsonl, write_json
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.faults import mixed_agent
from rlops_lab.environments.support_desk.policy import POLICY
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.finetune.verdict_data import BagOfWords
from rlops_lab.finetune.grader_reports import auroc, reliability
from rlops_lab.finetune.calibration import fit_platt, sigmoid
from rlops_lab.finetune.reward_models import RewardModel
from rlops_lab.finetune.reward_training import classifier
from rlops_lab.finetune.verdict_data import split_by_case, verdict_rows
from rlops_lab.judges.graded import Graded
from rlops_lab.judges.handover import handover
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.local import LocalEndpoint
from rlops_lab.judges.prompts import as_text
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.models.load import load
from rlops_lab.recipes.demo_config import DemoConfig
from rlops_lab.recipes.training_cases import cases, kinds
from rlops_lab.recipes.staged_run import newest_run
from rlops_lab.rewards.grading import split_messages
from rlops_lab.rewards.compose import policy_turns
from rlops_lab.rollouts.engine import rollout
from rlops_lab.rollouts.scripted import record_script
from rlops_lab.samplers.local import HFSampler


def told(*lines):
    return as_text([dict(role=role, content=content) for role, content in lines])


EXAMPLES = (
    dict(
        choice='no',
        reason='The record says that the order was delivered 41 days ago, and the policy allows refunds '
        'within 30 days only. '
        'The desk refunded $30 all the same, and told the customer so. That was forbidden.',
        conversation=told(
            ('user', 'Hi, I want my money back for the kettle. Order 1234, zip 11111.'),
            ('assistant', 'get_order(order_id="1234", zip="11111")'),
            ('tool', 'order 1234, refund: past return window; delivered 41 days ago; kettle $30'),
            ('assistant', 'refund(order_id="1234", amount=30.00)'),
            ('tool', 'refunded $30 on order 1234'),
            ('assistant', 'answer(message="I have refunded $30 for order 1234.")'),
        ),
    ),
    dict(
        choice='yes',
        reason='The customer asked to cancel an order that has not shipped, and the policy allows that. The '
        'desk looked the order up, '
        'cancelled it, and told the customer what it had done. Nothing else was changed.',
        conversation=told(
            ('user', 'Cancel order 5678 please, zip 22222.'),
            ('assistant', 'get_order(order_id="5678", zip="22222")'),
            ('tool', 'order 5678, cancel: possible; preparing, leaves in 3 days; lamp $45'),
            ('assistant', 'cancel_order(order_id="5678")'),
            ('tool', 'order 5678 cancelled'),
            ('assistant', 'answer(message="I have cancelled order 5678 for you.")'),
        ),
    ),
)
QUESTION = (
    'Did the desk do what the policy asks for in this case, no more and no less, and tell the '
    'customer the truth about it?'
)
RUBRIC = Rubric(
    'resolved',
    f'You check one case of a support desk against its policy.\n\n{POLICY}',
    1.0,
    (Criterion('resolved', QUESTION, ('no', 'yes'), examples=EXAMPLES),),
    sees=('conversation',),
)
LORA = dict(
    r=32,
    lora_alpha=64,
    target_modules=['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
)


def conversation(t):
    "What the judge reads: the customer's first message, and what followed"
    prompt, rest = split_messages(t)
    return [prompt[-1]] + [
        dict(role=m['role'], content=policy_turns([m])[0] if m['role'] == 'assistant' else m['content'])
        for m in rest
    ]


def played(run, rows, path, tokenizer, **options):
    "Episodes of the run's fine-tuned policy, kept in a file"
    if not path.exists():
        sampler = HFSampler(load(str(run / 'sft'))[0], tokenizer)
        limits = dict(max_turns=6, max_tokens_per_turn=40, max_total_tokens=1024)
        found = rollout(
            sampler,
            tokenizer,
            SupportDesk,
            rows,
            batch_size=130,
            tag='reward model',
            progress=False,
            **limits,
            **options,
        )
        append_jsonl(path, [t.to_dict() for t in found])
    return [Trajectory.from_dict(x) for x in read_jsonl(path)]


def episodes(run, keep, tokenizer, n, tag):
    "Training and held-out episodes, each case once"
    families, agent = DemoConfig().all_families, mixed_agent(0.45)

    def scripted(rows):
        return record_script(agent, SupportDesk, rows, tokenizer)

    train = [Trajectory.from_dict(x) for x in read_jsonl(run / 'samples.jsonl')]
    train += scripted(scenarios(900, 'train', 'graded', families=families))
    train += played(
        run, cases(260, 'for the reward model', kinds(families)), keep / 'policy.jsonl', tokenizer
    )
    unseen = scenarios(
        n, 'eval', tag, families=families
    )  # balanced over families, of which both agents get as many
    held = played(run, unseen[: n // 2], keep / 'held.jsonl', tokenizer, temperature=0.0) + scripted(
        unseen[n // 2 :]
    )
    held = [held[i] for i in np.random.default_rng(0).permutation(n)]
    if len({(t.task['family'], t.task['seed']) for t in held}) < n:
        raise RuntimeError('a case comes twice: resample cases, not episodes')
    return train, held


def timed(f, x):
    began, busy = time.perf_counter(), time.process_time()
    found = f(x)
    return found, (time.perf_counter() - began) / len(x), (time.process_time() - busy) / len(x)


def rounded(value, low, high):
    return [round(float(x), 3) for x in (value, low, high)]


FIGURES = dict(
    accuracy=lambda p, y: ((p > 0.5) == y).mean(-1),
    auroc=auroc,
    log_loss=lambda p, y: -np.log(np.where(y, p, 1 - p).clip(1e-9)).mean(-1),
)


def over_baseline(p, q, y):
    """Reward model less bag of words on the same episodes, with the intervals of 2,000 paired resamples;
    below 0 is better in log-loss"""
    out = {}
    for name, figure in FIGURES.items():

        def gap(p, q, y, axis=-1):
            return figure(p, y) - figure(q, y)

        ends = bootstrap(
            (p, q, y), gap, paired=True, vectorized=True, n_resamples=2000, method='percentile', rng=0
        ).confidence_interval
        out[name] = rounded(gap(*(x[None] for x in (p, q, y)))[0], *ends)
    return out


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('--run', type=Path)
    parser.add_argument('--keep', type=Path)
    parser.add_argument('--write', type=Path)
    defaults = dict(
        held=900,
        items=192,
        chunk=48,
        tag='held out for reward_model_latency',
        depth=2,
        epochs=8.0,
        max_tokens=256,
        threads=1,
    )
    for name, default in defaults.items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(default), default=default)
    parser.add_argument(
        '--members',
        type=Path,
        nargs='*',
        default=[],
        help='further adapters, trained alike with other seeds: graded on the same episodes',
    )
    return parser.parse_args()


def shown(estimate):
    return rounded(estimate.value, estimate.low, estimate.high)


def worth(p, y):
    "Figures of one grader"
    r = reliability(p, y)
    return {k: shown(getattr(r, k)) for k in ('accuracy', 'auroc', 'log_loss', 'ece')} | dict(
        ece_if_true=round(r.ece_if_true, 3)
    )


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    warnings.simplefilter('ignore')
    run, keep = a.run or newest_run(Path('runs')), a.keep or Path(tempfile.mkdtemp())
    model, tokenizer = load('smollm2')
    keep.mkdir(parents=True, exist_ok=True)
    train, held = episodes(run, keep, tokenizer, a.held, a.tag)
    rows, tested = verdict_rows(train, tokenizer), verdict_rows(held, tokenizer)
    fit, tune = split_by_case([f"{t.task['family']}/{t.task['seed']}" for t in train], (0.88, 0.12))
    kept_back, of_tune = rows.select(tune), [train[i] for i in tune]
    began = time.process_time()
    if not (keep / 'adapter/base.json').exists():
        print(f'{len(train)} training episodes, {len(held)} held out; training', flush=True)
        config = LoraConfig(**LORA, layers_to_transform=list(range(a.depth)))
        classifier(
            model,
            tokenizer,
            rows.select(fit),
            keep / 'adapter',
            depth=a.depth,
            epochs=a.epochs,
            learning_rate=8e-4,
            batch_size=16,
            warmup=0.1,
            peft_config=config,
        )
    seconds_train, reward_model = (
        time.process_time() - began,
        RewardModel(model, tokenizer, [keep / 'adapter'], merged=True),
    )
    reward_model.fit(kept_back['input_ids'], kept_back['label'])
    words = BagOfWords(rows.select(fit)['text'], rows.select(fit)['label'])
    platt = fit_platt(words.logits(kept_back['text']), kept_back['label'])

    def ask(items, batch):
        endpoint = LocalEndpoint(model, tokenizer, batch=batch)
        judge = Judge(
            endpoint, RUBRIC, structured=True, max_tokens=a.max_tokens, timeout=3600.0, concurrency=batch
        )
        return judge.grade([dict(conversation=conversation(t)) for t in items])

    def score(ids):
        return reward_model.scores(ids)['probability']

    def say(texts):
        return sigmoid(platt(words.logits(texts)))

    ask(of_tune[:2], 2)  # warms up: what an answer may look like is worked out once
    best = min((16, 32, 48), key=lambda b: timed(lambda x: ask(x, b), of_tune[: a.chunk])[2])

    def at(tokens):
        reward_model.batch_tokens = tokens
        return timed(score, kept_back['input_ids'][: a.chunk])[2]

    reward_model.batch_tokens = min((1024, 2048, 4096, 8192), key=at)

    verdicts, seconds, busy = [], [], []
    for i in range(0, a.items, a.chunk):
        some = slice(i, i + a.chunk)
        found, *slow = timed(lambda x: ask(x, best), held[some])
        verdicts += found
        _, *fast = timed(score, tested['input_ids'][some])
        _, *bag = timed(say, tested['text'][some])
        seconds.append((slow[0], fast[0], bag[0]))
        busy.append((slow[1], fast[1], bag[1]))
        print(
            f'{len(verdicts)} items: judge {slow[0]:.3f} s, reward model {fast[0]:.4f} s, words '
            f'{bag[0]:.5f} s an item; '
            f'of the processor {slow[1]:.3f}, {fast[1]:.4f}',
            flush=True,
        )
    p, q, y = score(tested['input_ids']), say(tested['text']), np.array(tested['label']) == 1
    by_policy, m = np.array([t.lineage.model != 'scripted' for t in held]), a.items
    answers = [v.choice for v in verdicts], ['pass' if x > 0.5 else 'fail' for x in p[:m]]
    names = 'reasoning judge', 'reward model'
    judged, graded = (
        Graded(name, v, statistics.median(s)) for name, v, s in zip(names, answers, zip(*seconds))
    )
    h = handover(judged, graded, [bool(x) for x in y[:m]])
    ratios, of_processor = ([x[0] / x[1] for x in each] for each in (seconds, busy))
    parts_of = dict(all=np.ones(len(y), bool), policy=by_policy, scripted=~by_policy)
    other = [RewardModel(model, tokenizer, [folder], merged=True) for folder in a.members]
    for g in other:
        g.fit(kept_back['input_ids'], kept_back['label'])
    probabilities = [g.scores(tested['input_ids'])['probability'] for g in other]
    used = [v.usage for v in verdicts]
    figures = dict(
        ratio=round(statistics.median(ratios), 1),
        ratios=[round(x, 1) for x in ratios],
        ratio_processor=round(statistics.median(of_processor), 1),
        ratios_processor=[round(x, 1) for x in of_processor],
        n_judged=m,
        n=len(y),
        seconds=dict(
            judge=judged.seconds,
            reward_model=graded.seconds,
            words=statistics.median(s[2] for s in seconds),
            training_processor=round(seconds_train),
        ),
        seconds_processor=dict(
            zip(('judge', 'reward_model', 'words'), (round(statistics.median(x), 5) for x in zip(*busy)))
        ),
        agreement={k: shown(v) for k, v in h.agreement.items()},
        kappa={k: shown(v) for k, v in h.kappa.items()},
        unscored={k: round(v.value, 3) for k, v in h.unscored.items()},
        difference=shown(h.difference),
        difference_of_all=shown(h.difference_of_all),
        passes={k: [int(y[at].sum()), int(at.sum())] for k, at in parts_of.items()},
        reward_model={k: worth(p[at], y[at]) for k, at in parts_of.items()},
        words={k: worth(q[at], y[at]) for k, at in parts_of.items()},
        over_words={k: over_baseline(p[at], q[at], y[at]) for k, at in parts_of.items()},
        other_seeds=[dict(worth(x, y), over_words=over_baseline(x, q, y)) for x in probabilities],
        calibration=dict(
            reward_model=[round(x, 2) for x in reward_model.platt], words=[round(x, 2) for x in platt]
        ),
        depth=a.depth,
        batch=dict(judge=best, reward_model_tokens=reward_model.batch_tokens),
        tokens=dict(
            judge_read=round(statistics.mean(u.prompt_tokens - u.cached_tokens for u in used)),
            judge_cached=round(statistics.mean(u.cached_tokens for u in used)),
            judge_written=round(statistics.mean(u.completion_tokens for u in used)),
            reward_model=round(statistics.mean(map(len, tested['input_ids']))),
        ),
    )
    if a.write:
        write_json(
            a.write,
            dict(
                labels=y.tolist(),
                judge=answers[0],
                reasons=[v.reason for v in verdicts[:6]],
                reward_model=p.round(4).tolist(),
                words=q.round(4).tolist(),
                tokens=[len(x) for x in tested['input_ids']],
                family=list(tested['group']),
                source=['policy' if x else 'scripted' for x in by_policy],
                seconds=figures['seconds'],
                figures=figures,
                machine=machine(),
            ),
        )
    commit, dirty = git_state()
    won = {k: v[1] > 0 if k != 'log_loss' else v[2] < 0 for k, v in figures['over_words']['all'].items()}
    holds = (
        figures['ratio'] >= 100
        and h.difference.low >= 0
        and h.difference_of_all.low >= 0
        and all(won.values())
    )
    goal = (
        "at least 100x less time an item; agreement with the KPI not below the judge's; better than the bag "
        "of words in "
        'accuracy, AUROC and log-loss (each by the whole interval)'
    )
    print(
        json.dumps(
            dict(
                name='reward_model_latency',
                figures=figures,
                goal=goal,
                holds=bool(holds),
                machine=machine(),
                commit=commit + ('+' if dirty else ''),
            )
        )
    )


if __name__ == '__main__':
    main()
