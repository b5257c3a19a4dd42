"""What each part of PPO is worth on the support desk.

Three critics, TRL's GRPO, and rejection sampling alone, from the same fine-tuned policies and with as many
generated tokens.

    make bench BENCH=ppo_ablation [ARGS="--runs runs/bench --seeds 0 1 2 3 4 --json runs/bench/ppo_ablation.json"]

`--runs` holds the demo's runs by seed, as `make bench BENCH=demo ARGS="--seeds 0 1 2 3 4 --out runs/bench"`
leaves them: each arm starts from the run's fine-tuned model, and is measured on the run's held-out cases. The
arms `head`, `adapter` and `full` are the demo's PPO with another critic: the head learns on for 30 passes over
the states of an update (`critic_epochs`), which the others cannot, as each of their steps needs a forward pass of
the model. `grpo` is TRL 1.16's GRPOTrainer with groups of five, our rollout as its `rollout_func`, the demo's
reward and adapters, as many episodes and updates, and the same rate, falling to 0 over the run; its steps take
five episodes where PPO's take about six. `rejection` plays the same training cases with the fine-tuned policy
until it has generated as many tokens as `head` did (to within an episode), which is therefore run first, keeps
what is verified, and fine-tunes on it once more. Tokens that each arm generated stand in the results. Each arm of
each seed is a process of its own and is written down when it is done; a second call goes on where the first one
stopped. Calls for several seeds may run side by side, each pinned to cores of its own and with its own --json;
`--table` then reads all the files. The tutorial "PPO with four LLMs" draws what stands in
`nbs/results/ppo_ablation.json`."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1')

ARMS = ('head', 'adapter', 'full', 'grpo', 'rejection')
GROUP = 5


def setting(run, layers):
    """The run's settings, with adapters on so many of the uppermost layers if `layers` is no 0,
    and its fine-tuned policy"""
    import torch

    from rlops_lab.models.load import load
    from rlops_lab.recipes.demo_config import DemoConfig

    saved = json.loads((run / 'state.json').read_text())['config'] | (
        dict(ppo_lora_layers=layers) if layers else {}
    )
    config = DemoConfig(**saved)
    if config.threads:
        torch.set_num_threads(config.threads)
    return config, *load(str(run / 'sft'))


def new_cases(config, update, n=None):
    "The demo's training cases of an update"
    from rlops_lab.recipes.training_cases import cases
    from rlops_lab.recipes.demo_config import ppo_kinds

    return cases(n or config.ppo_episodes, f'ppo {config.seed} {update}', ppo_kinds(config))


def limits(config, total=1024):
    return dict(
        max_turns=config.max_turns, max_tokens_per_turn=config.max_tokens_per_turn, max_total_tokens=total
    )


def ppo(run, critic, layers):
    "(policy, tokenizer, generated tokens, the cases' mean success by update)"
    from rlops_lab.environments.support_desk.desk import SupportDesk
    from rlops_lab.finetune.trl_runs import merge
    from rlops_lab.ppo.trainer import PPOTrainer
    from rlops_lab.recipes.stage_figures import by_family, over_families
    from rlops_lab.recipes.demo_config import lora, ppo_config
    from rlops_lab.rewards.compose import kpi

    config, model, tokenizer = setting(run, layers)
    args = ppo_config(config)
    args.critic = critic
    if critic != 'head':
        args.critic_epochs, args.critic_learning_rate = (
            0,
            1e-3 if critic == 'adapter' else 1e-4,
        )  # a whole model bears a tenth of an adapter's rate
    trainer = PPOTrainer(
        model,
        args,
        SupportDesk,
        kpi('failed_calls', -config.failed_call),
        new_cases(config, 0),
        tokenizer,
        lora(config.lora_rank, config.ppo_lora_layers, model.config.num_hidden_layers),
        rollout_options=dict(batch_size=config.batch_size, progress=False),
    )
    tokens, curve = 0, []
    for update in range(1, config.ppo_updates + 1):
        trainer.step(new_cases(config, update))
        tokens += sum(t.n_actions for t in trainer.trajectories)
        curve.append(over_families(by_family(trainer.trajectories)))
        print(f'  {critic}, update {update}: {curve[-1]:.1%}', flush=True)
    return merge(trainer.backbone.model), tokenizer, tokens, curve


def grpo(run, layers):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from rlops_lab.environments.support_desk.desk import SupportDesk
    from rlops_lab.finetune.trl_runs import merge
    from rlops_lab.recipes.stage_figures import by_family, over_families
    from rlops_lab.recipes.demo_config import lora
    from rlops_lab.rollouts.engine import rollout
    from rlops_lab.samplers.local import HFSampler

    config, model, tokenizer = setting(run, layers)
    size, updates, spent, curve = config.ppo_episodes // GROUP * GROUP, config.ppo_updates, [], []
    rows = [
        dict(case=json.dumps(row), prompt=row['prompt'])
        for update in range(1, updates + 1)
        for row in new_cases(config, update, size // GROUP)
    ]
    asked = iter([json.loads(row['case']) for row in rows for _ in range(GROUP)])

    def play(prompts, trainer):
        played = rollout(
            HFSampler(trainer.model, tokenizer),
            tokenizer,
            SupportDesk,
            [next(asked) for _ in prompts],
            **limits(config),
            temperature=0.8,
            batch_size=config.batch_size,
            seed=config.seed,
            tag=len(curve),
            progress=False,
        )
        spent.append(sum(t.n_actions for t in played))
        curve.append(over_families(by_family(played)))
        print(f'  grpo, update {len(curve)}: {curve[-1]:.1%}', flush=True)
        begin = [t.action_mask.index(1) for t in played]
        return dict(
            prompt_ids=[t.token_ids[:b] for t, b in zip(played, begin)],
            completion_ids=[t.token_ids[b:] for t, b in zip(played, begin)],
            logprobs=[t.logprobs[b:] for t, b in zip(played, begin)],
            env_mask=[t.action_mask[b:] for t, b in zip(played, begin)],
            paid=[t.reward - config.failed_call * t.kpis['failed_calls'] for t in played],
        )

    args = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        report_to='none',
        save_strategy='no',
        disable_tqdm=True,
        logging_steps=1000,
        num_generations=GROUP,
        per_device_train_batch_size=GROUP,
        steps_per_generation=size // GROUP,
        max_steps=updates * size // GROUP,
        max_completion_length=1024,
        temperature=0.8,
        beta=0.02,
        learning_rate=config.ppo_learning_rate,
        lr_scheduler_type='linear',
        warmup_steps=0,
        shuffle_dataset=False,
        gradient_checkpointing=False,
        seed=config.seed,
    )
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=args,
        reward_funcs=lambda paid, **_: paid,
        train_dataset=Dataset.from_list(rows),
        rollout_func=play,
        peft_config=lora(config.lora_rank, config.ppo_lora_layers, model.config.num_hidden_layers),
    )
    trainer.train()
    return merge(trainer.model), tokenizer, sum(spent), curve


def rejection(run, budget, layers):
    from rlops_lab.core import rng
    from rlops_lab.environments.support_desk.desk import SupportDesk
    from rlops_lab.finetune.sft import sft
    from rlops_lab.recipes.stage_figures import by_family, over_families
    from rlops_lab.recipes.demo_config import lora
    from rlops_lab.rejection import select
    from rlops_lab.finetune.training_rows import to_dataset
    from rlops_lab.rollouts.engine import rollout
    from rlops_lab.samplers.local import HFSampler

    config, model, tokenizer = setting(run, layers)
    sampler, played, update, spent = HFSampler(model, tokenizer), [], 0, 0
    while spent < budget:
        update += 1
        found = rollout(
            sampler,
            tokenizer,
            SupportDesk,
            new_cases(config, update),
            **limits(config),
            temperature=0.8,
            batch_size=config.batch_size,
            seed=config.seed,
            tag=update,
            progress=False,
        )
        for i in rng(config.seed, 'budget', update).permutation(
            len(found)
        ):  # cases stand by kind, and the last ones may not be needed
            if spent < budget:
                played.append(found[i])
                spent += found[i].n_actions
    kept = select(played, seed=config.seed).kept
    model, _ = sft(
        model,
        tokenizer,
        to_dataset(kept, tokenizer),
        tempfile.mkdtemp(),
        epochs=1,
        learning_rate=config.ppo_learning_rate,
        batch_size=6,
        peft_config=lora(config.lora_rank, config.ppo_lora_layers, model.config.num_hidden_layers),
        seed=config.seed,
    )
    return model, tokenizer, spent, [over_families(by_family(played))]


def one(run, arm, budget, layers):
    "An arm's figures"
    from _bench import machine

    from rlops_lab.core import git_state
    from rlops_lab.core.files import read_jsonl
    from rlops_lab.environments.support_desk.desk import SupportDesk
    from rlops_lab.environments.support_desk.scenarios import scenarios
    from rlops_lab.recipes.stage_figures import by_family
    from rlops_lab.rollouts.engine import rollout
    from rlops_lab.samplers.local import HFSampler
    from rlops_lab.stats import gain, wilson

    began = time.perf_counter()
    model, tokenizer, tokens, curve = (
        ppo(run, arm, layers)
        if arm in ('head', 'adapter', 'full')
        else (grpo(run, layers) if arm == 'grpo' else rejection(run, budget, layers))
    )
    seconds, config = time.perf_counter() - began, setting(run, layers)[0]
    rows = scenarios(config.n_eval, 'eval', seed=config.seed, families=config.all_families)
    played = rollout(
        HFSampler(model, tokenizer),
        tokenizer,
        SupportDesk,
        rows,
        **limits(config, 4096),
        temperature=0.0,
        batch_size=config.batch_size,
        seed=config.seed,
        progress=False,
    )
    right = [t.kpis['verified_resolution'] == 1 for t in played]
    before = [
        t['kpis']['verified_resolution'] == 1
        for t in read_jsonl(run / 'trajectories.jsonl')
        if t['stage'] == 'sft'
    ]
    commit, dirty = git_state()
    return dict(
        arm=arm,
        seed=config.seed,
        layers=layers,
        commit=commit,
        dirty=dirty,
        machine=machine(),
        resolved=sum(right),
        n=len(right),
        ci95=list(wilson(sum(right), len(right))),
        sft=sum(before),
        over_sft=gain(before, right),
        tokens=tokens,
        minutes=seconds / 60,
        curve=curve,
        families=by_family(played),
        sft_families=json.loads((run / 'state.json').read_text())['figures']['sft']['families'],
    )


def table(done):
    "Mean over seeds with a t interval, of the arm and of what it adds to its seeds' fine-tuned policies, and each seed"
    from scipy.stats import t as student

    def told(x, sign=''):
        return f"{statistics.mean(x):{sign}.1%}" + (
            f" ± {student.ppf(0.975, len(x) - 1) * statistics.stdev(x) / len(x) ** 0.5:.1%}"
            if len(x) > 1
            else ''
        )

    if len(others := {d.get('layers', 0) for d in done}) > 1:
        sys.exit(
            f'these results are of adapters on {sorted(others)} layers (0: as in the run): show them apart'
        )
    figures = {}
    for arm in ARMS:
        mine = sorted((d for d in done if d['arm'] == arm), key=lambda d: d['seed'])
        if not mine:
            continue
        shares, gains = (
            [d['resolved'] / d['n'] for d in mine],
            [(d['resolved'] - d['sft']) / d['n'] for d in mine],
        )
        figures[arm] = dict(
            resolved=told(shares),
            over_sft=told(gains, '+'),
            n=len(mine),
            tokens=round(statistics.mean(d['tokens'] for d in mine)),
            minutes=round(statistics.mean(d['minutes'] for d in mine), 1),
        )
        print(
            f"{arm:10} {figures[arm]['resolved']}, over fine-tuned {figures[arm]['over_sft']}, of {len(mine)} seeds: "
            + ', '.join(f"{d['seed']}: {d['sft'] / d['n']:.1%} -> {x:.1%}" for d, x in zip(mine, shares))
            + f"; {figures[arm]['tokens']:,} tokens, {figures[arm]['minutes']} min"
        )
    print(
        json.dumps(
            dict(
                name='ppo_ablation',
                figures=figures,
                goal='five seeds of each arm',
                holds=len(figures) == len(ARMS) and all(f['n'] >= 5 for f in figures.values()),
                machine=done[-1]['machine'],
                commit=done[-1]['commit'],
            )
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', default='runs/bench', help='folder with demo-seed<n>')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--arms', nargs='+', default=list(ARMS), choices=ARMS)
    parser.add_argument(
        '--json', default='runs/bench/ppo_ablation.json', help='results; what stands there is not run again'
    )
    parser.add_argument(
        '--layers',
        type=int,
        default=0,
        help="adapters on so many of the uppermost layers, with a --json of its own; 0: as in the run",
    )
    parser.add_argument('--table', nargs='+', metavar='JSON', help='run nothing, show what these files hold')
    parser.add_argument('--one', nargs=2, metavar=('SEED', 'ARM'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    file = Path(args.json)
    read = lambda: json.loads(file.read_text()) if file.exists() else []
    head = lambda seed: next((d['tokens'] for d in read() if (d['seed'], d['arm']) == (seed, 'head')), None)
    if args.table:
        return table([d for f in args.table for d in json.loads(Path(f).read_text())])
    if others := {d.get('layers', 0) for d in read()} - {args.layers}:
        sys.exit(
            f'{file} has results of --layers {sorted(others)[0]}: give --layers {args.layers} a --json of its own'
        )
    if args.one:
        seed, arm = int(args.one[0]), args.one[1]
        result = one(Path(args.runs) / f'demo-seed{seed}', arm, head(seed), args.layers)
        return file.write_text(json.dumps(read() + [result], indent=1) + '\n')

    def measured(seed):
        file = Path(args.runs) / f'demo-seed{seed}' / 'state.json'
        return file.exists() and 'measure_sft' in json.loads(file.read_text())['done']

    if missing := [s for s in args.seeds if not measured(s)]:
        sys.exit(
            f'{args.runs} has no fine-tuned and measured policy of the seeds {missing}: make bench '
            f'BENCH=demo ARGS="--seeds {" ".join(map(str, missing))} --out {args.runs}"'
        )
    for seed in args.seeds:
        for arm in sorted(args.arms, key=ARMS.index):
            if any((d['seed'], d['arm']) == (seed, arm) for d in read()):
                continue
            if arm == 'rejection' and head(seed) is None:
                sys.exit('head comes first: its tokens are the budget of rejection sampling')
            print(f'seed {seed}, {arm}', flush=True)
            subprocess.run(
                [
                    sys.executable,
                    __file__,
                    '--runs',
                    args.runs,
                    '--json',
                    args.json,
                    '--layers',
                    str(args.layers),
                    '--one',
                    str(seed),
                    arm,
                ],
                check=True,
            )
    table(read())


if __name__ == '__main__':
    main()
