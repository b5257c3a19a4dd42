"""The demo with several seeds: what each run reaches, how long it takes, and whether PPO adds to SFT.

    make bench BENCH=demo [ARGS="--seeds 0 1 2 --out runs/bench --json nbs/results/support_desk.json"]

Each seed is a process of its own and a run folder of its own, so that an interrupted benchmark goes on where it was."""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from _machine import processor


def one_run(seed, folder, more):
    "The summary of a seed's run; it is made, gone on with, or only read. A run with other settings is refused"
    path = folder / f'demo-seed{seed}'
    code = (
        'from rlops_lab.recipes.demo_config import DemoConfig; from rlops_lab.recipes.support_desk import Demo; '
        f'Demo(DemoConfig(seed={seed}, **{more!r}), {str(path)!r}, resume={path.exists()})()'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
    return json.loads((path / 'summary.json').read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--out', default='runs/bench', help='folder of the runs')
    parser.add_argument('--json', help='write all summaries to this file')
    parser.add_argument('--config', default='{}', help='settings of DemoConfig as JSON, for shorter trials')
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    runs = [one_run(seed, folder, json.loads(args.config)) for seed in args.seeds]
    cpu = processor()
    print(f'{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}')
    for r in runs:
        stages = '  '.join(
            f"{s} {r[s]['verified_resolution']:.1%} [{r[s]['ci95'][0]:.1%}, {r[s]['ci95'][1]:.1%}] of {r[s]['n']}"
            for s in ('prompted', 'sft', 'ppo')
        )
        g = r['ppo_over_sft']
        print(
            f"seed {r['seed']}  {r['seconds_total'] / 60:5.1f} min  {stages}  PPO-SFT "
            f"{g['difference']:+.1%} [{g['ci95'][0]:+.1%}, {g['ci95'][1]:+.1%}], McNemar p = {g['p']:.2g}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(dict(cpu=cpu, runs=runs), indent=1) + '\n')


if __name__ == '__main__':
    main()
