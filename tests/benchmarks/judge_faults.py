"""Replies and failures of every kind, a rate limit, and endpoints that are made anew: what becomes of each item.

    make bench BENCH=judge_faults [ARGS="--each 3"]

Needs the `openai` package (`pip install 'rlops_lab[judge]'`). Servers run on the loopback and write their replies
byte by byte: those of `tests/odd_replies.py`, from content as a list to connections that are reset in the middle.
Each kind says what must come of it: a score, or a pattern of the reason, and how many calls are made. Every kind is
asked `each` times, in one batch with all others. Then a server of 10 requests a second that says `Retry-After: 1` is
given 120 items at once, at the judge's defaults. Then 30 endpoints are made and dropped while calls of others are under
way, at a server that closes idle connections, with garbage collected all the while: no item may be asked twice."""

import os

os.environ.update(OMP_NUM_THREADS='1')

import argparse
import asyncio
import gc
import json
import platform
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _machine import processor
from fake_judges import RUBRIC
from odd_replies import GOOD, LETTERS, SCORED, UNSCORED, Kind, Oddities, error, fault, items_of, running

from rlops_lab.core import git_state
from rlops_lab.judges.endpoints import Endpoint
from rlops_lab.judges.grading import start_in_background
from rlops_lab.judges.judge import Judge

RUBRIC = replace(RUBRIC, pass_at=0.5)


async def longest_stop(gaps):
    "Note how long the judges' loop stood still at most"
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        gaps[0] = max(gaps[0], time.perf_counter() - began - 0.01)


def odd_replies(kinds, each, **options):
    "One batch with all kinds"
    server, gaps = Oddities(kinds), [0.0]
    watch = start_in_background(longest_stop(gaps))
    with running(server.serve, server.loop) as url:
        judge = Judge(Endpoint(url, 'm'), RUBRIC, timeout=1.5, pause=0.02, max_wait=10.0, **options)
        batch = items_of(kinds, each)
        began = time.perf_counter()
        verdicts = judge.grade(batch)
        seconds = time.perf_counter() - began
    watch.cancel()
    faults = [fault(item, verdict, kinds, server.calls) for item, verdict in zip(batch, verdicts)]
    faults = [each for each in faults if each]
    print(*faults, sep='\n')
    return dict(
        kinds=len(kinds),
        items=len(batch),
        verdicts=len(verdicts),
        right=len(batch) - len(faults),
        scored=sum(v.score is not None for v in verdicts),
        zeros=sum(v.score == 0 for v in verdicts),
        seconds=round(seconds, 1),
        loop_stopped_ms=round(gaps[0] * 1000),
    )


class TenASecond(Oddities):
    "At most so many calls in each second of the clock; the others are told to wait for one"

    def __init__(self, most=10):
        super().__init__(dict(item=Kind((GOOD,))))
        self.most, self.second, self.taken, self.refused = most, 0, 0, 0

    async def reply(self, text, writer):
        second = int(time.monotonic())
        if second != self.second:
            self.second, self.taken = second, 0
        self.taken += 1
        if self.taken <= self.most:
            return await super().reply(text, writer)
        self.refused += 1
        writer.write(error(429, 'rate limit', Retry_After='1'))
        return False


def rate_limit(count=120):
    "A batch that comes at once, at the defaults"
    server = TenASecond()
    with running(server.serve, server.loop) as url:
        began = time.perf_counter()
        verdicts = Judge(Endpoint(url, 'm'), RUBRIC).grade(items_of(server.kinds, count))
        seconds = time.perf_counter() - began
    twice = sum(calls > 1 for calls in server.calls.values())
    scored = sum(v.score == 1 for v in verdicts)
    return dict(items=count, scored=scored, twice=twice, refused=server.refused, seconds=round(seconds, 1))


class ClosingSoon(Oddities):
    "Closes each connection while it is idle, without a word"

    def __init__(self):
        super().__init__(dict(item=Kind((('wait', 0.02, GOOD),))))

    async def reply(self, text, writer):
        await super().reply(text, writer)
        await writer.drain()
        await asyncio.sleep(0.005)
        return True


async def collect():
    "Garbage is collected in the judges' loop, as it is by chance"
    while True:
        gc.collect()
        await asyncio.sleep(0.01)


async def made_anew(url, rounds, count):
    "Endpoints and judges that live for one batch each, two at a time"
    verdicts = []

    async def batch(number):
        judge = Judge(Endpoint(url, 'm'), RUBRIC, timeout=3.0)
        batch = [dict(prompt='?', completion=f'kind item number {number * count + i}.') for i in range(count)]
        verdicts.extend(await judge.grade_async(batch))

    for number in range(0, rounds, 2):
        await asyncio.gather(batch(number), batch(number + 1))
    return verdicts


def endpoints_made_anew(rounds=30, count=16):
    server = ClosingSoon()
    gc.freeze()  # only what is made here is looked through, which takes no time
    collector = start_in_background(collect())
    with running(server.serve, server.loop) as url:
        verdicts = asyncio.run(made_anew(url, rounds, count))
    collector.cancel()
    scored = sum(v.score == 1 for v in verdicts)
    twice = sum(calls > 1 for calls in server.calls.values())
    return dict(endpoints=rounds, items=rounds * count, asked=len(server.calls), twice=twice, scored=scored)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--each', type=int, default=3, help='items of each kind')
    args = parser.parse_args()
    try:
        import openai
    except ImportError:
        sys.exit("the client is the openai package: pip install 'rlops_lab[judge]'")
    warnings.simplefilter('ignore')
    figures = dict(
        replies=odd_replies(SCORED | UNSCORED, args.each),
        letters=odd_replies(LETTERS, args.each, mode='logprobs'),
        rate_limit=rate_limit(),
        made_anew=endpoints_made_anew(),
        openai=openai.__version__,
    )
    batches = figures['replies'], figures['letters']
    kinds = sum(batch['kinds'] for batch in batches)
    whole = all(batch['right'] == batch['items'] and not batch['zeros'] for batch in batches)
    limited, anew = figures['rate_limit'], figures['made_anew']
    holds = kinds >= 60 and whole and limited['scored'] >= 118 and not limited['twice']
    holds = holds and anew['scored'] == anew['asked'] == anew['items'] and not anew['twice']
    goal = (
        'at least 60 kinds of replies: each item ends as its kind says, none asked twice, lost or 0; at 10 requests/s '
        'with Retry-After 118 of 120 or more; 30 endpoints made anew: no item asked twice'
    )
    load = os.getloadavg()[0]
    machine = f'{processor()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}'
    row = dict(name='judge_faults', figures=figures, goal=goal, holds=holds, machine=machine, commit=git_state()[0])
    print(json.dumps(row))


if __name__ == '__main__':
    main()
