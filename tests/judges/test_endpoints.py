"An endpoint in front of a real HTTP server: what is sent, what it costs, and which errors are repeated"

import asyncio
import gc
import sys
import time
from dataclasses import replace

import pytest
from fake_judges import RUBRIC, items, verdict
from odd_replies import GOOD, Kind, Oddities, running

from rlops_lab.judges.attempts import EndpointRefused
from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.grading import start_in_background
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.rubrics import Criterion


def test_what_is_sent_and_what_it_costs(server):
    judge = Judge(Endpoint(server.url, 'm', usd_per_million=(1.0, 0.1, 10.0)), RUBRIC, structured=True)
    v = judge.grade(items(1))[0]
    assert (v.choice, v.score, v.unscored, v.model, v.rubric) == ('pass', 1.0, '', 'm-0611', RUBRIC.version)
    part = v.parts['helps']
    assert (part.choice, part.reason, part.lineage.revision, part.lineage.model) == (
        'yes',
        'It does.',
        'fp1',
        'm',
    )
    u = part.usage
    assert (u.prompt_tokens, u.cached_tokens, u.completion_tokens, u.calls) == (
        100,
        40,
        10,
        1,
    ) and u.seconds > 0
    assert u.usd == pytest.approx((60 * 1 + 40 * 0.1 + 10 * 10) / 1e6) and judge.usage == u
    sent = server.asked[0]
    assert (
        sent['temperature'] == 0
        and sent['max_tokens'] == 512
        and 'logprobs' not in sent
        and 'seed' not in sent
    )
    schema = sent['response_format']['json_schema']['schema']
    assert list(schema['properties']) == ['reason', 'choice'] and schema['properties']['choice']['enum'] == [
        'no',
        'yes',
    ]


@pytest.mark.parametrize(
    'counts, cached, written',
    [
        (dict(prompt_tokens_details=dict(cached_tokens=40, cache_write_tokens=30)), 40, 30),
        (dict(prompt_tokens_details=dict(cached_tokens=40, cache_creation_tokens=30)), 40, 30),
        (dict(cache_read_input_tokens=40, cache_creation_input_tokens=30), 40, 30),
        (dict(prompt_tokens_details=None, cache_creation_input_tokens=30), 0, 30),
        (dict(prompt_cache_hit_tokens=40, prompt_tokens_details=dict(cached_tokens=0)), 40, 0),
        (dict(cache_creation_input_tokens=900), 0, 100),  # no more than were read
        (dict(prompt_tokens_details='?', cache_creation_input_tokens='30'), 0, 0),
    ],
)
def test_tokens_put_into_the_cache_are_counted_and_priced(counts, cached, written):
    counts = dict(prompt_tokens=100, completion_tokens=10) | counts
    found = [
        Endpoint('http://127.0.0.1:9/v1', 'm', usd_per_million=prices)._usage(counts, 1.0)
        for prices in ((1.0, 0.1, 10.0), (1.0, 0.1, 10.0, 1.25), None)
    ]
    assert {(u.prompt_tokens, u.cached_tokens, u.written_tokens) for u in found} == {(100, cached, written)}
    plain = (100 - cached + 0.1 * cached + 100) / 1e6
    assert [u.usd for u in found] == pytest.approx([plain, plain + 0.25 * written / 1e6, 0])


def test_fields_of_the_request_can_be_added_and_taken_out(server):
    Judge(Endpoint(server.url, 'm', max_tokens=None, max_completion_tokens=900), RUBRIC).grade(items(1))
    assert 'max_tokens' not in server.asked[0] and server.asked[0]['max_completion_tokens'] == 900


@pytest.mark.filterwarnings('ignore:rubric .helpful. passes items at a score of 1')
def test_probabilities(server):
    server.answer = staticmethod(lambda body: {'A': -1.6094379, ' B': -0.3566749, 'x': -5.0})
    v = Judge(Endpoint(server.url, 'm'), RUBRIC, mode='logprobs').grade(items(1))[0]
    assert (
        server.asked[0]['max_tokens'] == 1
        and server.asked[0]['logprobs']
        and server.asked[0]['top_logprobs'] == 20
    )
    assert (
        v.parts['helps'].choice == 'yes' and v.score == pytest.approx(0.7 / 0.9) and v.choice == 'fail'
    )  # pass_at is 1
    server.answer = staticmethod(lambda body: verdict())
    with pytest.warns(UserWarning, match='this server does not give them'):
        assert Judge(Endpoint(server.url, 'm'), RUBRIC, mode='logprobs').grade(items(1))[0].score is None


def test_a_wrong_key_stops_the_batch(server):
    server.answer = staticmethod(lambda body: (401, {}))
    with pytest.raises(EndpointRefused, match=f'{server.url}, m turns every call down: check api_key'):
        Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=4).grade(items(300))
    assert len(server.asked) <= 4  # those that were under way


