"Measuring a real HTTP server that streams with known delays: times, errors, deadline, interrupt"

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from asks import four_tokens

from rlops_lab.tokenomics.closed_loop import measure_users
from rlops_lab.tokenomics.measure import ask_endpoint, measure_endpoint, measure_sampler, random_prompts


class FakeEndpoint(BaseHTTPRequestHandler):
    "OpenAI's streaming protocols; `sleep` is the model"

    first, each, tokens, fail_every, count_usage = 0.15, 0.03, 8, 0, True
    protocol_version = 'HTTP/1.1'
    calls, sent = [], []

    def log_message(self, *args):
        pass

    def piece(self, text):
        self.wfile.write(f'{len(text.encode()):x}\r\n{text}\r\n'.encode())
        self.wfile.flush()

    def do_POST(self):
        self.body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        self.calls.append(self.body)
        self.began = time.perf_counter()
        if self.fail_every and len(self.calls) % self.fail_every == 0:
            return self.fail()
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        try:
            self.sent.append(self.stream())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was cut off

    def fail(self):
        self.send_response(503)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def event(self, **more):
        kind = 'chat.completion.chunk' if self.is_chat else 'text_completion'
        common = dict(id='x', created=0, model=self.body['model'], object=kind)
        self.piece(f'data: {json.dumps(common | more)}\n\n')

    @property
    def is_chat(self):
        return 'chat' in self.path

    def token(self):
        text = dict(delta=dict(content='a')) if self.is_chat else dict(text='a')
        return [dict(index=0, finish_reason=None, **text)]

    def stream(self):
        "Seconds at which each token left"
        left = []
        if self.is_chat:  # no token yet
            self.event(choices=[dict(index=0, delta=dict(role='assistant', content=''), finish_reason=None)])
        for i in range(self.tokens):
            time.sleep(self.each if i else self.first)
            left.append(time.perf_counter() - self.began)
            self.event(choices=self.token())
        if self.count_usage:
            usage = dict(completion_tokens=self.tokens, prompt_tokens=33, total_tokens=33 + self.tokens)
            self.event(choices=[], usage=usage)
        self.piece('data: [DONE]\n\n')
        self.piece('')
        return left


@pytest.fixture
def endpoint():
    pytest.importorskip('openai', reason="the client of the [judge] extra: pip install 'rlops_lab[judge]'")
    handler = type('Handler', (FakeEndpoint,), dict(calls=[], sent=[]))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/v1', handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize('chat', [False, True])
def test_times_are_those_of_the_server(endpoint, chat):
    url, handler = endpoint
    prompts = [f'text {i}' for i in range(8)] if chat else random_prompts(8, 20)
    seen = measure_endpoint(
        ask_endpoint(url, 'm', output=8, chat=chat),
        prompts,
        users=(1, 4),
        requests=lambda c: 4,
        progress=False,
    )
    for load in seen.loads:
        assert not load.errors and load.tokens == [8] * 4 and load.prompt == 33
    # of the client, on a machine that does other things
    late = 0.05 if os.getloadavg()[0] < os.cpu_count() else 1.5
    for load, sent in zip(seen.loads, (handler.sent[:4], handler.sent[4:])):
        assert min(load.ttft) >= 0.15
        assert min(load.e2e) >= 0.15 + 7 * 0.03
        first = statistics.median(left[0] for left in sent)
        between = statistics.median((left[-1] - left[0]) / 7 for left in sent)
        assert 0 <= load.percentile('ttft', 50) - first < late
        assert abs(load.percentile('tpot', 50) - between) < late / 7


def test_points_and_request_of_an_endpoint(endpoint):
    url, handler = endpoint
    handler.first, handler.each = 0.01, 0.001
    seen = measure_endpoint(
        ask_endpoint(url, 'm', output=8),
        random_prompts(8, 20),
        users=(1, 4),
        requests=lambda c: 4,
        progress=False,
    )
    points = seen.points('smollm2-135m', 'H100', stack='fake')
    assert [(p.metric, p.concurrency, p.prompt, p.output, p.stack) for p in points] == [
        (m, c, 33, 8, 'fake') for c in (1, 4) for m in ('ttft', 'tpot')
    ]
    request = handler.calls[0]
    assert request['stream'] and request['ignore_eos']
    assert (request['max_tokens'], request['temperature']) == (8, 0)
    assert request['stream_options'] == dict(include_usage=True)


def test_failures_are_counted_by_name_and_not_tried_again(endpoint):
    url, handler = endpoint
    handler.fail_every, handler.first, handler.each = 3, 0.01, 0.001
    seen = measure_endpoint(
        ask_endpoint(url, 'm', output=8),
        random_prompts(9, 5),
        users=(1,),
        requests=lambda c: 9,
        progress=False,
    ).loads[0]
    assert seen.errors == {'InternalServerError': 3} and len(seen.ttft) == 6 and len(handler.calls) == 9


