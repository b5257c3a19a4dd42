"""500 judge calls against a slow mock endpoint beside the bare `openai` client, then faults, then SIGKILL.

    make bench BENCH=judge_throughput [ARGS="--calls 500 --concurrency 32 --repeats 5"]

Needs the `openai` package (`pip install 'rlops_lab[judge]'`). The endpoint is an HTTP server on the loopback, in
a process of its own, that sleeps 50 ms for each call. The bare client sends the same messages with the same
fields, with as many under way; both keep their connections, and the order in which they run alternates. Ours also
fences, hashes, parses and writes its log. The faults are drawn for each call: 10% answer 503, 5% are prose
instead of a verdict, 2% hang until the judge's time-out. For the kill, a process that judges is ended by SIGKILL
after a third of the calls are in its log, and a second one is given the same log."""

import os

os.environ.update(OMP_NUM_THREADS='1')

import argparse
import asyncio
import json
import multiprocessing
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from _machine import processor

from rlops_lab.core import git_state
from rlops_lab.core.files import read_jsonl
from rlops_lab.judges.endpoints import Endpoint
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.grading import run_in_background
from rlops_lab.judges.prompts import messages_for
from rlops_lab.judges.rubrics import Criterion, Rubric

RUBRIC = Rubric(
    'helpful',
    'You check one answer of a support desk.',
    1.0,
    (Criterion('helps', 'Does the answer help?', ('no', 'yes')),),
)


def items(n):
    return [
        dict(
            prompt='How do I reset my router?',
            completion=f'case {i}: ' + 'Press the button for ten seconds. ' * 20,
        )
        for i in range(n)
    ]


