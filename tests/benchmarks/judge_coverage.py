"""Do corrected pass rates hold their 95%, and does a judge that is used where it was not calibrated raise a warning?
On the XSTest files.

    make bench BENCH=judge_coverage [ARGS="--repeats 1000 --transfers 200"]

**Coverage.** The rows of a file are the population; its share of answers that people passed is the truth. Each
repeat draws n + N rows with replacement and shows `corrected_rate` N verdicts without labels and n labels: at
random, half of each verdict, or half of each label. Designs: n=50, N=1000; n=100, N=350; n=200, N=200. "Labels
alone" is Wilson's interval of n labels at random. For labels by verdict both ways of getting them are measured:
from the rows at hand, and from another collection.

**Warnings.** 200 repeats: a judge calibrated on n random rows of one response model, used on N rows of the same
or of the other one, with the models' names withheld, so that only verdicts and answers can give the change away
(`transfer`; "any"); beside it each test alone, and for the last design also with 50 labels on the new rows."""

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import csv
import json
import warnings
from pathlib import Path

import numpy as np
import scipy
from _machine import processor

from rlops_lab.core import git_state, rng
from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.shift import transfer
from rlops_lab.stats import wilson

FOLDER = (
    Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data'))
    / 'xstest'
)
DESIGNS = ((50, 1000), (100, 350), (200, 200))
COLUMN = dict(gpt='gpt4_label', str='strmatch_label')


def read(model, judge):
    "Rows of a file: verdict, label and answer; anything but full compliance is a fail"
    with open(FOLDER / f'{model}_{judge}eval.csv', newline='') as f:
        found = list(csv.DictReader(f))
    full = lambda x: x == '1_full_compliance'
    return [
        dict(verdict=full(r[COLUMN[judge]]), label=full(r['final_label']), text=r['completion'])
        for r in found
    ]


def repeat(v, y, n, N, how, r):
    "One corrected rate, from rows drawn with replacement"
    if how in ('random', 'verdict from pool'):
        rows = r.integers(len(v), size=n + N)
        known = (
            r.permutation(n + N)[:n]
            if how == 'random'
            else np.concatenate(
                [r.permutation(np.flatnonzero(v[rows] == x))[: n // 2] for x in (True, False)]
            )
        )
        drawn, from_pool = how.split()[0], True
    else:
        kind = v if how.startswith('verdict') else y
        mine = np.concatenate([r.choice(np.flatnonzero(kind == x), n // 2) for x in (True, False)])
        rows, known = np.concatenate([mine, r.integers(len(v), size=N)]), np.arange(n)
        drawn, from_pool = how.split()[0], False
    labels = np.full(len(rows), None)
    labels[known] = y[rows[known]]
    return corrected_rate(v[rows].tolist(), labels.tolist(), drawn, from_pool).rate


def coverage(rows, n, N, how, repeats, r):
    "How often the interval holds the truth, and its mean width beside that of labels alone"
    v, y = (np.array([row[key] for row in rows]) for key in ('verdict', 'label'))
    found = [repeat(v, y, n, N, how, r) for _ in range(repeats)]
    alone = [wilson(k, n) for k in r.binomial(n, y.mean(), repeats)]
    width, width_alone = np.mean([f.width for f in found]), np.mean([high - low for low, high in alone])
    return dict(
        coverage=round(float(np.mean([f.low <= y.mean() <= f.high for f in found])), 3),
        width=round(float(width), 4),
        width_labels_alone=round(float(width_alone), 4),
        ratio=round(float(width / width_alone), 3),
    )


def warned(old_rows, new_rows, n, N, labels, repeats, r):
    "Share of repeats with a warning, in all and by test"
    counts = dict(any=0, verdict=0, answers=0, labels=0)
    for _ in range(repeats):
        old = [old_rows[i] for i in r.integers(len(old_rows), size=n)]
        new = [new_rows[i] for i in r.integers(len(new_rows), size=N)]
        new = [{**row, 'label': row['label'] if i < labels else None} for i, row in enumerate(new)]
        found = transfer(old, new, seed=int(r.integers(1 << 30)))
        counts['any'] += found.warns
        for name, p in found.p_values.items():
            counts[name] += p <= 0.01
    return {name: round(k / repeats, 4) for name, k in counts.items() if name != 'labels' or labels}


def machine():
    "What it ran on, in one line"
    return f'{processor()}, one thread, numpy {np.__version__}, scipy {scipy.__version__}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(repeats=1000, transfers=200, seed=0).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    if not FOLDER.exists():
        raise SystemExit(
            f'{FOLDER} is absent: put the four XSTest files there, or set RLOPS_REAL_DATA to the folder '
            f'that holds xstest'
        )
    warnings.simplefilter('ignore')
    files = {
        (model, judge): read(model, judge) for model in ('gpt4', 'llama2orig') for judge in ('gpt', 'str')
    }
    figures, good = dict(repeats=args.repeats, transfers=args.transfers, coverage={}, warnings={}), True
    for (model, judge), rows in files.items():
        for n, N in DESIGNS:
            for how in ('random', 'verdict from pool', 'verdict from elsewhere', 'label'):
                name = f'{model} {judge} n={n} N={N} {how}'
                found = coverage(rows, n, N, how, args.repeats, rng(args.seed, name))
                good &= 0.935 <= found['coverage'] <= 0.975 and (how == 'label' or found['ratio'] <= 1.05)
                figures['coverage'][name] = found
                print(
                    f"{name:50} coverage {found['coverage']:.3f}, width {found['width']:.3f}, "
                    f"{found['ratio']:.2f} of labels'",
                    flush=True,
                )
    for judge in ('gpt', 'str'):
        for before, after in (
            ('gpt4', 'llama2orig'),
            ('llama2orig', 'gpt4'),
            ('gpt4', 'gpt4'),
            ('llama2orig', 'llama2orig'),
        ):
            for n, N, labels in (*((n, N, 0) for n, N in DESIGNS), (*DESIGNS[-1], 50)):
                name = (
                    f'{judge}: calibrated on {n} of {before}, used on {N} of {after}, {labels} labels there'
                )
                found = warned(
                    files[before, judge],
                    files[after, judge],
                    n,
                    N,
                    labels,
                    args.transfers,
                    rng(args.seed, name),
                )
                good &= found['any'] >= 0.95 if before != after else found['any'] <= 0.05
                figures['warnings'][name] = found
                print(f'{name:85} {found}', flush=True)
    goal = (
        'coverage .935 to .975 in each design, never wider than labels alone by more than 5%; balanced '
        'labels: the same coverage; '
        'warnings: at least 95% for another response model, at most 5% for the same'
    )
    print(
        json.dumps(
            dict(
                name='judge_coverage',
                figures=figures,
                goal=goal,
                holds=bool(good),
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
