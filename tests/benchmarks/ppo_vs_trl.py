"""Seconds and peak memory of a PPO update with a learned reward model.

Ours, and TRL 1.10's PPOTrainer at its best and by default.

    make bench BENCH=ppo_vs_trl [ARGS="--pairs 5 --updates 2"]

SmolLM2-135M, 16 single-turn episodes of 64 prompt tokens and up to 64 response tokens, 4 epochs of one optimizer
step, sampling and scoring included. Every side of every pair is a process of its own, and the order changes from
pair to pair. The first update of a process is a warm-up and is not counted.

Both sides get the same prompts, the same reward model (a LoRA trained on a few pairs with
`finetune.reward_model`; TRL, which wants a classifier, gets it merged) and the same stop positions: lengths are
drawn once (`_bench.lengths`), and a response ends when it has so many tokens, whatever they are. TRL has a
`StoppingCriteria` for that, ours a `Reply` with a limit of its own; no side's logits are touched, and end tokens
end nothing.

TRL at its best: weights in bf16, LoRA on the policy and on the critic (whose base is a second model all the
same), micro-batches of `--peer-micro` episodes. By default: float32, all weights of policy and critic trained, a
copy as the reference. Ours is in bf16 with LoRA and micro-batches of at most 1024 tokens, with `critic='adapter'`
and `'head'`. The old policy's log-probabilities are those of sampling, as in TRL, except with the head, whose
values need that forward pass anyway."""

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

from _bench import LORA, lengths, machine, peak_bytes, prompts

EPISODES, LIMIT = 16, 64
SHARED = dict(
    num_ppo_epochs=4,
    num_mini_batches=1,
    temperature=0.7,
    kl_coef=0.05,
    cliprange_value=0.2,
    vf_coef=0.1,
    lam=0.95,
    gamma=1.0,
    learning_rate=1e-5,
)


def upper(n, model):
    "The adapters' settings, for the uppermost `n` layers; 0: all"
    most = model.config.num_hidden_layers
    return LORA | (dict(layers_to_transform=list(range(most - min(n, most), most))) if n else {})


def prepare(folder, name='smollm2', layers=0):
    "Base model, reward model (adapter and merged) and what is to be sampled, in a folder that both sides read"
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from rlops_lab.finetune.reward_training import reward_model
    from rlops_lab.models.load import load

    model, tokenizer = load(name, device='cpu', dtype=torch.bfloat16)
    model.save_pretrained(folder / 'base')
    tokenizer.save_pretrained(folder / 'base')
    asked, lora = prompts(tokenizer, EPISODES, 64), upper(layers, model)
    pairs = Dataset.from_list(
        [dict(prompt_ids=p[:16], chosen_ids=p[16:24], rejected_ids=p[24:48]) for p in asked[:8]]
    )
    scorer, _ = reward_model(
        model,
        tokenizer,
        pairs,
        folder / 'fit',
        peft_config=LoraConfig(**lora),
        adapter_dir=folder / 'reward_adapter',
        batch_size=4,
        max_steps=2,
    )
    scorer.save_pretrained(folder / 'reward')
    (folder / 'work.json').write_text(
        json.dumps(dict(prompts=asked, limits=lengths(EPISODES, LIMIT), lora=lora))
    )


def ours(folder, critic, updates):
    "Updates of ours: seconds of each, seconds by phase, tokens sampled, peak memory"
    import torch
    from peft import LoraConfig

    from rlops_lab.core import Trajectory
    from rlops_lab.models.load import load
    from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
    from rlops_lab.samplers import local
    from rlops_lab.samplers.sampling import SampledReply, SamplingParams

    work = json.loads((folder / 'work.json').read_text())
    limit_of = {tuple(p): n for p, n in zip(work['prompts'], work['limits'])}

    class Limited(SampledReply):
        "A reply that ends at its own limit, whatever its tokens are"

        def add(self, token, logprob, *_):
            super().add(token, logprob, set(), limit_of[tuple(self.context)])

    local.SampledReply = Limited
    model, tokenizer = load(str(folder / 'base'), device='cpu', dtype=torch.bfloat16)
    args = PPOConfig(
        num_updates=updates + 1,
        episodes_per_update=EPISODES,
        critic=critic,
        critic_learning_rate=SHARED['learning_rate'],
        micro_batch_tokens=1024,
        max_total_tokens=1024,
        truncation='terminal',
        adam_epsilon=1e-8,
        old_logprobs='sampler' if critic == 'adapter' else 'recompute',
        **SHARED,
    )
    lora = LoraConfig(task_type='CAUSAL_LM', **work['lora'])
    trainer = PPOTrainer(
        model, args, processing_class=tokenizer, peft_config=lora, reward_model=folder / 'reward_adapter'
    )
    out = dict(seconds=[], seconds_rollout=[], seconds_score=[], seconds_update=[], sampled=[])
    for i in range(updates + 1):
        began = time.perf_counter()
        sampler = local.HFSampler(trainer.backbone.base, tokenizer)
        replies = sampler.sample(work['prompts'], SamplingParams(LIMIT, args.temperature, seed=i))
        played = [
            Trajectory(
                {},
                [],
                p + r.token_ids,
                [0] * len(p) + [1] * len(r.token_ids),
                [0.0] * len(p) + r.logprobs,
                [-1] * len(p) + [0] * len(r.token_ids),
                [0.0],
                terminated=True,
            )
            for p, r in zip(work['prompts'], replies)
        ]
        assert [t.n_actions for t in played] == work['limits'], 'a response did not stop where it was to'
        sampled = time.perf_counter()
        record = trainer.update(trainer.grade(played, training=True))
        now = dict(
            seconds=time.perf_counter() - began,
            seconds_rollout=sampled - began,
            sampled=sum(t.n_actions for t in played),
        )
        for k, x in (now | {k: record[k] for k in ('seconds_score', 'seconds_update')}).items():
            out[k].append(x)
    return out | dict(peak=peak_bytes())


