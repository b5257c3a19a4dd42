"What the benchmarks of a local judge share: its modes, one model for all of them, and rows of verdicts."

import argparse
import asyncio
import platform
import os
from pathlib import Path

from rlops_lab.judges.judge import Judge
from rlops_lab.judges.grading import run_in_background
from _machine import processor

BENCH = Path(__file__).resolve().parents[2] / '.bench'
DATA = Path(__file__).resolve().parents[2] / 'data' / 'judges'
MODES = {
    'probabilities': dict(mode='logprobs'),
    'probabilities, only letters': dict(mode='logprobs', structured=True),
    'reason': dict(max_tokens=80),
    'reason, structured': dict(max_tokens=80, structured=True),
}


def arguments(doc, name, **more):
    "Command line"
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        '--model',
        default='smollm2',
        help="'smollm2', 'tiny' (random: to try the script), a hub id or a folder",
    )
    parser.add_argument(
        '--log', default=BENCH / f'{name}.jsonl', help='every answer as it comes; a run goes on from there'
    )
    parser.add_argument(
        '--write',
        action='store_true',
        help='write the verdicts to data/judges, from where the notebook reads them',
    )
    for key, default in more.items():
        parser.add_argument(f'--{key}', type=type(default), default=default)
    return parser.parse_args()


def judged(ask, rubric, items, log, modes=MODES):
    "{mode: verdicts}, all modes at once, so that their questions share what they have in common"
    Path(log).parent.mkdir(exist_ok=True)
    judges = {
        m: Judge(
            ask,
            rubric,
            attempts=1,
            timeout=7200.0,
            concurrency=ask.batch // 2,
            log=Path(log).with_suffix(f'.{i}.jsonl'),
            **MODES[m],
        )
        for i, m in enumerate(modes)
    }

    async def all_modes():
        return await asyncio.gather(*(j._grade_all(j._checked(items)) for j in judges.values()))

    return dict(zip(judges, run_in_background(all_modes())))


def machine():
    import torch

    load = os.getloadavg()[0]
    versions = f'torch {torch.__version__}, Python {platform.python_version()}'
    return f'{processor()}, {torch.get_num_threads()} thread, {versions}, load {load:.0f}'
