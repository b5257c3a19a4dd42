"""FLOP/s of the PPO update, as a share of what a plain loop of bf16 matrix products of the same shapes reaches.

    make bench BENCH=ppo_flops [ARGS="--pairs 5 --critic head"]

Counted is only what the update needs: for each token of an episode the frozen weights forward and backward (no
weight gradients), the adapters, and causal attention, in the last layer what comes behind attention for tokens
whose state is read alone; for each sampled token the output embeddings. Padding, whatever is computed twice, the
optimizer and losses count as nothing, but their time does. The loop multiplies as many rows by the very weights,
one layer after the other, forward and backward. Both run alternately in one process."""

import argparse
import inspect
import json
import statistics
import time

import torch
from _bench import LORA, episodes, machine
from peft import LoraConfig

from rlops_lab.core import git_state
from rlops_lab.models.load import load
from rlops_lab.models.packed_layers import LINEARS
from rlops_lab.ppo.update import compute_advantages
from rlops_lab.ppo.losses import token_logprobs
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer


def weights_of(decoder):
    "The frozen weights of each layer's linear parts"
    return [
        [
            getattr(m, 'base_layer', m).weight.detach()
            for m in (layer.get_submodule(path) for path in LINEARS.values())
        ]
        for layer in decoder.layers
    ]


def products(trainer, played):
    """FLOPs of the plain products of one pass: (decoder, output embeddings).

    Behind the last layer's attention only states that are read go on"""
    tokens, actions = sum(len(t.token_ids) for t in played), sum(t.n_actions for t in played)
    layers, spared = weights_of(trainer.backbone.decoder), tokens - actions - len(played)
    return 4 * tokens * sum(w.numel() for layer in layers for w in layer) - 4 * spared * sum(
        w.numel() for w in layers[-1][3:]
    ), 4 * actions * trainer.backbone.output_embeddings.numel()


def useful(trainer, played):
    "FLOPs that an epoch needs"
    b, c = trainer.backbone, trainer.backbone.base.config
    tokens, (decoder, head) = sum(len(t.token_ids) for t in played), products(trainer, played)
    late = sum(
        p.numel()
        for n, p in b.decoder.layers[-1].named_parameters()
        if '.policy.' in n and ('o_proj' in n or 'mlp' in n)
    )
    adapters = (
        6 * tokens * sum(p.numel() for p in b.policy_parameters())
        - 6 * (tokens - sum(t.n_actions for t in played) - len(played)) * late
    )
    width = weights_of(b.decoder)[0][0].shape[0]  # heads times their size
    attention = (
        3
        * sum(2 * 2 * width * (n * (n + 1) // 2) for n in (len(t.token_ids) for t in played))
        * c.num_hidden_layers
    )
    first = (
        2 * tokens * sum(w.numel() for w in weights_of(b.decoder)[0][:3])
    )  # nothing lies below the first layer
    return (decoder + adapters + attention - first) * (2 if b.critic == 'adapter' else 1) + head


def loop(trainer, plan):
    "Seconds of the plain products of one epoch, over the same micro-batches"
    b = trainer.backbone
    layers, out, seconds = weights_of(b.decoder), b.output_embeddings.detach(), 0.0
    for micro in (m for part in plan for m in part):
        rows, read = (
            {
                n: torch.randn(sum(micro.lengths), n, dtype=out.dtype)
                for n in {s for w in layers[0] for s in w.shape}
            },
            len(micro.positions),
        )

        def of(width, layer, i):
            return rows[width][:read] if layer is layers[-1] and i > 2 else rows[width]

        chunk = inspect.signature(token_logprobs).parameters['chunk'].default
        head, back = (
            torch.randn(chunk, out.shape[1], dtype=out.dtype),
            torch.randn(chunk, out.shape[0], dtype=out.dtype),
        )
        began = time.perf_counter()
        for _ in range(2 if b.critic == 'adapter' else 1):
            for layer in layers:
                for i, w in enumerate(layer):
                    of(w.shape[1], layer, i) @ w.T
            for layer in reversed(layers):
                for i, w in enumerate(layer):
                    of(w.shape[0], layer, i) @ w
        for k in range(0, len(micro.index), chunk):
            n = min(chunk, len(micro.index) - k)
            head[:n] @ out.T
            back[:n] @ out
        seconds += time.perf_counter() - began
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(pairs=5, episodes=32, epochs=2).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--critic', nargs='+', default=['adapter', 'head'])
    parser.add_argument('--model', default='smollm2')
    args = parser.parse_args()
    figures, shares = dict(model=args.model, n=args.pairs, episodes=args.episodes), {}
    for critic in args.critic:
        model, tokenizer = load(args.model, device='cpu', dtype=torch.bfloat16)
        config = PPOConfig(
            num_ppo_epochs=args.epochs,
            num_mini_batches=1,
            episodes_per_update=args.episodes,
            critic=critic,
            truncation='terminal',
        )
        trainer = PPOTrainer(
            model, config, processing_class=tokenizer, peft_config=LoraConfig(task_type='CAUSAL_LM', **LORA)
        )
        played = episodes(tokenizer, args.episodes)
        plan = trainer.plan(played, list(range(len(played))))
        s = compute_advantages(played, trainer.score(played, plan), config)
        plain = sum(products(trainer, played)) + (products(trainer, played)[0] if critic == 'adapter' else 0)
        trainer.optimize(plan, s)
        loop(trainer, plan)  # warm-up
        runs = []
        for pair in range(args.pairs):

            def update():
                began = time.perf_counter()
                trainer.optimize(plan, s)
                return useful(trainer, played) * args.epochs / (time.perf_counter() - began)

            def matmul():
                return plain * args.epochs / sum(loop(trainer, plan) for _ in range(args.epochs))

            a, b = (update(), matmul()) if pair % 2 == 0 else (matmul(), update())[::-1]
            runs.append((a, b))
            print(
                f'pair {pair} {critic:8} update {a / 1e9:6.1f}, plain products {b / 1e9:6.1f} GFLOP/s: {a / b:.1%}',
                flush=True,
            )
        shares[critic], ours, plainly = (
            statistics.median(x) for x in zip(*((a / b, a / 1e9, b / 1e9) for a, b in runs))
        )
        figures |= {
            f'{critic}_gflops': round(ours, 1),
            f'{critic}_plain_gflops': round(plainly, 1),
            f'{critic}_share': round(shares[critic], 3),
        }
    print(
        json.dumps(
            dict(
                name='ppo_flops',
                figures=figures,
                goal='share>=0.5',
                holds=min(shares.values()) >= 0.5,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
