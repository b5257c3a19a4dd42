"The simulator against a slow one written apart from it, against formulas, and what must never happen to a request"

import math, subprocess, sys
from dataclasses import replace
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.roofline import SPEC_SHEET
from rlops_lab.tokenomics.roofline import decode_step_seconds
from rlops_lab.tokenomics.roofline import prefill_seconds
from rlops_lab.tokenomics.roofline import gpu
from rlops_lab.tokenomics.simulation import (
    Server,
    Trace,
    llm_server,
    random_trace,
    replicas_for,
    simulate_trace,
    step_seconds,
)


def linear(n, context, chunks):
    return (
        0.004
        + 0.0003 * n
        + 2e-6 * context
        + 5e-5 * sum(new for new, _ in chunks)
        + 1e-8 * sum(new * before for new, before in chunks)
    )


def pass_by_pass(trace, f, max_batch, kv_tokens, chunk):
    "One replica, every pass by itself: (first token, last token, evictions) of each request"
    n, now, came, queue, running = len(trace), 0.0, 0, [], []
    first, last, evicted = [None] * n, [None] * n, [0] * n
    said, cached = [0] * n, [0] * n  # tokens given out; tokens in the cache
    goal = lambda i: int(trace.prompt[i]) + said[i]  # tokens that must be cached before the next one comes
    taken = {}  # tokens of cache reserved for each running request
    while None in last:
        if not queue and not running:
            now = max(now, trace.arrived[came])
        while came < n and trace.arrived[came] <= now:
            queue.append(came)
            came += 1
        decoding = [i for i in running if taken[i] < goal(i)]
        while sum(taken.values()) + len(decoding) > kv_tokens:
            i = running.pop()
            del taken[i]
            cached[i], evicted[i], queue = 0, evicted[i] + 1, [i] + queue
            decoding = [i for i in running if taken[i] < goal(i)]
        reading = [i for i in running if i not in decoding]
        left = chunk - len(decoding) - sum(goal(i) - cached[i] for i in reading)
        while (
            queue
            and left > 0
            and len(running) < max_batch
            and sum(taken.values()) + len(decoding) + goal(queue[0]) <= kv_tokens
        ):
            i = queue.pop(0)
            running.append(i)
            reading.append(i)
            taken[i], left = goal(i), left - goal(i)
        budget, chunks = chunk - len(decoding), {}
        for i in reading:
            if budget <= 0:
                break
            chunks[i] = min(budget, goal(i) - cached[i]), cached[i]
            budget -= chunks[i][0]
        now += f(len(decoding), sum(goal(i) for i in decoding), list(chunks.values()))
        spoke = list(decoding)
        for i in decoding:
            cached[i] = taken[i] = goal(i)
        for i, (tokens, _) in chunks.items():
            cached[i] += tokens
            if cached[i] == goal(i):
                spoke.append(i)
        for i in spoke:
            said[i] += 1
            if first[i] is None:
                first[i] = now
            if said[i] == trace.output[i]:
                last[i] = now
                running.remove(i)
                del taken[i]
    return np.array(first), np.array(last), evicted


traces = st.builds(
    lambda gaps, lengths: Trace(np.cumsum(gaps[: len(lengths)]), *np.array(lengths[: len(gaps)]).T),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), min_size=1, max_size=25),
)


@settings(max_examples=150, deadline=None)
@given(traces, st.integers(1, 8), st.integers(85, 300), st.sampled_from([8, 20, 64, 10_000]))
def test_equals_a_simulation_pass_by_pass(trace, max_batch, kv_tokens, chunk):
    s = simulate_trace(trace, Server(linear, max_batch, kv_tokens, chunk))
    first, last, evicted = pass_by_pass(trace, linear, max_batch, kv_tokens, chunk)
    np.testing.assert_allclose(s.ttft, first - trace.arrived, atol=1e-9)
    np.testing.assert_allclose(s.e2e, last - trace.arrived, atol=1e-9)
    assert s.preempted.tolist() == evicted


@settings(max_examples=60, deadline=None)
@given(traces, st.integers(1, 4), st.integers(1, 6), st.integers(85, 200))
def test_no_request_is_lost_or_doubled(trace, replicas, max_batch, kv_tokens):
    seen = []

    def step(n, context, chunks):
        seen.append((n, context, chunks))
        return linear(n, context, chunks)

    s = simulate_trace(trace, Server(step, max_batch, kv_tokens, chunk=16), replicas)
    for x in (s.wait, s.ttft, s.e2e):
        assert len(x) == len(trace) and np.all(np.isfinite(x)) and np.all(x >= 0)
    assert (
        np.all(s.wait < s.ttft)
        and np.all(s.ttft <= s.e2e + 1e-12)
        and np.all(np.isnan(s.tpot) == (trace.output == 1))
    )
    np.testing.assert_allclose(s.ttft + np.nan_to_num(s.tpot) * (trace.output - 1), s.e2e)
    assert (
        0 < s.utilisation <= 1 + 1e-9
        and 0 < s.running <= max_batch
        and set(s.replica) <= set(range(replicas))
    )
    assert max(n for n, _, _ in seen) <= max_batch and max(context for _, context, _ in seen) <= kv_tokens
    assert max(n + sum(new for new, _ in chunks) for n, _, chunks in seen) <= 16


