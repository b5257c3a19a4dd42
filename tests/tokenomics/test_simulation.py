"The simulator against a slow one written apart from it, against formulas, and what must never happen to a request"

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.servers import Server
from rlops_lab.tokenomics.simulation import Trace, random_trace, replicas_for, simulate_trace


def linear(n, context, chunks):
    return (
        0.004
        + 0.0003 * n
        + 2e-6 * context
        + 5e-5 * sum(new for new, _ in chunks)
        + 1e-8 * sum(new * before for new, before in chunks)
    )


class PassByPass:
    "One replica, every pass by itself, written apart from the library and slow"

    def __init__(self, trace, seconds, max_batch, kv_tokens, chunk):
        self.trace, self.seconds = trace, seconds
        self.max_batch, self.kv_tokens, self.chunk = max_batch, kv_tokens, chunk
        n = len(trace)
        self.now, self.came = 0.0, 0
        self.queue, self.running = [], []
        self.first, self.last, self.evicted = [None] * n, [None] * n, [0] * n
        self.answered, self.cached = [0] * n, [0] * n  # tokens given out; tokens in the cache
        self.taken = {}  # tokens of cache reserved for each running request

    def run(self):
        "(first token, last token, evictions) of each request"
        while None in self.last:
            self.queue_arrivals()
            self.evict()
            reading = self.admit()
            self.one_pass(self.decoding(), reading)
        return np.array(self.first), np.array(self.last), self.evicted

    def goal(self, i):
        "Tokens that must be cached before the next one comes"
        return int(self.trace.prompt[i]) + self.answered[i]

    def decoding(self):
        return [i for i in self.running if self.taken[i] < self.goal(i)]

    def queue_arrivals(self):
        arrived = self.trace.arrived
        if not self.queue and not self.running:
            self.now = max(self.now, arrived[self.came])
        while self.came < len(arrived) and arrived[self.came] <= self.now:
            self.queue.append(self.came)
            self.came += 1

    def evict(self):
        while sum(self.taken.values()) + len(self.decoding()) > self.kv_tokens:
            i = self.running.pop()
            del self.taken[i]
            self.cached[i] = 0
            self.evicted[i] += 1
            self.queue = [i] + self.queue

    def admit(self):
        "Requests whose prompts are being read, those that are admitted now included"
        decoding = self.decoding()
        reading = [i for i in self.running if i not in decoding]
        left = self.chunk - len(decoding) - sum(self.goal(i) - self.cached[i] for i in reading)
        while self.queue and left > 0 and len(self.running) < self.max_batch:
            i = self.queue[0]
            if sum(self.taken.values()) + len(decoding) + self.goal(i) > self.kv_tokens:
                break
            self.running.append(self.queue.pop(0))
            reading.append(i)
            self.taken[i] = self.goal(i)
            left -= self.goal(i)
        return reading

    def chunks(self, decoding, reading):
        budget, chunks = self.chunk - len(decoding), {}
        for i in reading:
            if budget <= 0:
                break
            chunks[i] = min(budget, self.goal(i) - self.cached[i]), self.cached[i]
            budget -= chunks[i][0]
        return chunks

    def one_pass(self, decoding, reading):
        chunks = self.chunks(decoding, reading)
        context = sum(self.goal(i) for i in decoding)
        self.now += self.seconds(len(decoding), context, list(chunks.values()))
        for i in decoding:
            self.cached[i] = self.taken[i] = self.goal(i)
        for i, (tokens, _) in chunks.items():
            self.cached[i] += tokens
        read = [i for i in chunks if self.cached[i] == self.goal(i)]
        for i in [*decoding, *read]:
            self.give_token(i)

    def give_token(self, i):
        self.answered[i] += 1
        if self.first[i] is None:
            self.first[i] = self.now
        if self.answered[i] == self.trace.output[i]:
            self.last[i] = self.now
            self.running.remove(i)
            del self.taken[i]


traces = st.builds(
    lambda gaps, lengths: Trace(np.cumsum(gaps[: len(lengths)]), *np.array(lengths[: len(gaps)]).T),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), min_size=1, max_size=25),
)


