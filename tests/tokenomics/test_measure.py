"Measuring a real HTTP server that streams with known delays: times, errors, deadline, interrupt"

import asyncio, json, os, statistics, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest
from rlops_lab.tokenomics.measure import (
    Load,
    Measurement,
    ask_endpoint,
    measure,
    measure_sampler,
    measure_users,
    random_prompts,
)


class FakeEndpoint(BaseHTTPRequestHandler):
    "OpenAI's streaming protocols; `sleep` is the model"

    first, each, tokens, fail_every, count_usage = 0.15, 0.03, 8, 0, True
    protocol_version = 'HTTP/1.1'
    asked, sent = [], []

    def log_message(self, *args):
        pass

    def piece(self, text):
        self.wfile.write(f'{len(text.encode()):x}\r\n{text}\r\n'.encode())
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        self.asked.append(body)
        began, at = time.perf_counter(), []
        if self.fail_every and len(self.asked) % self.fail_every == 0:
            self.send_response(503)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        chat, usage = (
            'chat' in self.path,
            dict(completion_tokens=self.tokens, prompt_tokens=33, total_tokens=33 + self.tokens),
        )
        common = dict(
            id='x',
            created=0,
            model=body['model'],
            object='chat.completion.chunk' if chat else 'text_completion',
        )

        def event(**more):
            self.piece(f'data: {json.dumps(common | more)}\n\n')

        try:
            if chat:
                event(
                    choices=[dict(index=0, delta=dict(role='assistant', content=''), finish_reason=None)]
                )  # no token yet
            for i in range(self.tokens):
                time.sleep(self.each if i else self.first)
                at.append(time.perf_counter() - began)
                event(
                    choices=[
                        dict(index=0, delta=dict(content='a'), finish_reason=None)
                        if chat
                        else dict(index=0, text='a', finish_reason=None)
                    ]
                )
            if self.count_usage:
                event(choices=[], usage=usage)
            self.piece('data: [DONE]\n\n')
            self.piece('')
            self.sent.append(at)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was cut off


@pytest.fixture
def endpoint():
    pytest.importorskip('openai', reason="the client of the [judge] extra: pip install 'rlops_lab[judge]'")
    handler = type('Handler', (FakeEndpoint,), dict(asked=[], sent=[]))
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
    seen = measure(
        ask_endpoint(url, 'm', output=8, chat=chat),
        prompts,
        users=(1, 4),
        requests=lambda c: 4,
        progress=False,
    )
    for load in seen.loads:
        assert not load.errors and load.tokens == [8] * 4 and load.prompt == 33
    late = (
        0.05 if os.getloadavg()[0] < os.cpu_count() else 1.5
    )  # of the client, on a machine that does other things
    for load, sent in zip(seen.loads, (handler.sent[:4], handler.sent[4:])):
        assert min(load.ttft) >= 0.15 and min(load.e2e) >= 0.15 + 7 * 0.03
        assert 0 <= load.percentile('ttft', 50) - statistics.median(at[0] for at in sent) < late
        assert (
            abs(load.percentile('tpot', 50) - statistics.median((at[-1] - at[0]) / 7 for at in sent))
            < late / 7
        )
    points = seen.points('smollm2-135m', 'H100', stack='fake')
    assert [(p.metric, p.concurrency, p.prompt, p.output, p.stack) for p in points] == [
        (m, c, 33, 8, 'fake') for c in (1, 4) for m in ('ttft', 'tpot')
    ]
    sent = handler.asked[0]
    assert (
        sent['stream']
        and sent['ignore_eos']
        and sent['max_tokens'] == 8
        and sent['temperature'] == 0
        and sent['stream_options'] == dict(include_usage=True)
    )


def test_failures_are_counted_by_name_and_not_tried_again(endpoint):
    url, handler = endpoint
    handler.fail_every, handler.first, handler.each = 3, 0.01, 0.001
    seen = measure(
        ask_endpoint(url, 'm', output=8),
        random_prompts(9, 5),
        users=(1,),
        requests=lambda c: 9,
        progress=False,
    ).loads[0]
    assert seen.errors == {'InternalServerError': 3} and len(seen.ttft) == 6 and len(handler.asked) == 9


def test_one_ask_serves_several_loops(endpoint):
    url, handler = endpoint
    handler.first, handler.each = 0.01, 0.001
    ask = ask_endpoint(url, 'm', output=8)
    for _ in range(3):  # each call runs a loop of its own
        seen = measure(ask, random_prompts(2, 5), users=(1,), requests=lambda c: 2, progress=False).loads[0]
        assert not seen.errors and len(seen.ttft) == 2


def test_nobody_there():
    pytest.importorskip('openai')
    seen = measure(
        ask_endpoint('http://127.0.0.1:9/v1', 'm', timeout=5),
        random_prompts(2, 5),
        users=(1,),
        requests=lambda c: 2,
        progress=False,
    ).loads[0]
    assert (
        seen.errors == {'APIConnectionError': 2}
        and seen.points('smollm2-135m', 'H100') == []
        and seen.tokens_per_s == 0
    )


def test_without_usage_chunks_are_counted(endpoint):
    url, handler = endpoint
    handler.count_usage, handler.first = False, 0.01
    seen = measure(
        ask_endpoint(url, 'm', output=8, ignore_eos=False),
        random_prompts(2, 20),
        users=(1,),
        requests=lambda c: 2,
        progress=False,
    ).loads[0]
    assert seen.tokens == [8, 8] and seen.prompt == 20 and 'ignore_eos' not in handler.asked[0]


