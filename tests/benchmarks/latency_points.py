"""The latency calculator against published measurements of served models.

    make bench BENCH=latency_points [ARGS="--points ../shared/data/latency/measured_points.csv"]

Any table with the same columns can be given. Three predictions of the points that pass the filters of
`latency_points.usable`: the data sheet, the defaults (which were fitted on the published points) and fits that leave
out the point's stack. Then what three points of a stack are worth: calibrated on them, starting from a fit
without the stack, the rest is predicted. `ttft_all` counts the first tokens of runs too that state a target
instead of the users that ran. Everything runs in a second or two on one core."""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np

from rlops_lab.core import git_state
from rlops_lab.tokenomics.roofline import SPEC_SHEET
from rlops_lab.tokenomics.latency_fit import calibration_trial, coverage, errors, leave_one_out
from rlops_lab.tokenomics.latency_points import usable
from rlops_lab.tokenomics.latency_points import predict
from rlops_lab.tokenomics.latency_points import read_points


def show(title, points, predicted):
    "A table of errors, and the errors"
    found = errors(points, predicted)
    print(f'{title:34}{"n":>5}{"mean":>8}{"median":>8}{"bias":>7}')
    for kind, (n, mean, median, bias) in found.items():
        print(f'  {kind:32}{n:5}{mean:8.1%}{median:8.1%}{bias:7.2f}')
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).parents[3] / 'shared' / 'data'))
    parser.add_argument('--points', type=Path, default=folder / 'latency' / 'measured_points.csv')
    parser.add_argument('--draws', type=int, default=10, help='random choices of three points for each stack')
    args = parser.parse_args()
    if not args.points.exists():
        parser.error(
            f'{args.points} does not exist: give the table with --points, or its folder by RLOPS_REAL_DATA'
        )
    points = read_points(args.points)
    kept, dropped = usable(points)
    everything, _ = usable(points, strict=False)
    print(f'{len(points)} points, {len(kept)} used; left out:', {why: len(ps) for why, ps in dropped.items()})
    held, fits = leave_one_out(kept)
    show('data sheet', kept, predict(kept, SPEC_SHEET))
    default, out = show('defaults', kept, predict(kept)), show('held out', kept, held)
    loose = show('defaults, targeted runs too', everything, predict(everything))
    loose_out = show('held out, targeted runs too', everything, leave_one_out(everything)[0])
    starts = {stack: e for stack, (e, _) in fits.items()}
    trial = calibration_trial(kept, args.draws, starts=starts)
    medians = {}
    print(f'{"median error on the rest of a stack":48}{"before":>9}{"three points":>14}')
    for stack, (tried, ratio) in trial.items():
        before = np.median(np.abs(predict(tried, starts[stack]) / np.array([p.seconds for p in tried]) - 1))
        medians[stack] = float(np.median(np.abs(1 / ratio - 1)))
        print(f'{stack:48}{before:9.1%}{medians[stack]:14.1%}')
    share = lambda x: round(float(x), 3)
    kinds = {
        'tpot_1': 'tpot, 1 GPU',
        'tpot_many': 'tpot, several',
        'ttft': 'ttft',
        'ttft_one_user': 'ttft, one user',
    }
    figures = {}
    for name, found in (('default', default), ('held_out', out)):
        for key, kind in kinds.items():
            if kind in found:
                figures[f'{name}_{key}'] = share(found[kind][1])
    figures.update(
        n={kind: e[0] for kind, e in default.items()},
        default_ttft_all=share(loose['ttft'][1]),
        held_out_ttft_all=share(loose_out['ttft'][1]),
        coverage=share(coverage(kept)),
        held_out_coverage=share(coverage(kept, predicted=held)),
        points=len(points),
        used=len(kept),
    )
    if medians:
        figures.update(
            calibrated_median=share(np.median(list(medians.values()))),
            stacks_within_10=sum(m <= 0.1 for m in medians.values()),
            stacks=len(medians),
        )
    bars = {'tpot_1': 0.15, 'tpot_many': 0.25, 'ttft': 0.25}
    holds = all(
        figures.get(f'{name}_{key}', 0) <= bar
        for name in ('default', 'held_out')
        for key, bar in bars.items()
    )
    holds = holds and 0.85 <= figures['coverage'] <= 0.95 and figures.get('calibrated_median', 0) <= 0.1
    print(
        json.dumps(
            dict(
                name='latency_points',
                figures=figures,
                goal='mean error of tpot <=15% on 1 GPU, <=25% on several, of ttft <=25%; 85-95% inside the band; '
                'median error over stacks <=10% after three points',
                holds=bool(holds),
                machine=platform.processor() or platform.machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
