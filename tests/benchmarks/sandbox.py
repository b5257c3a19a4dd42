"""What does a check in the sandbox cost beside a bare subprocess, and does what is right pass?

HumanEval's own solutions, and programs that attack.

    make bench BENCH=sandbox [ARGS="--data FOLDER/HumanEval.jsonl.gz --repeats 5"]

Rate: the solutions of this project's tasks against their tests, one after the other on one core, by `run_tests`
in Monty and by a fresh interpreter that runs program and tests in one file (no isolation at all), in turn,
`--repeats` times, by the clock and by processor time: the tasks as they are, whose tests are compared without an
interpreter, and with a line before them that makes them run. With `--data`, HumanEval (openai/human-eval) in each
sandbox. Attacks: those of `tests/hostile_programs.py`."""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _machine import processor

from rlops_lab.core import git_state
from rlops_lab.environments.coding.assertions import comparisons
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.limits import SandboxLimits
from rlops_lab.environments.coding.task import coding_tasks
from rlops_lab.environments.coding.unit_tests import run_tests

PATIENT = SandboxLimits(seconds=30.0)  # a busy machine is no reason for a wrong program


def subprocess_check(row):
    "Program and tests in one file, in an interpreter of their own"
    with tempfile.NamedTemporaryFile('w', suffix='.py') as f:
        f.write('\n'.join([row['solution'], f"candidate = {row['functions'][0]}", *row['tests']]))
        f.flush()
        return subprocess.run([sys.executable, f.name], capture_output=True).returncode == 0


def made_to_run(row):
    "The same tests behind a line that no comparison has, so that they run in a sandbox of their own"
    first, *others = row['tests']
    return dict(row, tests=[f'n = 1+len("")\n{first}', *others])


def is_compared(row):
    return bool(comparisons(tuple(row['tests']), tuple(row['functions'])))


def cpu_seconds():
    """Processor time of this process, its workers and everything that has ended;
    unlike wall time, it does not depend on who else is at work"""

    def used(p):
        try:
            return sum(int(t.read_text().split()[0]) for t in Path(p).glob('task/*/schedstat')) / 1e9
        except OSError:
            return 0.0

    me = os.getpid()
    workers = [p for p in Path('/proc').glob('[0-9]*') if parent(p) == me]
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(map(used, [f'/proc/{me}', *workers])) + done.ru_utime + done.ru_stime


def parent(p):
    try:
        return int((p / 'stat').read_text().rsplit(')', 1)[1].split()[1])
    except OSError:
        return 0


def measured(check, rows):
    "(checks a second, milliseconds of processor time a check, seconds of each); every check must pass"
    begin, cpu, seconds = time.perf_counter(), cpu_seconds(), []
    for row in rows:
        start = time.perf_counter()
        assert check(row)
        seconds.append(time.perf_counter() - start)
    return len(rows) / (time.perf_counter() - begin), 1e3 * (cpu_seconds() - cpu) / len(rows), seconds


def rates(rows, repeats, passes):
    """Both in turn, and the ratio of each pair, by the clock and by processor time;
    and task by task, since a few that compute for long decide the sum"""

    def ours(row):
        return run_tests(
            row['solution'], row['tests'], row['functions'], row.get('setup', ''), PATIENT, 'monty'
        ).ok

    rows = [r for r in rows if ours(r)]  # the pool starts, and what Monty lacks is left out
    pairs = [(*measured(ours, rows * passes), *measured(subprocess_check, rows)) for _ in range(repeats)]

    def middle(values):
        return round(statistics.median(values), 2)

    def of_task(i, side):
        return statistics.median(s for p in pairs for s in p[side][i :: len(rows)])

    ratios, cpu, tasks = (
        [p[0] / p[3] for p in pairs],
        [p[4] / p[1] for p in pairs],
        [of_task(i, 5) / of_task(i, 2) for i in range(len(rows))],
    )
    return dict(
        ours_per_s=middle(p[0] for p in pairs),
        subprocess_per_s=middle(p[3] for p in pairs),
        ratio=middle(ratios),
        range=[round(min(ratios), 2), round(max(ratios), 2)],
        ours_cpu_ms=middle(p[1] for p in pairs),
        subprocess_cpu_ms=middle(p[4] for p in pairs),
        cpu_ratio=middle(cpu),
        n=repeats,
        tasks=len(rows),
        task_ratio=middle(tasks),
        tasks_at_30=sum(t >= 30 for t in tasks),
    )