def test_tokens_add_up():
    count = dict(read=0, said=0)

    def step(n, context, chunks):
        count['read'] += sum(new for new, _ in chunks)
        count['said'] += n
        return 0.01

    t = random_trace(
        300.0, 200, [5, 30, 90], [1, 2, 3, 2], seed=1
    )  # answers so short that no two passes are taken in one stride
    count_passes = simulate_trace(t, Server(step, max_batch=10**6, chunk=10**9))
    assert count['read'] == t.prompt.sum() and count_passes.preempted.sum() == 0
    assert count_passes.tokens_per_s == pytest.approx(
        t.output.sum() / ((t.arrived + count_passes.e2e).max() - t.arrived[0])
    )


@pytest.mark.parametrize(
    'model, machine, how',
    [
        ('llama-3.1-8b', 'H100', {}),
        ('qwen3-235b-a22b', 'H200', dict(tp=8, bits=8)),
        ('gemma-3-4b', 'L40S', dict(kv_bits=8)),
        ('qwen3.5-27b', 'H100', dict(tp=2)),
        ('gpt-oss-120b', 'B200', dict(bits=8, expert_bits=4)),
    ],
)
def test_passes_cost_what_latency_says(model, machine, how):
    step, arch, machine = step_seconds(model, machine, **how), architecture(model), gpu(machine)
    for n, context in ((1, 1), (3, 2500), (200, 700)):
        assert step(n, n * context) == pytest.approx(
            decode_step_seconds(arch, machine, n, context, **how), rel=1e-9
        )
    for prompt in (1, 129, 4000):
        assert step(0, 0, [(prompt, 0)]) == pytest.approx(
            prefill_seconds(arch, machine, prompt, **how), rel=1e-9
        )


def test_a_pass_by_hand():
    "Two answers that look at 2,000 tokens in all, and a prompt of 500, on an H100 at 100% of its sheet, reading and computing one after the other"
    llama = architecture('llama-3.1-8b')
    read = 2 * llama.matmul + 2000 * 131_072
    flops = (
        2 * 2 * llama.matmul
        + 4 * 32 * 4096 * 2000
        + 2 * llama.blocks * 500
        + 4 * 32 * 4096 * 500 * 501 / 2
        + 2 * llama.head
    )
    step = step_seconds('llama-3.1-8b', 'H100', efficiency=replace(SPEC_SHEET, overlap=1))
    assert step(2, 2000, [(500, 0)]) == pytest.approx(read / 3.35e12 + flops / 989e12)


def test_a_server_by_hand():
    "72 GB less 2 GB and 16.06 GB of weights, in blocks of 16 tokens of 131,072 bytes"
    s = llm_server('llama-3.1-8b', 'H100', efficiency=replace(SPEC_SHEET, request_overhead=0.01))
    assert s.kv_tokens == (72e9 - 2e9 - 2 * 8_030_261_248) // (16 * 131_072) * 16 and (
        s.max_batch,
        s.chunk,
        s.overhead,
    ) == (256, 8192, 0.01)


def test_a_trace_by_hand():
    t = random_trace(4.0, 3, 100, [7], cv=0)
    assert (
        t.arrived.tolist() == [0.25, 0.5, 0.75]
        and t.prompt.tolist() == [100] * 3
        and t.output.tolist() == [7] * 3
        and t.rate == 4
    )


def test_three_requests_by_hand():
    """Passes of 0.1 s for two at a time; three tokens for each of A, B, C, which come at 0, 0.05 and 0.05. A alone till 0.1, A and B till 0.3, when A is
    done and C gets its place, B and C till 0.4, C alone till 0.6."""
    trace = Trace([0.0, 0.05, 0.05], [3, 3, 3], [3, 3, 3])
    server = Server(lambda n, context, chunks: 0.1, max_batch=2)
    s = simulate_trace(trace, server)
    np.testing.assert_allclose(
        [s.wait, s.ttft, s.tpot, s.e2e],
        [[0, 0.05, 0.25], [0.1, 0.15, 0.35], [0.1, 0.1, 0.1], [0.3, 0.35, 0.55]],
    )
    assert (s.utilisation, s.running, s.tokens_per_s) == pytest.approx(
        (1.0, 9 / 6, 9 / 0.6)
    ) and s.percentile('e2e', 50).value == pytest.approx(0.35)
    assert (
        replicas_for(trace, server, ttft=0.21).replicas == 2
        and replicas_for(trace, server, ttft=0.36).replicas == 1
    )