def test_the_servers_own_pause_is_kept(server):
    answers = iter([(429, {'retry-after': '0.6'}), verdict()])
    server.answer = staticmethod(lambda body: next(answers))
    began = time.perf_counter()
    assert Judge(Endpoint(server.url, 'm'), RUBRIC, pause=0.0).grade(items(1))[0].score == 1
    assert 0.6 <= time.perf_counter() - began


def test_nobody_there():
    pytest.importorskip('openai')
    with pytest.warns(UserWarning, match='APIConnectionError'):
        v = Judge(Endpoint('http://127.0.0.1:9/v1', 'm'), RUBRIC, pause=0.01).grade(items(1))[0]
    assert v.score is None and v.usage.calls == 3


def test_the_client_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openai', None)
    with pytest.raises(ImportError, match=r"pip install 'rlops_lab\[judge\]'"):
        Endpoint('http://127.0.0.1:9/v1', 'm')


def test_a_reply_without_an_answer_says_what_it_is(server):
    server.answer = staticmethod(lambda body: None)
    with pytest.warns(UserWarning, match='an error instead of an answer: .*quota'):
        Judge(Endpoint(server.url, 'm'), RUBRIC, attempts=1).grade(items(1))


def test_waiting_for_ones_turn_is_not_the_calls_time():
    async def down(messages, **how):
        await asyncio.sleep(0.05)
        raise ConnectionError('down')

    rubric = replace(
        RUBRIC, criteria=tuple(Criterion(f'c{i}', f'Is it {i}?', ('no', 'yes')) for i in range(8))
    )
    with pytest.warns(UserWarning, match='unscored'):
        v = Judge(down, rubric, attempts=1, concurrency=1).grade(items(1))[0]
    assert all(0.05 <= part.usage.seconds < 0.2 for part in v.parts.values())


def test_cut_replies_are_not_read():
    async def cut(messages, **how):
        return JudgeReply(verdict(), finish='length')

    with pytest.warns(UserWarning, match='cut after 512 tokens; raise max_tokens'):
        assert Judge(cut, RUBRIC, pause=0.0).grade(items(1))[0].score is None


class FakeImpatience(Oddities):
    "Closes each connection while it is idle, without a word"

    async def reply(self, text, writer):
        await super().reply(text, writer)
        await writer.drain()
        await asyncio.sleep(0.005)
        return True


def test_endpoints_that_are_dropped_leave_the_calls_of_others_alone():
    """A client that is collected as garbage once closed sockets whose numbers others had by then.

    Two to six of such a number of calls hung and were paid twice"""
    pytest.importorskip('openai')
    server = FakeImpatience(dict(item=Kind((('wait', 0.02, GOOD),))))

    async def collect():
        while True:
            gc.collect()
            await asyncio.sleep(0.01)

    async def batch(url, number):
        named = [f'kind item number {number * 16 + i}.' for i in range(16)]
        judge = Judge(Endpoint(url, 'm'), RUBRIC, timeout=4.0)
        return await judge.grade_async([dict(prompt='?', completion=text) for text in named])

    async def rounds(url):
        for number in range(0, 40, 2):
            await asyncio.gather(batch(url, number), batch(url, number + 1))

    gc.freeze()  # what other tests left behind
    collector = start_in_background(collect())
    with running(server.serve, server.loop) as url:
        asyncio.run(rounds(url))
    collector.cancel()
    gc.unfreeze()
    assert len(server.calls) == 640 and set(server.calls.values()) == {1}


def test_connections_are_shared_and_closed_with_the_last_endpoint():
    pytest.importorskip('openai')
    server = Oddities(dict(item=Kind((GOOD,))))
    open_now = set()

    async def counted(reader, writer):
        open_now.add(writer)
        await server.serve(reader, writer)
        open_now.discard(writer)

    with running(counted, server.loop) as url:
        ask, again = Endpoint(url, 'm'), Endpoint(url, 'm')
        for number, endpoint in enumerate((ask, again, ask)):
            named = dict(prompt='?', completion=f'kind item number {number}.')
            assert Judge(endpoint, RUBRIC).grade([named])[0].score == 1
        assert len(open_now) == 1
        del ask, again, endpoint
        gc.collect()
        until = time.perf_counter() + 5
        while open_now and time.perf_counter() < until:
            time.sleep(0.02)
        assert not open_now


@pytest.mark.parametrize(
    'how, says',
    [
        (dict(base_url='localhost:8000/v1'), 'begin it with http://'),
        (dict(stream=True), 'leave `stream` out'),
        (dict(usd_per_million=(1.0,)), 'give three prices'),
    ],
)
def test_what_would_fail_at_each_call_is_refused(how, says):
    pytest.importorskip('openai')
    with pytest.raises(ValueError, match=says):
        Endpoint(**dict(base_url='http://127.0.0.1:9/v1', model='m') | how)