def humaneval_rows(path):
    return [
        dict(
            r,
            solution=r['prompt'] + r['canonical_solution'],
            setup=r['prompt'],
            tests=[r['test'] + '\ncheck(candidate)'],
            functions=[r['entry_point']],
        )
        for r in map(json.loads, gzip.open(path, 'rt'))
    ]


def human_eval(path, kind, as_it_stands=False):
    "HumanEval's own solutions in one sandbox: passed, seconds, the others; `check` is called by the test, or not"
    rows = humaneval_rows(path)
    if as_it_stands:
        rows = [dict(row, tests=[row['test']]) for row in rows]
    begin = time.perf_counter()
    found = {
        r['task_id']: run_tests(r['solution'], r['tests'], r['functions'], r['setup'], PATIENT, kind)
        for r in rows
    }
    return dict(
        passed=sum(v.ok for v in found.values()),
        of=len(rows),
        seconds=round(time.perf_counter() - begin, 1),
        others={k: f'{v.status}: {v.message[:90]}' for k, v in found.items() if not v.ok},
    )


def attacks(kind):
    "The hostile programs of the tests: how many passed, the words for the others, the longest check"
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from hostile_programs import HOSTILE, LIMITS, TESTS

    folder = Path(tempfile.mkdtemp(dir='/var/tmp'))
    canary = folder / 'canary'
    canary.write_text('unharmed')
    found = [
        run_tests(program.replace('CANARY', str(canary)), TESTS, ['answer'], limits=LIMITS, sandbox=kind)
        for *_, program in HOSTILE.values()
    ]
    harmed = canary.read_text() != 'unharmed' or len(list(folder.iterdir())) > 1
    canary.unlink()
    folder.rmdir()
    return dict(
        programs=len(found),
        passed=sum(v.ok for v in found),
        harmed=harmed,
        longest=round(max(v.seconds for v in found), 1),
        limit=LIMITS.seconds,
        verdicts=dict(Counter(v.status for v in found)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', help='HumanEval.jsonl.gz')
    for name, default in {'repeats': 5, 'passes': 5}.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    os.sched_setaffinity(
        0, sorted(os.sched_getaffinity(0))[:1]
    )  # one core for both: checks are counted, not cores
    ours = coding_tasks() + coding_tasks('eval')
    sets = {'our tasks': ours, 'our tasks, tests made to run': list(map(made_to_run, ours))}
    if args.data:
        every_fourth = humaneval_rows(args.data)[::4]
        sets['HumanEval, every fourth'] = every_fourth
        sets['of these, tests compared'] = list(filter(is_compared, every_fourth))
    figures = dict(rates={}, compared={name: sum(map(is_compared, rows)) for name, rows in sets.items()})
    for name, rows in sets.items():
        figures['rates'][name] = rates(rows, args.repeats, args.passes)
        print(f"rates, {name}: {figures['rates'][name]}", flush=True)
    kinds = ['monty'] + ['bubblewrap'] * (not bubblewrap_fault())
    if bubblewrap_fault():
        print(bubblewrap_fault())
    if args.data:
        figures['human_eval'] = {kind: human_eval(args.data, kind) for kind in [*kinds, 'auto']}
        as_it_stands = {kind: human_eval(args.data, kind, True) for kind in [*kinds, 'auto']}
        figures['as_it_stands'] = {kind: found['passed'] for kind, found in as_it_stands.items()}
        print(f"HumanEval's test field as it stands: {figures['as_it_stands']}", flush=True)
    for kind, found in figures.get('human_eval', {}).items():
        print(f'HumanEval in {kind}: {found}', flush=True)
    figures['attacks'] = {kind: attacks(kind) for kind in kinds}
    for kind, found in figures['attacks'].items():
        print(f'attacks in {kind}: {found}', flush=True)
    passed = {kind: f['passed'] for kind, f in figures.get('human_eval', {}).items()}
    goal = (
        'at least 30x the rate of a bare subprocess; HumanEval 162 of 164 in Monty and 164 in '
        'bubblewrap; no attack passes or harms'
    )
    holds = (
        figures['rates']['our tasks']['ratio'] >= 30
        and not any(a['passed'] or a['harmed'] for a in figures['attacks'].values())
        and figures.get('as_it_stands', {}) == passed
        and (not args.data or passed['monty'] >= 162 and passed.get('bubblewrap', 164) >= 164)
    )
    print(
        json.dumps(
            dict(
                name='sandbox',
                figures=figures,
                goal=goal,
                holds=holds,
                machine=f'{processor()}, one core, Python {sys.version.split()[0]}',
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