def test_a_deadline_cuts_off(endpoint):
    url, handler = endpoint
    handler.each, handler.tokens = 0.2, 50
    began = time.perf_counter()
    seen = measure(
        ask_endpoint(url, 'm', output=50),
        random_prompts(20, 5),
        users=(2,),
        requests=lambda c: 20,
        seconds=1.0,
        progress=False,
    ).loads[0]
    assert time.perf_counter() - began < 20 and seen.stopped == '2 cut off after 1 s' and seen.ttft == []


async def fake(prompt):
    for i in range(4):
        await asyncio.sleep(0.02)
        yield i + 1, None


def test_inside_a_running_loop():
    async def cell():
        return measure(
            fake, [[1]] * 4, users=(2,), requests=lambda c: 4, progress=False
        )  # as in a notebook's cell

    assert len(asyncio.run(cell()).loads[0].ttft) == 4
    assert (
        len(
            asyncio.run(measure_users(fake, [[1]] * 4, users=(2,), requests=lambda c: 4, progress=False))
            .loads[0]
            .ttft
        )
        == 4
    )


def test_ctrl_c_keeps_what_was_measured(monkeypatch):
    join, calls = threading.Thread.join, []

    def interrupted(self, timeout=None):
        if timeout == 0.1:
            calls.append(timeout)
        if len(calls) == 8 and timeout == 0.1:
            raise KeyboardInterrupt  # what Ctrl-C raises in the main thread
        return join(self, timeout)

    monkeypatch.setattr(threading.Thread, 'join', interrupted)
    seen = measure(fake, [[1]] * 1000, users=(1, 2), requests=lambda c: 500, progress=False)
    assert seen.loads[-1].stopped == 'interrupted' and 0 < len(seen.loads[0].ttft) < 500


def test_every_prompt_is_used_once():
    asked = []

    async def ask(prompt):
        asked.append(prompt)
        yield 1, None

    measure(ask, list(range(14)), users=(1, 2, 4), requests=lambda c: 2 * c, progress=False)
    assert sorted(asked) == list(range(14))


def test_texts_need_a_server_that_counts():
    seen = measure(fake, ['a text', 'another'], users=(1,), requests=lambda c: 2, progress=False)
    with pytest.raises(ValueError, match='Use token ids as prompts'):
        seen.points('smollm2-135m', 'H100')


def test_an_empty_answer_is_an_error():
    async def ask(prompt):
        if prompt < 0:
            yield 1, None

    seen = measure(ask, [1, 2], users=(1,), requests=lambda c: 2, progress=False).loads[0]
    assert seen.errors == {'ValueError': 2} and '2 ValueError' in Measurement([seen])._repr_html_()


def test_random_prompts():
    a, b = random_prompts(3, 200), random_prompts(3, 200)
    assert a == b and len({tuple(p[:4]) for p in a}) == 3 and all(len(p) == 200 and min(p) >= 1000 for p in a)


class Sampler:
    "Sleeps 20 ms for a batch's first token and 5 ms for each further one"

    end = 7

    def sample(self, prompts, params):
        from types import SimpleNamespace

        assert self.end == -1
        time.sleep(0.02 + 0.005 * (params.max_tokens - 1))
        return [SimpleNamespace(token_ids=[1] * params.max_tokens) for _ in prompts]


def test_local_sampler():
    sampler = Sampler()
    load = measure_sampler(sampler, [[1] * 10] * 2, output=11, batches=(2,), repeats=4).loads[0]
    assert load.tokens == [11] * 6 and sampler.end == 7 and load.prompt == 10
    assert (
        0.02 <= min(load.ttft) < 0.1
        and 0.02 + 0.05 <= min(load.e2e)
        and 0.001 < load.percentile('tpot', 50) < 0.03
    )


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: measure(fake, [[1]] * 9, users=(0,)), 'at least one level'),
        (lambda: measure(fake, [[1]] * 9, users=(1,), seconds=0), 'seconds=0'),
        (lambda: measure(fake, [[1]] * 3, users=(4,)), '3 prompts for 8 requests'),
        (lambda: measure_sampler(Sampler(), [[1]], batches=(4,)), '1 prompts for a batch of 4'),
        (lambda: measure_sampler(Sampler(), [[1]], output=1), 'at least 2'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_points_by_hand():
    "Two users, answers of 10 and 20 tokens in 3 s together: means of the seconds, the mean length as a whole number"
    load = Load(2, 100.0, ttft=[1.0, 3.0], tpot=[0.1, 0.3], e2e=[2.0, 2.5], tokens=[10, 20], seconds=3.0)
    assert load.tokens_per_s == 10 and (load.percentile('ttft', 50), load.percentile('e2e', 100)) == (
        2.0,
        2.5,
    )
    assert [
        (p.metric, p.seconds, p.prompt, p.output, p.concurrency) for p in load.points('smollm2-135m', 'H100')
    ] == [('ttft', 2.0, 100, 15, 2), ('tpot', 0.2, 100, 15, 2)]


def test_nothing_measured_gives_no_points():
    assert Load(4).points('smollm2-135m', 'H100') == []


def test_the_client_is_asked_for(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'openai', None)
    with pytest.raises(ImportError, match=r"pip install 'rlops_lab\[judge\]'"):
        ask_endpoint('http://127.0.0.1:9/v1', 'm')
