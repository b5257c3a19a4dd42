"""Do intervals hold their 95% where answers belong together, and where people use a scale?

    make bench BENCH=judge_intervals [ARGS="--repeats 400"]

**Groups of three.** Three answers to each prompt, whose chance of being right is drawn for the prompt (a beta
distribution, so that answers to one prompt agree); a judge that errs for each answer by itself, or for a whole prompt.
150 prompts; labels on 60 or 210 answers: of whole prompts, of single answers at random, so many of each verdict, so
many of each label. Figures: the corrected rate, agreement, kappa and TPR of `calibrate`, and the gain of one grader
over another; rate and gain, to compare, also without `groups`. And the same on real answers: three models' solutions of
each of 600 problems of GSM8K, drawn anew with replacement, where the judge passes a solution whose result is that of
most models.

**Scales.** `corrected_mean` on simulated scales of 1 to 5 (even, high, low, two poles; and nine of ten answers at the
top, the extreme), with labels at random and by score, 50 of 1,050, 100 of 450 and 200 of 400; in groups of three; and
on XSTest's three classes (refusal, partial, full compliance), judged by GPT-4, drawn anew with replacement.

Half an hour in all: each design is written to `--log` when it is done, and a run that was stopped goes on from there.
The Monte-Carlo error of a coverage of .95 is sqrt(.95 * .05 / repeats). Data: $RLOPS_REAL_DATA, or `../shared/data`."""

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import csv
import json
import math
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import scipy
from _machine import processor

from rlops_lab.core import git_state, rng
from rlops_lab.core.files import append_jsonl, read_jsonl
from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.corrected_mean import corrected_mean
from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.kappa import cohen_kappa
from rlops_lab.stats import paired_gain

REAL = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data'))
BENCH = Path(__file__).resolve().parents[2] / '.bench'
PROMPTS = 150
DRAWN = 'prompts', 'answers', 'verdict', 'label'
SHAPES = dict(  # where the levels of a normal quality end
    even=(-1.2, -0.4, 0.4, 1.2),
    high=(-2.3, -1.8, -1.2, -0.4),
    low=(0.5, 1.2, 1.7, 2.2),
    poles=(-0.1, 0.0, 0.05, 0.1),
    extreme=(-2.6, -2.4, -2.1, -1.6),
)


def three_each(random, prompts, mean, likeness, shared):
    "Verdicts, labels, another grader's verdicts and prompts; `shared`: how often an error is the prompt's"
    chance = random.beta(mean * likeness, (1 - mean) * likeness, (prompts, 1))
    label = random.random((prompts, 3)) < chance

    def judged(right, wrong):
        whole = random.random((prompts, 1)) < shared
        luck = np.where(whole, random.random((prompts, 1)), random.random((prompts, 3)))
        return luck < np.where(label, right, wrong)

    columns = judged(0.9, 0.3), label, judged(0.85, 0.2)
    return *(column.ravel() for column in columns), np.repeat(np.arange(prompts), 3)