class Mock:
    "OpenAI's chat protocol by hand, which costs less than any web framework, so that the client is what is measured"

    def __init__(self, latency, fail, garbage, hang, log):
        self.latency, self.chances, self.log, self.dice = (
            latency,
            [fail, garbage, hang, 1 - fail - garbage - hang],
            log,
            random.Random(0),
        )

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b'\r\n\r\n')
                body = await reader.readexactly(int(re.search(rb'content-length: (\d+)', head, re.I)[1]))
                what = self.dice.choices(['fail', 'garbage', 'hang', 'ok'], self.chances)[0]
                if self.log:
                    self.log.write(f'{re.findall(rb"case ([0-9]+):", body)[-1].decode()} {what}\n')
                    self.log.flush()
                await asyncio.sleep(3600 if what == 'hang' else self.latency)
                content = (
                    'What a nice day.'
                    if what == 'garbage'
                    else json.dumps(dict(reason='It says how.', choice='yes'))
                )
                reply = dict(
                    id='x',
                    object='chat.completion',
                    created=0,
                    model='mock',
                    usage=dict(prompt_tokens=300, completion_tokens=20, total_tokens=320),
                    choices=[
                        dict(index=0, finish_reason='stop', message=dict(role='assistant', content=content))
                    ],
                )
                data = json.dumps(dict(error=dict(message='down')) if what == 'fail' else reply).encode()
                status = b'503 Service Unavailable' if what == 'fail' else b'200 OK'
                writer.write(
                    b'HTTP/1.1 '
                    + status
                    + b'\r\nContent-Type: application/json\r\nContent-Length: '
                    + str(len(data)).encode()
                    + b'\r\n\r\n'
                    + data
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def mock(pipe, chances, log):
    "The server's process"

    async def run():
        server = await asyncio.start_server(
            Mock(0.05, *chances, open(log, 'w') if log else None).serve, '127.0.0.1', 0, backlog=256
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Server:
    "A mock endpoint while a `with` lasts"

    def __init__(self, *chances, log=None):
        self.args = chances or (0, 0, 0), log

    def __enter__(self):
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context('spawn').Process(
            target=mock, args=(theirs, *self.args), daemon=True
        )
        self.process.start()
        return f'http://127.0.0.1:{ours.recv()}/v1'

    def __exit__(self, *error):
        self.process.kill()
        self.process.join()


async def bare(client, conversations, concurrency):
    "The peer: the client alone, with as many calls under way"
    gate = asyncio.Semaphore(concurrency)

    async def one(messages):
        async with gate:
            r = await client.chat.completions.create(
                model='mock', messages=messages, temperature=0.0, max_tokens=512
            )
        return r.choices[0].message.content

    return await asyncio.gather(*map(one, conversations))


def rates(args):
    "Calls a second of both, in turn, and the processor time of a call"
    from openai import AsyncOpenAI

    xs = items(args.calls)
    conversations = [messages_for(RUBRIC, RUBRIC.criteria[0], x) for x in xs]
    seen, cpu = dict(ours=[], bare=[]), dict(ours=[], bare=[])
    with Server() as url, tempfile.TemporaryDirectory() as tmp:
        client, ask = AsyncOpenAI(base_url=url, api_key='none', max_retries=0), Endpoint(url, 'mock')
        judges = [
            Judge(ask, RUBRIC, concurrency=args.concurrency, log=Path(tmp) / f'{i}.jsonl')
            for i in range(args.repeats + 1)
        ]  # made beforehand, like the client

        def ours(i):
            assert all(v.score == 1 for v in judges[i].grade(xs))

        def peer(i):
            assert len(run_in_background(bare(client, conversations, args.concurrency))) == args.calls

        for i in range(args.repeats + 1):  # the first round opens the connections and is left out
            for name, call in [('ours', ours), ('bare', peer)][:: 1 if i % 2 else -1]:
                began = time.perf_counter(), time.process_time()
                call(i)
                if i:
                    seen[name].append(args.calls / (time.perf_counter() - began[0]))
                    cpu[name].append((time.process_time() - began[1]) / args.calls * 1e6)
            if i:
                print(
                    f"round {i}: ours {seen['ours'][-1]:.0f} calls/s, bare client {seen['bare'][-1]:.0f}",
                    flush=True,
                )
    return seen, cpu


def faults(args):
    "Every item ends with a verdict or a reason, none lost, none twice"
    with tempfile.TemporaryDirectory() as tmp:
        log = Path(tmp) / 'server.log'
        with Server(0.1, 0.05, 0.02, log=log) as url, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            judge = Judge(
                Endpoint(url, 'mock'),
                RUBRIC,
                concurrency=args.concurrency,
                timeout=args.timeout,
                pause=0.05,
                log=Path(tmp) / 'log.jsonl',
            )
            verdicts = judge.grade(items(args.calls))
        rows, did = read_jsonl(Path(tmp) / 'log.jsonl'), {}
        for line in log.read_text().split('\n'):
            if line:
                did.setdefault(int(line.split()[0]), []).append(line.split()[1])

    def accounted(v, saw):
        "A score that the server gave, or a reason after three attempts without one in time"
        return len(saw) <= 3 and (
            'ok' in saw and not v.unscored
            if v.score == 1
            else v.score is None and bool(v.unscored) and len(saw) == 3
        )

    right = sum(accounted(v, did[i]) for i, v in enumerate(verdicts))
    late = sum(saw.count('ok') for saw in did.values()) - sum(
        v.score == 1 for v in verdicts
    )  # answered, but not before the time-out
    reasons = Counter(re.sub(r'.*?: ', '', v.unscored, count=1)[:40] for v in verdicts if v.unscored)
    return dict(
        items=len(verdicts),
        accounted=right,
        late=late,
        in_log=len({r['key'] for r in rows}),
        lines=len(rows),
        scored=sum(v.score is not None for v in verdicts),
        unscored=dict(reasons),
        attempts=sum(map(len, did.values())),
        drawn=dict(Counter(x for xs in did.values() for x in xs)),
    )


def life(url, log, n, concurrency):
    Judge(Endpoint(url, 'mock'), RUBRIC, log=log, concurrency=concurrency).grade(items(n))


def kill(args):
    "How many calls the server saw before and after a SIGKILL"
    with tempfile.TemporaryDirectory() as tmp:
        log, asked = Path(tmp) / 'log.jsonl', Path(tmp) / 'server.log'
        with Server(0, 0, 0, log=asked) as url:
            code = (
                f'import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from judge_throughput '
                f'import life; life({url!r}, {str(log)!r}, {args.calls}, {args.concurrency})'
            )
            process = subprocess.Popen([sys.executable, '-c', code])
            while len(read_jsonl(log)) < args.calls // 3:
                if process.poll() is not None:
                    sys.exit('the process ended before it was killed; its output is above')
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            before, seen = -1, 0
            while before < seen:
                before = seen
                time.sleep(0.5)
                seen = len(asked.read_text().splitlines())  # until what was under way has arrived
            kept = len(read_jsonl(log))
            judge = Judge(Endpoint(url, 'mock'), RUBRIC, log=log, concurrency=args.concurrency)
            verdicts = judge.grade(items(args.calls))
            after = len(asked.read_text().splitlines()) - before
        return dict(
            kept=kept,
            paid_before=before,
            paid_after=after,
            missing=args.calls - kept,
            scored=sum(v.score == 1 for v in verdicts),
            rows=len({r['key'] for r in read_jsonl(log)}),
        )


def machine():
    "What it ran on, in one line"
    return f'{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in dict(calls=500, concurrency=32, repeats=5).items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument(
        '--timeout', type=float, default=3.0, help='seconds of an attempt, in the run with faults'
    )
    args = parser.parse_args()
    try:
        import openai
    except ImportError:
        sys.exit("the peer is the openai package: pip install 'rlops_lab[judge]'")
    seen, cpu = rates(args)
    ratios = [a / b for a, b in zip(seen['ours'], seen['bare'])]
    faulty, killed = faults(args), kill(args)
    print('with faults:', faulty, '\nkilled:', killed)
    figures = dict(
        ours_per_s=round(statistics.median(seen['ours']), 1),
        bare_per_s=round(statistics.median(seen['bare']), 1),
        ratio=round(statistics.median(ratios), 3),
        ratio_range=[round(min(ratios), 3), round(max(ratios), 3)],
        n=args.repeats,
        cpu_us_per_call={k: round(statistics.median(v)) for k, v in cpu.items()},
        calls=args.calls,
        concurrency=args.concurrency,
        openai=openai.__version__,
        faults=faulty,
        killed=killed,
    )
    whole = faulty['accounted'] == faulty['items'] == faulty['in_log'] == faulty['lines'] == args.calls
    resumed = (
        killed['paid_after'] == killed['missing']
        and killed['scored'] == killed['rows'] == args.calls
        and 0 < killed['missing'] < args.calls
    )
    goal = (
        'at least 0.9x the bare client; with faults every item has a verdict or a reason, once; after '
        'SIGKILL only what is missing is paid'
    )
    print(
        json.dumps(
            dict(
                name='judge_throughput',
                figures=figures,
                goal=goal,
                holds=figures['ratio'] >= 0.9 and whole and resumed,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
