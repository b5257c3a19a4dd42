"""What does a check in the sandbox cost beside a bare subprocess, and does what is right pass? HumanEval's own solutions, and programs that attack.

    make bench BENCH=sandbox [ARGS="--data FOLDER/HumanEval.jsonl.gz --repeats 5"]

Rate: the tasks of this project that Monty runs, their solutions checked against their tests one after the other on one core, by `run_tests` in Monty and by
a fresh interpreter that runs program and tests in one file (no isolation at all), in turn, `--repeats` times. The first round, in which the calls
of the tests are not yet known, is measured apart. With `--data`, HumanEval (openai/human-eval) in each sandbox. Attacks: those of `tests/test_sandbox.py`."""
import argparse, gzip, json, os, statistics, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
from rlops_lab.core import git_state
from rlops_lab.environments import sandbox
from rlops_lab.environments.code import coding_tasks
from rlops_lab.environments.sandbox import Limits, bubblewrap_fault, run_tests
from _machine import processor

PATIENT = Limits(seconds=30.)      # a busy machine is no reason for a wrong program


def subprocess_check(row):
    "Program and tests in one file, in an interpreter of their own"
    with tempfile.NamedTemporaryFile('w', suffix='.py') as f:
        f.write('\n'.join([row['solution'], *row['tests']])); f.flush()
        return subprocess.run([sys.executable, f.name], capture_output=True).returncode==0


def rate(check, rows):
    "Checks a second; every one of them must pass"
    begin = time.perf_counter()
    assert all([check(r) for r in rows])
    return len(rows)/(time.perf_counter()-begin)


def rates(repeats, passes):
    "Both rates in turn, and the ratio of each pair"
    rows = coding_tasks()+coding_tasks('eval')
    def ours(row): return run_tests(row['solution'], row['tests'], row['functions'], limits=PATIENT, sandbox='monty').ok
    rate(ours, rows[:1])                                                # the pool starts
    sandbox._calls.clear()
    first = rate(ours, rows)
    pairs = [(rate(ours, rows*passes), rate(subprocess_check, rows)) for _ in range(repeats)]
    ratios = [a/b for a,b in pairs]
    return dict(ours=round(statistics.median(a for a,_ in pairs)), subprocess=round(statistics.median(b for _,b in pairs), 1),
                ratio=round(statistics.median(ratios), 1), lowest=round(min(ratios), 1), highest=round(max(ratios), 1), n=repeats,
                checks_each=[len(rows)*passes, len(rows)], first_round=round(first), first_ratio=round(first/statistics.median(b for _,b in pairs), 1))


def human_eval(path, kind):
    "HumanEval's own solutions in one sandbox: passed, seconds, what did not pass"
    rows = [json.loads(line) for line in gzip.open(path, 'rt')]
    begin = time.perf_counter()
    found = {r['task_id']: run_tests(r['prompt']+r['canonical_solution'], [r['test']+'\ncheck(candidate)'], [r['entry_point']], r['prompt'],
                                     PATIENT, kind) for r in rows}
    return dict(passed=sum(v.ok for v in found.values()), of=len(rows), seconds=round(time.perf_counter()-begin, 1),
                others={k: f'{v.status}: {v.message[:90]}' for k,v in found.items() if not v.ok})


def attacks(kind):
    "The hostile programs of the tests: how many passed, the words for the others, the longest check"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from test_sandbox import HOSTILE, LIMITS, TESTS
    folder = Path(tempfile.mkdtemp(dir='/var/tmp')); canary = folder/'canary'; canary.write_text('unharmed')
    found = [run_tests(program.replace('CANARY', str(canary)), TESTS, ['answer'], limits=LIMITS, sandbox=kind) for *_,program in HOSTILE.values()]
    harmed = canary.read_text()!='unharmed' or len(list(folder.iterdir()))>1
    canary.unlink(); folder.rmdir()
    return dict(programs=len(found), passed=sum(v.ok for v in found), harmed=harmed, longest=round(max(v.seconds for v in found), 1),
                limit=LIMITS.seconds, verdicts=dict(Counter(v.status for v in found)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', help='HumanEval.jsonl.gz')
    for name, default in {'repeats': 5, 'passes': 20}.items(): parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])        # one core for both: checks are counted, not cores
    figures = dict(rates=rates(args.repeats, args.passes))
    print(f"rates {figures['rates']}", flush=True)
    kinds = ['monty']+['bubblewrap']*(not bubblewrap_fault())
    if bubblewrap_fault(): print(bubblewrap_fault())
    if args.data: figures['human_eval'] = {kind: human_eval(args.data, kind) for kind in [*kinds, 'auto']}
    for kind,found in figures.get('human_eval', {}).items(): print(f'HumanEval in {kind}: {found}', flush=True)
    figures['attacks'] = {kind: attacks(kind) for kind in kinds}
    for kind,found in figures['attacks'].items(): print(f'attacks in {kind}: {found}', flush=True)
    passed = {kind: f['passed'] for kind,f in figures.get('human_eval', {}).items()}
    goal = 'at least 30x the rate of a bare subprocess; HumanEval 162 of 164 in Monty and 164 in bubblewrap; no attack passes or harms'
    holds = (figures['rates']['ratio']>=30 and not any(a['passed'] or a['harmed'] for a in figures['attacks'].values())
             and (not args.data or passed['monty']>=162 and passed.get('bubblewrap', 164)>=164))
    print(json.dumps(dict(name='sandbox', figures=figures, goal=goal, holds=holds, machine=f'{processor()}, one core, Python {sys.version.split()[0]}',
                          commit=git_state()[0])))


if __name__=='__main__': main()