def test_one_ask_serves_several_loops(endpoint):
    url, handler = endpoint
    handler.first, handler.each = 0.01, 0.001
    ask = ask_endpoint(url, 'm', output=8)
    for _ in range(3):  # each call runs a loop of its own
        seen = measure_endpoint(
            ask, random_prompts(2, 5), users=(1,), requests=lambda c: 2, progress=False
        ).loads[0]
        assert not seen.errors and len(seen.ttft) == 2


def test_nobody_there():
    pytest.importorskip('openai')
    seen = measure_endpoint(
        ask_endpoint('http://127.0.0.1:9/v1', 'm', timeout=5),
        random_prompts(2, 5),
        users=(1,),
        requests=lambda c: 2,
        progress=False,
    ).loads[0]
    assert seen.errors == {'APIConnectionError': 2}
    assert seen.points('smollm2-135m', 'H100') == []
    assert seen.tokens_per_s == 0


def test_without_usage_chunks_are_counted(endpoint):
    url, handler = endpoint
    handler.count_usage, handler.first = False, 0.01
    seen = measure_endpoint(
        ask_endpoint(url, 'm', output=8, ignore_eos=False),
        random_prompts(2, 20),
        users=(1,),
        requests=lambda c: 2,
        progress=False,
    ).loads[0]
    assert seen.tokens == [8, 8] and seen.prompt == 20 and 'ignore_eos' not in handler.calls[0]


def test_a_deadline_cuts_off(endpoint):
    url, handler = endpoint
    handler.each, handler.tokens = 0.2, 50
    began = time.perf_counter()
    seen = measure_endpoint(
        ask_endpoint(url, 'm', output=50),
        random_prompts(20, 5),
        users=(2,),
        requests=lambda c: 20,
        seconds=1.0,
        progress=False,
    ).loads[0]
    assert time.perf_counter() - began < 20 and seen.stopped == '2 cut off after 1 s' and seen.ttft == []


def test_inside_a_running_loop():
    async def cell():
        "As in a notebook's cell"
        return measure_endpoint(four_tokens, [[1]] * 4, users=(2,), requests=lambda c: 4, progress=False)

    assert len(asyncio.run(cell()).loads[0].ttft) == 4
    measuring = measure_users(four_tokens, [[1]] * 4, users=(2,), requests=lambda c: 4, progress=False)
    assert len(asyncio.run(measuring).loads[0].ttft) == 4


def test_ctrl_c_keeps_what_was_measured(monkeypatch):
    join, calls = threading.Thread.join, []

    def interrupted(self, timeout=None):
        if timeout == 0.1:
            calls.append(timeout)
        if len(calls) == 8 and timeout == 0.1:
            raise KeyboardInterrupt  # what Ctrl-C raises in the main thread
        return join(self, timeout)

    monkeypatch.setattr(threading.Thread, 'join', interrupted)
    seen = measure_endpoint(four_tokens, [[1]] * 1000, users=(1, 2), requests=lambda c: 500, progress=False)
    assert seen.loads[-1].stopped == 'interrupted' and 0 < len(seen.loads[0].ttft) < 500


def test_random_prompts():
    prompts = random_prompts(3, 200)
    assert prompts == random_prompts(3, 200)
    assert len({tuple(prompt[:4]) for prompt in prompts}) == 3
    assert all(len(prompt) == 200 and min(prompt) >= 1000 for prompt in prompts)


class Sampler:
    "Sleeps 20 ms for a batch's first token and 5 ms for each further one"

    end = 7

    def sample(self, prompts, params):
        assert self.end == -1
        time.sleep(0.02 + 0.005 * (params.max_tokens - 1))
        return [SimpleNamespace(token_ids=[1] * params.max_tokens) for _ in prompts]


def test_local_sampler():
    sampler = Sampler()
    load = measure_sampler(sampler, [[1] * 10] * 2, output=11, batches=(2,), repeats=4).loads[0]
    assert load.tokens == [11] * 6 and sampler.end == 7 and load.prompt == 10
    assert 0.02 <= min(load.ttft) < 0.1
    assert min(load.e2e) >= 0.02 + 0.05
    assert 0.001 < load.percentile('tpot', 50) < 0.03


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: measure_sampler(Sampler(), [[1]], batches=(4,)), '1 prompts for a batch of 4'),
        (lambda: measure_sampler(Sampler(), [[1]], output=1), 'at least 2'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_a_missing_client_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openai', None)
    with pytest.raises(ImportError, match=r"pip install 'rlops_lab\[judge\]'"):
        ask_endpoint('http://127.0.0.1:9/v1', 'm')
