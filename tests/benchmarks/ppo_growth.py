"""Does an update's cost grow in proportion to its episodes?

Seconds per trained token and peak memory from 16 to 256 episodes.

    make bench BENCH=ppo_growth [ARGS="--pairs 5 --sizes 16 256 --epochs 2"]

Episodes are recorded ones with random tokens (64 prompt tokens, up to 64 response tokens), so that sampling stays
out; an update is scoring and an epoch in micro-batches of at most 2048 tokens. Each size is a process of its own,
sizes take turns, and the order is reversed from pair to pair. The first two updates of a process warm up on 16
episodes of full length, which fill one micro-batch: with them, 16 episodes meet the limit too, and with the
optimizer's state in memory, which the first step makes."""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1')

from _bench import LORA, episodes, machine, peak_bytes
from ppo_vs_trl import last_line


def one(size, critic, name, epochs):
    "Seconds per trained token (counted once an epoch), and the peak"
    import torch
    from peft import LoraConfig

    from rlops_lab.models.load import load
    from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer

    model, tokenizer = load(name, device='cpu', dtype=torch.bfloat16)
    args = PPOConfig(num_ppo_epochs=epochs, num_mini_batches=1, episodes_per_update=size, critic=critic)
    trainer = PPOTrainer(
        model, args, processing_class=tokenizer, peft_config=LoraConfig(task_type='CAUSAL_LM', **LORA)
    )
    for _ in range(2):
        trainer.update(episodes(tokenizer, 16, [64] * 16))
    played = episodes(tokenizer, size)
    began = time.perf_counter()
    trainer.update(played)
    return dict(
        seconds=(time.perf_counter() - began) / (args.num_ppo_epochs * sum(len(t.token_ids) for t in played)),
        peak=peak_bytes(),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument('--sizes', type=int, nargs='+', default=[16, 64, 256])
    parser.add_argument('--epochs', type=int, default=1)
    parser.add_argument('--critic', default='adapter')
    parser.add_argument('--model', default='smollm2')
    parser.add_argument('--size', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.size:
        print(json.dumps(one(args.size, args.critic, args.model, args.epochs)))
        return
    from rlops_lab.core import git_state

    runs = {n: [] for n in args.sizes}
    for pair in range(args.pairs):
        for n in args.sizes[:: -1 if pair % 2 else 1]:
            job = [
                sys.executable,
                Path(__file__),
                '--size',
                n,
                '--critic',
                args.critic,
                '--model',
                args.model,
                '--epochs',
                args.epochs,
            ]
            runs[n].append(run := last_line(job))
            print(
                f"pair {pair} {n:4} episodes {run['seconds'] * 1e3:7.3f} ms a token, peak {run['peak'] / 1e9:.2f} GB",
                flush=True,
            )
    seconds = {n: statistics.median(r['seconds'] for r in x) for n, x in runs.items()}
    middle = statistics.median(seconds.values())
    apart = max(abs(s / middle - 1) for s in seconds.values())
    growth = statistics.median(
        b['peak'] / a['peak'] for a, b in zip(runs[args.sizes[0]], runs[args.sizes[-1]])
    )
    figures = dict(
        model=args.model,
        n=args.pairs,
        critic=args.critic,
        epochs=args.epochs,
        ms_per_token={n: round(s * 1e3, 3) for n, s in seconds.items()},
        largest_distance_from_median=round(apart, 3),
        gb={n: round(statistics.median(r['peak'] for r in x) / 1e9, 2) for n, x in runs.items()},
        peak_growth=round(growth, 3),
    )
    goal, holds = (
        'within 15% of the median, peak of the largest <=1.1x that of the smallest',
        apart <= 0.15 and growth <= 1.1,
    )
    print(
        json.dumps(
            dict(
                name='ppo_growth',
                figures=figures,
                goal=goal,
                holds=holds,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