@settings(max_examples=150, deadline=None)
@given(traces, st.integers(1, 8), st.integers(85, 300), st.sampled_from([8, 20, 64, 10_000]))
def test_equals_a_simulation_pass_by_pass(trace, max_batch, kv_tokens, chunk):
    s = simulate_trace(trace, Server(linear, max_batch, kv_tokens, chunk))
    first, last, evicted = PassByPass(trace, linear, max_batch, kv_tokens, chunk).run()
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
    assert np.all(s.wait < s.ttft) and np.all(s.ttft <= s.e2e + 1e-12)
    assert np.all(np.isnan(s.tpot) == (trace.output == 1))
    np.testing.assert_allclose(s.ttft + np.nan_to_num(s.tpot) * (trace.output - 1), s.e2e)
    assert 0 < s.busy <= 1 + 1e-9
    assert 0 < s.running <= max_batch
    assert set(s.replica) <= set(range(replicas))
    assert max(n for n, _, _ in seen) <= max_batch and max(context for _, context, _ in seen) <= kv_tokens
    assert max(n + sum(new for new, _ in chunks) for n, _, chunks in seen) <= 16


def test_tokens_add_up():
    read = []

    def step(n, context, chunks):
        read.extend(new for new, _ in chunks)
        return 0.01

    # answers so short that no two passes are taken in one stride
    trace = random_trace(300.0, 200, [5, 30, 90], [1, 2, 3, 2], seed=1)
    s = simulate_trace(trace, Server(step, max_batch=10**6, chunk=10**9))
    assert sum(read) == trace.prompt.sum()
    assert s.preempted.sum() == 0
    span = (trace.arrived + s.e2e).max() - trace.arrived[0]
    assert s.tokens_per_s == pytest.approx(trace.output.sum() / span)


def test_a_trace_by_hand():
    trace = random_trace(4.0, 3, 100, [7], cv=0)
    assert trace.arrived.tolist() == [0.25, 0.5, 0.75]
    assert trace.prompt.tolist() == [100] * 3
    assert trace.output.tolist() == [7] * 3
    assert trace.rate == 4


def test_three_requests_by_hand():
    """Passes of 0.1 s for two at a time; three tokens for each of A, B, C, which come at 0, 0.05 and 0.05.
    A alone till 0.1, A and B till 0.3, when A is done and C gets its place, B and C till 0.4, C alone till 0.6."""
    trace = Trace([0.0, 0.05, 0.05], [3, 3, 3], [3, 3, 3])
    server = Server(lambda n, context, chunks: 0.1, max_batch=2)
    s = simulate_trace(trace, server)
    np.testing.assert_allclose(s.wait, [0, 0.05, 0.25])
    np.testing.assert_allclose(s.ttft, [0.1, 0.15, 0.35])
    np.testing.assert_allclose(s.tpot, [0.1, 0.1, 0.1])
    np.testing.assert_allclose(s.e2e, [0.3, 0.35, 0.55])
    assert (s.busy, s.running, s.tokens_per_s) == pytest.approx((1.0, 9 / 6, 9 / 0.6))
    assert s.percentile('e2e', 50).value == pytest.approx(0.35)
    assert replicas_for(trace, server, ttft=0.21).replicas == 2
    assert replicas_for(trace, server, ttft=0.36).replicas == 1


def test_answers_of_one_token_have_no_time_between_tokens():
    s = simulate_trace(Trace([0.0, 1.0], [3, 3], [1, 1]), Server(linear))
    assert math.isnan(s.percentile('tpot').value)
    assert 'nan' in s._repr_html_()


def test_more_replicas_never_hurt_and_bursts_do():
    server = Server(linear, max_batch=8, kv_tokens=4000, chunk=64)
    calm, wild = (random_trace(12.0, 3000, [20, 200], [10, 60], cv=cv, seed=2) for cv in (1, 4))
    p95 = [simulate_trace(calm, server, r).percentile('ttft').value for r in (1, 2, 4, 8)]
    assert all(a >= b * 0.98 for a, b in zip(p95, p95[1:])) and p95[0] > 2 * p95[-1]
    assert simulate_trace(wild, server, 4).percentile('ttft').value > 1.5 * p95[2]


def test_replicas_for_is_the_smallest():
    server = Server(linear, max_batch=8, kv_tokens=4000, chunk=64)
    trace = random_trace(30.0, 1500, [20, 200], [10, 60], seed=3)
    found = replicas_for(trace, server, ttft=0.1)
    assert found.percentile('ttft').value <= 0.1
    assert simulate_trace(trace, server, found.replicas - 1).percentile('ttft').value > 0.1
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
        (lambda: simulate_trace(Trace([0], [50], [50]), Server(linear, kv_tokens=98)), 'needs 99 tokens'),
        (lambda: simulate_trace(Trace([0], [50], [50]), Server(linear), 0), 'replicas=0'),
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
    code = """import sys, rlops_lab.tokenomics.simulation, rlops_lab.tokenomics.measure
assert "torch" not in sys.modules and "openai" not in sys.modules"""
    subprocess.run([sys.executable, '-c', code], check=True)
