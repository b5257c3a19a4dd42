"""Sampled tokens per second of support-desk episodes.

Our sampler and rollout, and TRL's own tool loop on `model.generate`.

    make bench BENCH=rollouts_vs_trl [ARGS="--pairs 5 --episodes 64"]

Both play the same rows with the same few-shot prompts (the desk's playbooks, tools shown by the chat template;
the prompts' tokens are compared), the same model object in the same dtype, at temperature 1 and with the same
limits on turns and on tokens a turn. They take turns in one process, and who begins alternates. Each counts the
tokens it sampled and kept, and the time from the first `reset` to the last tool result; ours includes packing the
weights.

Two differences remain. Ours hands plain text to the customer and ends an episode when the environment is done;
TRL's loop ends it at the first reply that is no call, and goes on after the environment is done. And TRL has no
limit on the tokens of a turn: it is given one through `generation_kwargs`."""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings

os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1')
warnings.simplefilter('ignore')

import torch
from _bench import machine
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from rlops_lab.core import git_state
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import playbook, scenarios
from rlops_lab.models.load import load
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.local import HFSampler


class Generated(Exception):
    "Stops TRL's trainer after its episodes, before it scores them"


def ours(model, tokenizer, rows, args, seed):
    "Episodes by our rollout: prompts' token ids, tokens sampled, turns, seconds"
    began = time.perf_counter()
    trajectories = rollout(
        HFSampler(model, tokenizer),
        tokenizer,
        SupportDesk,
        rows,
        max_turns=args.turns,
        max_tokens_per_turn=args.tokens,
        max_total_tokens=args.context,
        batch_size=len(rows),
        seed=seed,
        tools_in_prompt=True,
        progress=False,
    )
    seconds = time.perf_counter() - began
    prompts = [t.token_ids[: t.action_mask.index(1)] for t in trajectories]
    return prompts, sum(t.n_actions for t in trajectories), sum(t.n_turns for t in trajectories), seconds


def trl_trainer(model, tokenizer, rows, args):
    "TRL's trainer with our limits; whatever `_generate` returns is carried out by an exception"
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        report_to='none',
        per_device_train_batch_size=len(rows),
        num_generations=2,
        max_completion_length=args.context,
        max_tool_calling_iterations=args.turns - 1,
        temperature=1.0,
        gradient_checkpointing=False,
        generation_kwargs=dict(max_new_tokens=args.tokens),
    )
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=config,
        train_dataset=Dataset.from_list(rows),
        environment_factory=SupportDesk,
    )
    generate = trainer._generate

    def stop(prompts):
        raise Generated(generate(prompts))

    trainer._generate = stop
    return trainer


def theirs(trainer, rows, seed):
    "The same by TRL's loop"
    torch.manual_seed(seed)
    began = time.perf_counter()
    try:
        trainer._generate_and_score_completions(rows)
    except Generated as done:
        prompts, _, masks = done.args[0][:3]
    seconds = time.perf_counter() - began
    turns = sum(a == 1 and b == 0 for mask in masks for a, b in zip(mask, mask[1:] + [0]))
    return prompts, sum(map(sum, masks)), turns, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(pairs=3, episodes=64, turns=6, tokens=48, context=2048).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--model', default='smollm2')
    parser.add_argument('--prompt', choices=('playbook', 'short'), default='playbook')
    args = parser.parse_args()
    model, tokenizer = load(args.model, device='cpu')
    rows = scenarios(args.episodes, 'train')
    if args.prompt == 'playbook':
        rows = [row | dict(prompt=playbook(row['queue']) + [dict(role='user', content='')]) for row in rows]
    trainer, runs = trl_trainer(model, tokenizer, rows, args), dict(ours=[], trl=[])
    for pair in range(args.pairs):
        play = dict(
            ours=lambda: ours(model, tokenizer, rows, args, pair), trl=lambda: theirs(trainer, rows, pair)
        )
        prompts = {}
        for who in sorted(play, reverse=pair % 2):
            prompts[who], tokens, turns, seconds = play[who]()
            runs[who].append((tokens / seconds, seconds, turns, tokens))
            print(
                f'pair {pair} {who:5} {tokens:6} tokens in {turns:4} turns, {seconds:6.1f} s: '
                f'{tokens / seconds:6.1f} tokens/s',
                flush=True,
            )
        assert list(map(list, prompts['trl'])) == prompts['ours'], 'the two were not given the same prompts'
    ratios = [a[0] / b[0] for a, b in zip(runs['ours'], runs['trl'])]
    median = {
        f'{who}_{what}': round(statistics.median(run[i] for run in runs[who]), 1)
        for who in runs
        for i, what in enumerate(('tokens_per_s', 'seconds', 'turns', 'tokens'))
    }
    figures = dict(
        ratio=round(statistics.median(ratios), 2),
        ratios=[round(r, 2) for r in ratios],
        n=args.pairs,
        episodes=args.episodes,
        prompt_tokens=round(statistics.mean(map(len, prompts['ours']))),
        dtype=str(model.dtype),
        **median,
    )
    print(
        f"ours {median['ours_tokens_per_s']}, TRL {median['trl_tokens_per_s']} tokens/s: {figures['ratio']}x"
    )
    print(
        json.dumps(
            dict(
                name='rollouts_vs_trl',
                figures=figures,
                goal='>=3x',
                holds=figures['ratio'] >= 3,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
