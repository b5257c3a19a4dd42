"""What the PPO benchmarks share.

The machine in one line, a process's peak memory, and a model with episodes to train on."""

import resource
import sys
from pathlib import Path

import torch
from _machine import processor

from rlops_lab.core import Trajectory, rng

LORA = dict(
    r=16,
    lora_alpha=32,
    target_modules=['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
)


def machine():
    "What it ran on"
    return f'{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}'


def peak_bytes():
    """Largest memory this process has held.

    Linux's own count starts at `exec`; `getrusage` would show the parent's where that was larger"""
    status = Path('/proc/self/status')
    if status.exists():
        return next(
            int(line.split()[1]) * 1024
            for line in status.read_text().splitlines()
            if line.startswith('VmHWM')
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def prompts(tokenizer, n, tokens=64):
    "Prompts of random words, the same wherever they are drawn; none holds a pad or an end token"
    r, words = (
        rng(0, 'bench', 'prompts'),
        [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids],
    )
    return [r.choice(words, tokens).tolist() for _ in range(n)]


def lengths(n, most=64):
    "Tokens of replies: log-normal around 30, cut at the limit, which about one in nine reaches"
    return rng(0, 'bench', 'lengths').lognormal(3.4, 0.6, n).round().clip(4, most).astype(int).tolist()


def episodes(tokenizer, n, replies=None):
    """Recorded single-turn episodes with random tokens and rewards, for benchmarks that leave sampling out;
    `replies` are their lengths, None: drawn"""
    r, words = (
        rng(0, 'bench', 'episodes'),
        [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids],
    )

    def episode(prompt, k):
        return Trajectory(
            {},
            [],
            prompt + r.choice(words, k).tolist(),
            [0] * len(prompt) + [1] * k,
            [0.0] * (len(prompt) + k),
            [-1] * len(prompt) + [0] * k,
            [float(r.normal())],
            terminated=True,
        )

    return [episode(p, k) for p, k in zip(prompts(tokenizer, n), replies or lengths(n))]
