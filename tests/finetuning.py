"Tiny models and rows that the tests of fine-tuning share"

import torch
from datasets import Dataset
from peft import LoraConfig

from rlops_lab.core import rng
from rlops_lab.models.load import load

_, tokenizer = load('tiny')


class Killed(Exception):
    "What ends a run in the middle"


def kill_at(step_to_kill):
    "For `on_step`"

    def on_step(step, steps, metrics):
        if step == step_to_kill:
            raise Killed

    return on_step


def tiny(dtype=None):
    return load('tiny', dtype=dtype)[0]


def lora(**changes):
    return LoraConfig(**dict(r=4, lora_alpha=8, target_modules='all-linear') | changes)


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def labelled_rows(n=12, low=10, high=40, seed=0):
    "Random tokens; every third one has a label"
    random = rng(seed, 'rows')
    rows = []
    for _ in range(n):
        ids = random.integers(3, 300, random.integers(low, high)).tolist()
        labels = [token if place % 3 == 2 else -100 for place, token in enumerate(ids)]
        rows.append(dict(input_ids=ids, labels=labels, group='a'))
    return Dataset.from_list(rows)


def pair_rows(n=8, same_actions=False):
    "Pairs of episodes with a tool's answer between two turns of the policy"
    random, rows = rng(3, 'pairs'), []
    mask = [1] * 3 + [0] * 4 + [1] * 3
    for _ in range(n):
        prompt, tool, bad = (random.integers(3, 300, k).tolist() for k in (6, 4, 6))
        good = [9] * 3 + tool + [10] * 3
        row = dict(prompt_ids=prompt, chosen_ids=good, chosen_mask=mask)
        rejected = good if same_actions else bad[:3] + tool + bad[3:]
        rows.append(row | dict(rejected_ids=rejected, rejected_mask=mask, margin=1.0))
    return Dataset.from_list(rows)


def verdict_rows(n, seed=0):
    "Random tokens; the one before the end tells the label"
    random = rng(seed, 'rows')
    rows = []
    for i in range(n):
        ids = random.integers(3, 250, int(random.integers(5, 40))).tolist() + [68 + i % 2, tokenizer.eos_token_id]
        rows.append(dict(input_ids=ids, label=float(i % 2)))
    return Dataset.from_list(rows)
