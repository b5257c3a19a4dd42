"""How soon does the alarm notice a judge that has become worse, and how often does it cry wolf?

Beside ADWIN, on the same streams.

    make bench BENCH=judge_drift [ARGS="--streams 1000 --adwin-streams 200"]

Streams of 5,000 verdicts on canaries, right in 80% of the cases, either all the time or until 1,000 and in 70%
after that. `DriftAlarm` (level 3%, its default) is told the 80%; ADWIN (river, delta=.002, its default) is told
nothing. A false alarm is one in a stream without a change; the delay is that of the streams in which the first
alarm comes after the change. river 0.26.1 is put into `.bench/river` on the first run, unless it is installed."""

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _machine import processor

from rlops_lab.core import git_state, rng
from rlops_lab.observe.drift import first_alarms

RELEASE, FOLDER = 'river==0.26.1', Path(__file__).resolve().parents[2] / '.bench' / 'river'
CHANGE, LENGTH = 1000, 5000


def adwin():
    "River's detector class; river alone is installed, beside this interpreter's numpy, scipy and pandas"
    try:
        from river.drift import ADWIN
    except ImportError:
        if not (FOLDER / 'river').exists():
            command = [
                sys.executable,
                '-m',
                'pip',
                'install',
                '--disable-pip-version-check',
                '--quiet',
                '--no-deps',
                '--target',
                FOLDER,
                RELEASE,
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(
                    f'could not install {RELEASE}: {done.stderr.strip().splitlines()[-1]}\nCure: see that '
                    f'pip reaches a package index'
                )
        sys.path.append(str(FOLDER))
        from river.drift import ADWIN
    return ADWIN


def first_adwin(streams):
    "Observation of ADWIN's first alarm in each stream, -1 where there is none"

    def one(stream):
        detector = adwin()(delta=0.002)
        for t, x in enumerate(stream.tolist()):
            detector.update(x)
            if detector.drift_detected:
                return t + 1
        return -1

    return np.array([one(s) for s in streams])


def first_z(streams, rate):
    "Observation at which a one-sided z-test of each hundred, at 5% a look, first rejects"
    low = (streams.reshape(len(streams), -1, 100).mean(-1) - rate) / np.sqrt(rate * (1 - rate) / 100) < -1.645
    return np.where(low.any(1), 100 * (low.argmax(1) + 1), -1)


def summary(steady, falling):
    "False alarms without a change, and what happens with one"
    late = falling[falling > CHANGE] - CHANGE
    early = (falling > 0) & (falling <= CHANGE)
    return dict(
        false_alarms=round(float((steady > 0).mean()), 4),
        n=len(steady),
        before_the_change=round(float(early.mean()), 4),
        found=round(float((falling > CHANGE).mean()), 3),
        median_delay=float(np.median(late)) if len(late) else None,
        p90_delay=float(np.quantile(late, 0.9)) if len(late) else None,
    )


def machine():
    "What it ran on, in one line"
    return f'{processor()}, one thread, numpy {np.__version__}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {'streams': 1000, 'adwin-streams': 200, 'seed': 0}.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    r = rng(args.seed, 'judge_drift')
    steady = r.random((args.streams, LENGTH)) < 0.8
    falling = r.random((args.streams, LENGTH)) < np.where(np.arange(LENGTH) < CHANGE, 0.8, 0.7)
    few = args.adwin_streams
    began = time.process_time()
    figures = dict(ours=summary(first_alarms(steady, 0.8), first_alarms(falling, 0.8)))
    figures['ours']['seconds'] = round(time.process_time() - began, 1)
    figures['ours_on_the_streams_of_adwin'] = summary(
        first_alarms(steady[:few], 0.8), first_alarms(falling[:few], 0.8)
    )
    figures['adwin'] = summary(first_adwin(steady[:few]), first_adwin(falling[:few]))
    figures['z_tests_of_hundreds'] = summary(first_z(steady, 0.8), first_z(falling, 0.8))
    for name, found in figures.items():
        print(f'{name:30} {found}')
    goal = 'false alarms at most 5% in 5,000 without a change; median delay beside that of ADWIN'
    print(
        json.dumps(
            dict(
                name='judge_drift',
                figures=figures,
                goal=goal,
                holds=figures['ours']['false_alarms'] <= 0.05,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