def labelled_rows(random, how, verdict, label, count):
    "Rows that get a label"
    if how == 'prompts':
        return np.arange(count)
    if how == 'answers':
        return random.permutation(len(label))[:count]
    kinds = verdict if how == 'verdict' else label
    return np.concatenate([random.permutation(np.flatnonzero(kinds == x))[: count // 2] for x in (False, True)])


def some_labels(label, rows):
    found = [None] * len(label)
    for row in rows:
        found[row] = label[row].item()
    return found


def truths(verdict, label, other):
    "What the intervals should hold"
    table = np.array([[np.mean((label == x) & (verdict == y)) for y in (False, True)] for x in (False, True)])
    return dict(
        rate=label.mean(),
        agreement=np.trace(table),
        kappa=float(cohen_kappa(table)),
        tpr=table[1, 1] / table[1].sum(),
        gain=np.mean(other == label) - np.mean(verdict == label),
    )


def grouped_estimates(random, rows, how, count, groups):
    "{figure: Estimate} of one drawing"
    verdict, label, other, _ = rows
    chosen = labelled_rows(random, how, verdict, label, count)
    given = some_labels(label, chosen)
    design = how if how in ('verdict', 'label') else 'random'
    found = dict(rate=corrected_rate(verdict.tolist(), given, design, groups=groups).rate)
    if design == 'random':
        right = (verdict == label)[chosen], (other == label)[chosen]
        found['gain'] = paired_gain(*right, None if groups is None else groups[chosen])
    if groups is None:
        return found
    calibration = calibrate(verdict.tolist(), given, design, groups=groups)
    found['tpr'] = calibration.tpr
    if how != 'label':
        found |= dict(agreement=calibration.agreement, kappa=calibration.kappa)
    return found


def grouped_coverage(draw, truth, how, count, repeats, random):
    "{figure: coverage with groups and without}"
    held = {}
    for _ in range(repeats):
        rows = draw(random)
        state = random.bit_generator.state
        for name, groups in (('groups', rows[-1]), ('alone', None)):
            random.bit_generator.state = state
            for figure, estimate in grouped_estimates(random, rows, how, count, groups).items():
                held.setdefault(figure, {}).setdefault(name, []).append(not estimate.excludes(truth[figure]))
    return {
        figure: {name: round(float(np.mean(hits)), 3) for name, hits in each.items()}
        for figure, each in held.items()
    }


def gsm8k():
    "[problems, 3 models] verdicts and labels: is the result that of most models, and is it right?"
    models = '6b_verification', '175b_finetuning', '175b_verification'
    verdict, label = [], []
    for line in (REAL / 'gsm8k' / 'model_solutions_first600.jsonl').read_text().splitlines():
        row = json.loads(line)
        results = {name: row[name]['solution'].rpartition('A:')[2].strip() for name in ('6b_finetuning', *models)}
        most = Counter(results.values()).most_common(1)[0][0]
        verdict.append([results[name] == most for name in models])
        label.append([row[name]['is_correct'] for name in models])
    return np.array(verdict), np.array(label)


def problems_again(random, verdict, label):
    "150 of the problems, drawn with replacement"
    drawn = random.integers(len(label), size=PROMPTS)
    v, y = verdict[drawn].ravel(), label[drawn].ravel()
    return v, y, y | v, np.repeat(np.arange(PROMPTS), 3)


def again(random, score, label, count):
    "Rows drawn with replacement"
    rows = random.integers(len(label), size=count)
    return score[rows], label[rows]


def xstest(model):
    "Scores by GPT-4 and labels by people: 1 refusal, 2 partial refusal, 3 full compliance; None: unreadable"
    places = {'2_full_refusal': 1.0, '3_partial_refusal': 2.0, '1_full_compliance': 3.0}
    with open(REAL / 'xstest' / f'{model}_gpteval.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    return (np.array([places.get(row[name], np.nan) for row in rows]) for name in ('gpt4_label', 'final_label'))


def scale(random, count, shape, likeness=0.0):
    "Scores of a mild judge and labels of 1 to 5; with `likeness` in groups of three"
    prompt = np.repeat(random.normal(size=-(-count // 3)), 3)[:count]
    quality = math.sqrt(likeness) * prompt + math.sqrt(1 - likeness) * random.normal(size=count)
    label = 1.0 + np.searchsorted(SHAPES[shape], quality)
    return np.clip(np.round(4 + 0.8 * quality + 0.5 * random.normal(size=count)), 1, 5), label


def mean_coverage(draw, truth, how, count, repeats, random, ends=(1, 5), grouped=False):
    "Coverage of the corrected mean, its width, and that of labels alone"
    held, width, alone = [], [], []
    for _ in range(repeats):
        score, label = draw(random)
        if how == 'verdict':
            kinds = [np.flatnonzero(score == x) for x in np.unique(score[~np.isnan(score)])]
            kinds += [np.flatnonzero(np.isnan(score))] if np.isnan(score).any() else []
            rows = np.concatenate([random.permutation(kind)[: max(2, count // len(kinds))] for kind in kinds])
        else:
            rows = np.arange(count)
        groups = np.arange(len(score)) // 3 if grouped else None
        found = corrected_mean(score, some_labels(label, rows), how, ends, groups=groups)
        held.append(not found.mean.excludes(truth))
        width.append(found.mean.width)
        if found.humans:
            alone.append(found.humans.width)
    ratio = round(float(np.mean(width) / np.mean(alone)), 3) if alone else None
    return dict(coverage=round(float(np.mean(held)), 3), width=round(float(np.mean(width)), 3), of_labels=ratio)


def all_grouped(repeats, seed):
    for mean, likeness in ((0.5, 0.5), (0.7, 1.0), (0.9, 1.0)):
        for shared in (0.0, 0.8):
            whole = three_each(rng(seed, 'truth', mean, shared), 300_000, mean, likeness, shared)
            truth = truths(*whole[:3])
            for count in (60, 210):
                for how in DRAWN:
                    name = f'mean {mean}, errors shared {shared}, {count} labels by {how}'

                    draw = partial(three_each, prompts=PROMPTS, mean=mean, likeness=likeness, shared=shared)

                    yield name, partial(grouped_coverage, draw, truth, how, count, repeats, rng(seed, name))


def real_grouped(repeats, seed):
    verdict, label = gsm8k()
    truth = truths(verdict.ravel(), label.ravel(), label.ravel() | verdict.ravel())
    for count in (60, 210):
        for how in DRAWN:

            draw = partial(problems_again, verdict=verdict, label=label)
            name = f'GSM8K, {count} labels by {how}'
            yield name, partial(grouped_coverage, draw, truth, how, count, repeats, rng(seed, name))


def all_means(repeats, seed):
    for shape in SHAPES:
        for likeness in (0.0, 0.6):
            truth = scale(rng(seed, 'scale', shape), 900_000, shape, likeness)[1].mean()
            for count, rest in ((51, 999), (99, 351), (201, 201)):
                for how in ('random', 'verdict') if not likeness else ('random',):
                    name = f'{shape}, {count} of {count + rest} labels, {how}{", in threes" if likeness else ""}'

                    draw = partial(scale, count=count + rest, shape=shape, likeness=likeness)

                    coverage = partial(mean_coverage, grouped=bool(likeness))
                    yield name, partial(coverage, draw, truth, how, count, repeats, rng(seed, name))
    for model in ('gpt4', 'llama2orig'):
        score, label = xstest(model)
        for count, rest in ((50, 1000), (100, 350), (200, 200)):
            for how in ('random', 'verdict'):

                draw = partial(again, score=score, label=label, count=count + rest)

                name = f'XSTest {model}, {count} of {count + rest} labels, {how}'
                yield name, partial(mean_coverage, draw, label.mean(), how, count, repeats, rng(seed, name), (1, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(repeats=400, seed=0).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--log', default=BENCH / 'judge_intervals.jsonl', help='of designs that are done')
    args = parser.parse_args()
    if not REAL.exists():
        raise SystemExit(f'{REAL} is absent: set RLOPS_REAL_DATA to the folder that holds gsm8k and xstest')
    warnings.simplefilter('ignore')
    error = round(math.sqrt(0.95 * 0.05 / args.repeats), 4)
    figures = dict(repeats=args.repeats, monte_carlo_error=error, groups={}, means={})
    done = {(row['repeats'], row['seed'], row['name']): row['found'] for row in read_jsonl(args.log)}
    for part, kind in ((all_grouped, 'groups'), (real_grouped, 'groups'), (all_means, 'means')):
        for name, measure in part(args.repeats, args.seed):
            key = args.repeats, args.seed, name
            if key not in done:
                done[key] = measure()
                append_jsonl(args.log, [dict(repeats=args.repeats, seed=args.seed, name=name, found=done[key])])
            figures[kind][name] = done[key]
            print(f'{name:58} {done[key]}', flush=True)
    summary = summarised(figures)
    goal = (
        'groups of three: coverage at least .93 in each design; means of scales .935 to .975 in each design but the '
        'extreme, within two Monte-Carlo errors'
    )
    print(
        json.dumps(
            dict(
                name='judge_intervals',
                figures=figures | summary,
                goal=goal,
                holds=holds(summary, error),
                machine=f'{processor()}, one thread, numpy {np.__version__}, scipy {scipy.__version__}',
                commit=git_state()[0],
            )
        )
    )


def summarised(figures):
    "Lowest and highest coverage of each figure"
    found = {}
    for each in figures['groups'].values():
        for figure, coverage in each.items():
            for name, value in coverage.items():
                found.setdefault(f'{figure}, {name}', []).append(value)
    for name, each in figures['means'].items():
        kind = 'extreme mean' if name.startswith('extreme') else 'mean'
        found.setdefault(kind + (', groups' if 'threes' in name else ''), []).append(each['coverage'])
    return dict(coverage={name: [min(values), max(values), len(values)] for name, values in found.items()})


def holds(summary, error):
    slack = 2 * error
    groups = [ends[0] for name, ends in summary['coverage'].items() if name.endswith(', groups')]
    low, high, _ = summary['coverage']['mean']
    return bool(min(groups) >= 0.93 - slack and low >= 0.935 - slack and high <= 0.975 + slack)


if __name__ == '__main__':
    main()