def theirs(folder, which, updates, micro, attention):
    "The job of one of TRL's sides"
    best = which == 'trl'
    config = SHARED | dict(
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=EPISODES // micro,
        total_episodes=EPISODES * (updates + 1),
        response_length=LIMIT,
    )
    file = folder / f'{which}.json'
    models = {
        role: str(folder / name)
        for role, name in dict(base='base', policy='base', critic='reward', reward='reward').items()
    }
    work = json.loads((folder / 'work.json').read_text())
    how = (
        dict(lora=work['lora'], dtype='bfloat16', attention=attention)
        if best
        else dict(lora=None, dtype='float32', attention='sdpa')
    )
    file.write_text(json.dumps(work | models | how | dict(config=config)))
    return file


def last_line(command):
    "The JSON that a process prints last"
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{Path(str(command[1])).name} failed: {done.stderr[-3000:]}')
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(pairs=5, updates=2).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--peer-micro', type=int, default=4, help="episodes of TRL's micro-batches")
    parser.add_argument(
        '--peer-attention', default='sdpa', help="implementation of attention in TRL's best configuration"
    )
    parser.add_argument(
        '--layers',
        type=int,
        default=0,
        help='adapters on so many of the uppermost layers, on both sides; 0: on all',
    )
    parser.add_argument('--sides', nargs='+', default=['trl', 'adapter', 'head', 'trl_default'])
    parser.add_argument('--model', default='smollm2', help="'tiny' shows in a minute that everything runs")
    parser.add_argument(
        '--side', help=argparse.SUPPRESS
    )  # one of ours in this process, of the folder in --folder
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == 'prepare':
        prepare(args.folder, args.model, args.layers)
        print('{}')
        return
    if args.side:
        print(json.dumps(ours(args.folder, args.side, args.updates)))
        return
    from _peer import python_of_peer

    from rlops_lab.core import git_state

    here, python, runs = Path(__file__), python_of_peer(), {side: [] for side in args.sides}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        last_line(
            [
                sys.executable,
                here,
                '--side',
                'prepare',
                '--folder',
                folder,
                '--model',
                args.model,
                '--layers',
                args.layers,
            ]
        )
        for pair in range(args.pairs):
            for side in args.sides[:: -1 if pair % 2 else 1]:
                if side.startswith('trl'):
                    job = [
                        python,
                        here.parent / '_trl110.py',
                        theirs(folder, side, args.updates, args.peer_micro, args.peer_attention),
                    ]
                else:
                    job = [
                        sys.executable,
                        here,
                        '--side',
                        side,
                        '--folder',
                        folder,
                        '--updates',
                        args.updates,
                    ]
                runs[side].append(run := last_line(job))
                whole, sampling = (statistics.median(run[k][1:]) for k in ('seconds', 'seconds_rollout'))
                print(
                    f"pair {pair} {side:11} {whole:6.1f} s an update (sampling {sampling:.1f}), peak "
                    f"{run['peak'] / 1e9:.2f} GB",
                    flush=True,
                )
    median = lambda side, f: statistics.median(f(r) for r in runs[side])
    seconds, gigabytes = lambda r: statistics.median(r['seconds'][1:]), lambda r: r['peak'] / 1e9
    figures = dict(
        model=args.model,
        n=args.pairs,
        updates=args.updates,
        layers=args.layers,
        sampled=runs[args.sides[0]][0]['sampled'][-1],
        attention=args.peer_attention,
        micro=args.peer_micro,
    )
    for side in runs:
        figures |= {
            f'{side}_seconds': round(median(side, seconds), 2),
            f'{side}_gb': round(median(side, gigabytes), 2),
        }
    holds = []
    for mine in [s for s in runs if not s.startswith('trl')]:
        for peer, goal in (('trl', 3), ('trl_default', 10)):
            if peer not in runs:
                continue
            times = statistics.median(seconds(b) / seconds(a) for a, b in zip(runs[mine], runs[peer]))
            figures[f'{mine}_times_faster_than_{peer}'] = round(times, 2)
            holds.append(times >= goal)
        if 'trl' in runs:
            share = statistics.median(a['peak'] / b['peak'] for a, b in zip(runs[mine], runs['trl']))
            figures[f'{mine}_peak_share_of_trl'] = round(share, 3)
            holds.append(share <= 0.5)
    goal = '>=3x TRL at its best, >=10x its default, <=0.5x the memory of its best'
    print(
        json.dumps(
            dict(
                name='ppo_vs_trl',
                figures=figures,
                goal=goal,
                holds=bool(holds) and all(holds),
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