def test_chunks_read_as_much_as_the_whole():
    step = step_seconds(
        'gemma-3-4b', 'H100', efficiency=replace(SPEC_SHEET, overlap=1)
    )  # read and compute add up: arithmetic is conserved
    arch, h100 = architecture('gemma-3-4b'), gpu('H100')
    extra = step(0, 0, [(1000, 0)]) + step(0, 0, [(1000, 1000)]) - step(0, 0, [(2000, 0)])
    weights, cache = (
        2 * arch.matmul / h100.bandwidth,
        1000 * 2 * sum(arch.cached) / h100.bandwidth,
    )  # once more each; and one more set of logits
    assert 0 < extra < weights + cache + 2 * arch.head / h100.flops16 + 1e-9


def test_more_replicas_never_hurt_and_bursts_do():
    server = Server(linear, max_batch=8, kv_tokens=4000, chunk=64)
    calm, wild = (random_trace(12.0, 3000, [20, 200], [10, 60], cv=cv, seed=2) for cv in (1, 4))
    p95 = [simulate_trace(calm, server, r).percentile('ttft').value for r in (1, 2, 4, 8)]
    assert all(a >= b * 0.98 for a, b in zip(p95, p95[1:])) and p95[0] > 2 * p95[-1]
    assert simulate_trace(wild, server, 4).percentile('ttft').value > 1.5 * p95[2]


def test_replicas_for_is_the_smallest():
    server, trace = (
        Server(linear, max_batch=8, kv_tokens=4000, chunk=64),
        random_trace(30.0, 1500, [20, 200], [10, 60], seed=3),
    )
    found = replicas_for(trace, server, ttft=0.1)
    assert (
        found.percentile('ttft').value
        <= 0.1
        < simulate_trace(trace, server, found.replicas - 1).percentile('ttft').value
    )
    assert replicas_for(trace, server, ttft=0.1, sure=True).replicas >= found.replicas
    assert replicas_for(trace, server, e2e=60.0).replicas <= found.replicas


def test_overhead_is_seen_by_the_request_alone():
    trace = random_trace(5.0, 300, 50, 20, seed=4)
    plain, late = (simulate_trace(trace, Server(linear, overhead=x)) for x in (0.0, 0.25))
    np.testing.assert_allclose(late.ttft, plain.ttft + 0.25)
    np.testing.assert_allclose(late.e2e, plain.e2e + 0.25)
    np.testing.assert_allclose(late.wait, plain.wait)


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: Trace([], [], []), 'no requests'),
        (lambda: Trace([0, 1], [1], [1, 1]), 'differ in length'),
        (lambda: Trace([1, 0], [1, 1], [1, 1]), 'must ascend'),
        (lambda: Trace([0], [1.5], [1]), 'whole numbers'),
        (lambda: Trace([math.nan, 1], [1, 1], [1, 1]), 'must ascend'),
        (lambda: random_trace(0.0, 5, 1, 1), 'must be above 0'),
        (lambda: Server(0.01), 'must be a function'),
        (lambda: Server(linear, max_batch=0), 'at least 1'),
        (lambda: Server(linear, 64, chunk=8), 'prompts would starve'),
        (lambda: simulate_trace(Trace([0], [50], [50]), Server(linear, kv_tokens=98)), 'needs 99 tokens'),
        (lambda: simulate_trace(Trace([0], [50], [50]), Server(linear), 0), 'replicas=0'),
        (lambda: llm_server('llama-3.3-70b', 'H100'), 'leaves no memory'),
        (lambda: replicas_for(Trace([0], [50], [50]), Server(linear)), 'no target'),
        (
            lambda: replicas_for(Trace([0, 9], [50] * 2, [50] * 2), Server(linear), ttft=1e-6),
            'do not keep P95',
        ),
        (
            lambda: simulate_trace(Trace([0], [5], [5]), Server(linear)).percentile('speed'),
            "'wait', 'ttft', 'tpot' or 'e2e'",
        ),
    ],
)
def test_bad_input_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_no_torch():
    code = 'import sys, rlops_lab.tokenomics.simulation, rlops_lab.tokenomics.measure; assert "torch" not in sys.modules and "openai" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)
