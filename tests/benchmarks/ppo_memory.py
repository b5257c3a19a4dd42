"""Peak memory of PPO with all four roles beside SFT with the same adapter and the same batch.

    make bench BENCH=ppo_memory [ARGS="--pairs 5"]

Policy, reference, critic and reward model share one backbone (`ppo_vs_trl.ours`: sampling, scoring and four
epochs, 16 episodes in one micro-batch of at most 2048 tokens). SFT is `finetune.sft` with the same LoRA on the
same 16 prompts with responses of the same lengths, in one micro-batch. Each run is a process of its own."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1')

from _bench import LORA, machine, peak_bytes
from ppo_vs_trl import EPISODES, last_line, ours


def sft_side(folder):
    "Three steps of SFT on the batch"
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from rlops_lab.finetune.sft import sft
    from rlops_lab.models.load import load

    work = json.loads((folder / 'work.json').read_text())
    model, tokenizer = load(str(folder / 'base'), device='cpu', dtype=torch.bfloat16)
    rows = [
        dict(input_ids=p + p[:n], labels=[-100] * len(p) + p[:n])
        for p, n in zip(work['prompts'], work['limits'])
    ]
    sft(
        model,
        tokenizer,
        Dataset.from_list(rows),
        folder / 'sft',
        peft_config=LoraConfig(task_type='CAUSAL_LM', **LORA),
        batch_size=EPISODES,
        epochs=3,
    )
    return dict(peak=peak_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument('--model', default='smollm2', help="'tiny' shows in a minute that everything runs")
    parser.add_argument('--side', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(sft_side(args.folder) if args.side == 'sft' else ours(args.folder, args.side, 1)))
        return
    from rlops_lab.core import git_state

    here, runs = Path(__file__), {side: [] for side in ('sft', 'adapter', 'head')}
    with tempfile.TemporaryDirectory() as folder:
        last_line(
            [
                sys.executable,
                here.parent / 'ppo_vs_trl.py',
                '--side',
                'prepare',
                '--folder',
                folder,
                '--model',
                args.model,
            ]
        )
        for pair in range(args.pairs):
            for side in list(runs)[:: -1 if pair % 2 else 1]:
                runs[side].append(
                    last_line([sys.executable, here, '--side', side, '--folder', folder])['peak']
                )
                print(f'pair {pair} {side:8} peak {runs[side][-1] / 1e9:.3f} GB', flush=True)
    ratios = {
        side: statistics.median(a / b for a, b in zip(runs[side], runs['sft']))
        for side in ('adapter', 'head')
    }
    figures = dict(
        model=args.model,
        n=args.pairs,
        **{f'{s}_gb': round(statistics.median(x) / 1e9, 3) for s, x in runs.items()},
    )
    figures |= {f'{s}_over_sft': round(x, 3) for s, x in ratios.items()}
    print(
        json.dumps(
            dict(
                name='ppo_memory',
                figures=figures,
                goal='<=1.25x SFT',
                holds=max(ratios.values()) <= 1.25,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
