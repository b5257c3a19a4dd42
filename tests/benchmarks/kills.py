"""The demo, killed at random moments and gone on with: are its metrics those of a run that nothing interrupted?

    make bench BENCH=kills ARGS="--whole runs/bench/demo-seed0 --kills 5"

`--whole` is a finished run; the same settings are run again, killed and resumed. Both need the same machine and
number of threads."""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

TIMES = ('seconds', 'p50_reply', 'p95_reply', 'usd', '_per_s')  # what differs between any two runs


def metrics(path):
    "A run's metrics without times"
    return [
        {k: v for k, v in json.loads(line).items() if not any(t in k for t in TIMES)}
        for line in (path / 'metrics.jsonl').read_text().splitlines()
    ]


def life(path, config, seconds):
    "Run or go on with the demo, for so many seconds at most; True once it is finished"
    code = (
        'from rlops_lab.recipes.demo_config import DemoConfig; from rlops_lab.recipes.support_desk import Demo; '
        f'Demo(DemoConfig(**{config!r}), {str(path)!r}, resume={(path / "state.json").exists()})()'
    )
    process = subprocess.Popen([sys.executable, '-c', code])
    try:
        rc = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False
    if rc:
        sys.exit(f'the demo failed with exit status {rc}; its output is above')
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--whole', required=True, help='folder of a finished run')
    parser.add_argument('--kills', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--out', help='folder of the run that is killed (default: beside the whole one)')
    args = parser.parse_args()
    whole = Path(args.whole)
    path = Path(args.out or f'{whole}-killed')
    if path.exists():
        sys.exit(f'{path} is there already: delete it, or name another folder with --out')
    summary = json.loads((whole / 'summary.json').read_text())
    r = random.Random(args.seed)
    moments = sorted(r.uniform(0, summary['seconds_total']) for _ in range(args.kills))
    state = lambda: (
        json.loads((path / 'state.json').read_text()) if (path / 'state.json').exists() else dict(done=[])
    )
    began, kills = time.perf_counter(), 0
    for until in (b - a for a, b in zip([0, *moments], moments)):
        if life(path, summary['config'], until):
            sys.exit(f'it was finished after {kills} kills: take another --seed')
        kills += 1
        print(f"killed after {until:.0f} s; stages done: {', '.join(state()['done']) or 'none'}", flush=True)
    life(path, summary['config'], None)
    a, b = metrics(whole), metrics(path)
    differ = [
        f"line {i + 1}: {', '.join(k for k in x.keys() | y.keys() if x.get(k) != y.get(k))}"
        for i, (x, y) in enumerate(zip(a, b))
        if x != y
    ]
    print(
        f"{kills} kills, {time.perf_counter() - began:.0f} s instead of {summary['seconds_total']:.0f}; "
        f"{len(a)} and {len(b)} lines of metrics, "
        + ('equal apart from times' if a == b else 'DIFFERENT: ' + ('; '.join(differ[:5]) or 'one is longer'))
    )
    sys.exit(a != b)


if __name__ == '__main__':
    main()
