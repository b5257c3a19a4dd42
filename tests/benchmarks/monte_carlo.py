"""100,000 draws of a full decision on one core.

API, rented machine or tuned model, with peaks, people, break-even and payback.

    make bench BENCH=monte_carlo [ARGS="--draws 100000 --repeats 9"]

One call of `simulate` draws sixteen uncertain inputs, two of them correlated, prices three options at the drawn
volume, finds the break-even volume of both own ones and the month in which the tuned one pays back while API
prices fall. The time is the processor time of one core (numpy without threads); the time on the wall is beside
it. `evaluate_in_python` makes the same decision for a few draws in plain Python, written apart from the library,
and both must agree."""

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import json
import math
import statistics
import time

import numpy as np
from _machine import processor

from rlops_lab.core import git_state
from rlops_lab.tokenomics.decisions import Option, bill, break_even_cases
from rlops_lab.tokenomics.payback import TENFOLD, payback
from rlops_lab.tokenomics.prices import ASSISTED_CONTACT
from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.uncertainty import lognormal, pert, resolved, simulate, triangular

INPUTS = dict(
    cases_per_month=lognormal(150_000, 300_000, 600_000),
    share_api=resolved(276, 300),
    share_rented=resolved(262, 300),
    share_tuned=resolved(275, 300),
    usd_per_case=lognormal(0.02, 0.05, 0.1),
    usd_per_server_hour=lognormal(1.99, 2.95, 6.16),
    rented_per_hour=pert(600, 1200, 2000),
    tuned_per_hour=pert(2000, 4000, 6000),
    peak_to_mean=triangular(2, 4, 8),
    rented_people=pert(3000, 6000, 12_000),
    tuned_people=pert(4000, 8000, 16_000),
    invest_usd=pert(30_000, 60_000, 200_000),
    human_usd=ASSISTED_CONTACT,
    handoff_usd=pert(0, 1, 4),
    months_per_tenfold=TENFOLD,
    own_growth_per_year=Estimate(0.0, -0.2, 0.3),
)
TOGETHER = {('usd_per_case', 'usd_per_server_hour'): 0.5}


def decide(
    cases_per_month,
    share_api,
    share_rented,
    share_tuned,
    usd_per_case,
    usd_per_server_hour,
    rented_per_hour,
    tuned_per_hour,
    peak_to_mean,
    rented_people,
    tuned_people,
    invest_usd,
    human_usd,
    handoff_usd,
    months_per_tenfold,
    own_growth_per_year,
):
    "USD of two years that the best own option saves over the API, or 0 where the API stays"
    api = Option('API', share_api, usd_per_case)
    rented = Option(
        'rented', share_rented, 0.0, usd_per_server_hour, rented_per_hour, peak_to_mean, 0.7, 2, rented_people
    )
    tuned = Option(
        'tuned',
        share_tuned,
        0.0,
        usd_per_server_hour,
        tuned_per_hour,
        peak_to_mean,
        0.7,
        2,
        tuned_people,
        invest_usd,
    )
    a, r, t = (bill(o, cases_per_month, human_usd, handoff_usd) for o in (api, rented, tuned))
    late = np.minimum(
        break_even_cases(api, rented, human_usd, handoff_usd),
        break_even_cases(api, tuned, human_usd, handoff_usd),
    )
    p = payback(
        a.api_usd,
        np.maximum(t.platform_usd + t.human_usd - a.human_usd, 0.0),
        invest_usd,
        months_per_tenfold,
        0.0,
        own_growth_per_year,
    )
    saved = np.maximum(
        24 * (a.usd - r.usd), np.where(np.isfinite(p.months), 24 * (a.usd - t.usd) - invest_usd, -np.inf)
    )
    return np.where(cases_per_month >= late, np.maximum(saved, 0.0), 0.0)


def evaluate_in_python(x):
    "`decide` for one draw, by hand and without the library"
    per_loss = x['human_usd'] + x['handoff_usd']

    def own(share, per_hour, people):
        servers = max(2, math.ceil(x['cases_per_month'] / 730 * x['peak_to_mean'] / (per_hour * 0.7) - 1e-9))
        return (
            servers * 730 * x['usd_per_server_hour'] + people + x['cases_per_month'] * (1 - share) * per_loss
        )

    lost = x['cases_per_month'] * (1 - x['share_api']) * per_loss
    api = x['cases_per_month'] * x['usd_per_case'] + lost
    ways = [
        [x[f'{way}_{what}'] if what else x[f'share_{way}'] for what in ('', 'per_hour', 'people')]
        for way in ('rented', 'tuned')
    ]
    rented, tuned = (own(*way) for way in ways)
    total, best, step = -x['invest_usd'], -math.inf, 0.01  # the saving, month by hundredth of a month
    for i in range(24_000):
        t = (i + 0.5) * step
        total += step * (
            (api - lost) * 10 ** (-t / x['months_per_tenfold'])
            - max(tuned - lost, 0.0) * (1 + x['own_growth_per_year']) ** (t / 12)
        )
        best = max(best, total)

    def late(
        share, per_hour, people
    ):  # is the own one cheaper at this volume and at every larger one? by trying them
        capacity = 730 * per_hour * 0.7 / x['peak_to_mean']
        edges = [x['cases_per_month']] + [
            n * capacity * (1 + 1e-9) for n in range(1, 20_000) if n * capacity > x['cases_per_month']
        ]

        def gap(v):
            servers = max(2, math.ceil(v * x['peak_to_mean'] / (730 * per_hour * 0.7) - 1e-9))
            return (
                servers * 730 * x['usd_per_server_hour']
                + people
                - v * x['usd_per_case']
                + v * (x['share_api'] - share) * per_loss
            )

        return any(gap(v) > 0 for v in edges)

    if all(late(*way) for way in ways):
        return 0.0
    return max(0.0, 24 * (api - rented), 24 * (api - tuned) - x['invest_usd'] if best >= 0 else -math.inf)


def machine():
    "What it ran on, in one line"
    return f'{processor()}, one thread, numpy {np.__version__}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(draws=100_000, repeats=9, check=12).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    cpu, wall = [], []
    for _ in range(args.repeats):
        began = time.process_time(), time.perf_counter()
        result = simulate(INPUTS, decide, args.draws, TOGETHER)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
        print(
            f'{args.draws} draws: {cpu[-1] * 1000:.0f} ms of one core, {wall[-1] * 1000:.0f} ms on the wall',
            flush=True,
        )
    by_hand = [
        evaluate_in_python({k: float(v[i]) for k, v in result.inputs.items()}) for i in range(args.check)
    ]
    agree = sum(math.isclose(a, b, rel_tol=1e-6, abs_tol=1.0) for a, b in zip(by_hand, result.output))
    print(f'{agree} of {args.check} draws agree with the same decision in plain Python')
    figures = dict(
        seconds=round(statistics.median(cpu), 4),
        seconds_max=round(max(cpu), 4),
        wall_seconds=round(statistics.median(wall), 4),
        n=args.repeats,
        draws=args.draws,
        inputs=len(INPUTS),
        agree=f'{agree}/{args.check}',
        share_own=round(float(np.mean(result.output > 0)), 3),
    )
    holds = figures['seconds'] < 0.5 and agree == args.check
    goal = '100,000 draws <0.5 s on one core'
    print(
        json.dumps(
            dict(
                name='monte_carlo',
                figures=figures,
                goal=goal,
                holds=holds,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
