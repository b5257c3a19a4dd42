"A server that says when: everybody waits, nobody is lost, and what would not end is ended"

import asyncio
import time
from email.utils import formatdate

import pytest
from fake_judges import RUBRIC, items, verdict

from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.rate_limits import Pace, WaitTooLong, backoff, told_wait

pytestmark = pytest.mark.filterwarnings('ignore:judge .helpful.')


class FakeBusy(Exception):
    status_code = 429

    def __init__(self, **headers):
        super().__init__('slow down')
        named = {name.replace('_', '-'): value for name, value in headers.items()}
        self.response = type('FakeResponse', (), dict(headers=named))()


@pytest.mark.parametrize(
    'headers, seconds',
    [
        (dict(retry_after='2'), 2.0),
        (dict(Retry_After='1.5'), 1.5),
        (dict(retry_after='.5'), 0.5),
        (dict(retry_after='0'), 0.0),
        (dict(retry_after_ms='1500'), 1.5),
        (dict(Retry_After_Ms='250', retry_after='3'), 0.25),
        (dict(retry_after='Wed, 21 Oct 2026 12:00:20 GMT', date='Wed, 21 Oct 2026 12:00:00 GMT'), 20.0),
        (dict(retry_after='Wed, 21 Oct 1998 12:00:20 GMT'), 0.0),
        (dict(retry_after=' 7 '), 7.0),
        (dict(retry_after='-1'), None),
        (dict(retry_after='inf'), None),
        (dict(retry_after='1e3'), None),
        (dict(retry_after='soon'), None),
        (dict(retry_after=''), None),
        ({}, None),
    ],
)
def test_every_form_of_being_told(headers, seconds):
    assert told_wait(FakeBusy(**headers)) == seconds


def test_a_date_by_our_clock():
    assert told_wait(FakeBusy(retry_after=formatdate(time.time() + 30, usegmt=True))) == pytest.approx(30, abs=2)
    assert told_wait(None) is told_wait(ConnectionError()) is None


def test_pauses_grow_and_differ():
    early, late = ([backoff(n, 0.5) for _ in range(200)] for n in (0, 3))
    assert 0.25 <= min(early) < max(early) <= 0.75 and 2 <= min(late) < max(late) <= 6
    assert backoff(10_000, 0.5) <= 60


def windowed(most, seconds, headers):
    "An answer by a server that takes so many calls in each window"
    window = dict(number=None, taken=0)

    def answer(body):
        number = int(time.monotonic() / seconds)
        if number != window['number']:
            window.update(number=number, taken=0)
        window['taken'] += 1
        return verdict() if window['taken'] <= most else (429, headers)

    return answer


@pytest.mark.parametrize('headers', [{'Retry-After': '1'}, {'retry-after-ms': '300'}, {}])
def test_nobody_is_lost_at_a_limit(server, headers):
    server.answer = staticmethod(windowed(15, 0.5, headers))
    verdicts = Judge(Endpoint(server.url, 'm'), RUBRIC).grade(items(60))
    assert [v.score for v in verdicts] == [1.0] * 60


def test_told_waits_are_no_attempts_and_are_paid_for_by_all():
    "Two judges of one endpoint share the pause"
    busy_until = time.monotonic() + 0.4
    times = []

    async def ask(messages, **how):
        times.append(time.monotonic())
        if time.monotonic() < busy_until:
            raise FakeBusy(retry_after='0.4')
        return JudgeReply(verdict())

    verdicts = Judge(ask, RUBRIC, attempts=1, concurrency=5).grade(items(20))
    assert [v.score for v in verdicts] == [1.0] * 20
    early = [t for t in times if t < busy_until]
    assert len(early) <= 5 and len(times) <= 25


def test_judges_of_one_server_share_its_pace(server):
    async def paces():
        return [Endpoint(url, model).pace() for url, model in asked]

    asked = [(server.url, 'm'), (server.url + '/', 'm'), (server.url, 'n')]
    first, again, other = asyncio.run(paces())
    assert first is not other
    endpoint = Endpoint(server.url, 'm')

    async def shared():
        return endpoint.pace() is Endpoint(server.url + '/', 'm').pace()

    assert asyncio.run(shared())
    assert again is not None


@pytest.mark.parametrize('headers', [{'Retry-After': '0'}, {'Retry-After': '0.1'}, {}])
def test_a_server_that_always_says_later_is_given_up_in_time(server, headers):
    server.answer = staticmethod(lambda body: (429, headers))
    judge = Judge(Endpoint(server.url, 'm'), RUBRIC, max_wait=0.5, pause=0.05)
    began = time.perf_counter()
    verdicts = judge.grade(items(200))
    assert time.perf_counter() - began < 8 and len(server.asked) < 150
    assert all('longer than max_wait=0.5 s' in v.unscored and '429' in v.unscored for v in verdicts)
    server.answer = staticmethod(lambda body: verdict())
    assert [v.score for v in judge.grade(items(5))] == [1.0] * 5  # another day


def test_one_item_that_is_told_a_day_costs_itself_alone(server):
    def answer(body):
        is_odd = 'text 2.' in body['messages'][-1]['content']
        return (429, {'Retry-After': '86400'}) if is_odd else verdict()

    server.answer = staticmethod(answer)
    verdicts = Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=2).grade(items(9))
    assert [v.score is None for v in verdicts] == [i == 2 for i in range(9)] and len(server.asked) == 9


@pytest.mark.parametrize('headers', [*({'Retry-After': told} for told in ('0', '0.05', '0.3', '0.49')), {}])
def test_one_item_that_always_comes_too_soon_costs_itself_alone(server, headers):
    def answer(body):
        is_odd = 'text 2.' in body['messages'][-1]['content']
        return (429, headers) if is_odd else verdict()

    server.answer = staticmethod(answer)
    judge = Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=2, max_wait=0.5, pause=0.02)
    verdicts = judge.grade(items(40))
    assert [v.score is None for v in verdicts] == [i == 2 for i in range(40)]
    assert 'longer than max_wait=0.5 s in all; ' in verdicts[2].unscored


def test_the_limit_of_calls_under_way_is_found():
    "A server that takes three at once: after a while few calls are refused"
    state = dict(now=0, refused=[])

    async def ask(messages, **how):
        state['now'] += 1
        try:
            refused = state['now'] > 3
            state['refused'].append(refused)
            await asyncio.sleep(0.01)
            if refused:
                raise FakeBusy(retry_after='0.02')
            return JudgeReply(verdict())
        finally:
            state['now'] -= 1

    verdicts = Judge(ask, RUBRIC).grade(items(200))
    assert all(v.score == 1 for v in verdicts)
    assert sum(state['refused'][:40]) > 20 and sum(state['refused'][-100:]) < 50


def test_a_pause_that_nobody_will_keep_ends_at_once():
    async def enter():
        pace = Pace()
        pace.note_refusal(told=50.0, began=time.monotonic(), first=0.5, why='429: busy')
        with pytest.raises(WaitTooLong, match='max_wait=10 s in all; 429: busy'):
            await pace.enter(10.0)

    asyncio.run(enter())


def test_a_call_that_is_cancelled_leaves_its_place():
    async def places():
        pace = Pace()
        pace.limit = 1.0
        await pace.enter(1.0)
        waiting = asyncio.create_task(pace.enter(1.0))
        await asyncio.sleep(0.01)
        waiting.cancel()
        pace.leave()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(pace.enter(1.0), 1)
        return pace.under_way

    assert asyncio.run(places()) == 1


@pytest.mark.parametrize('bad', [-1, -0.5])
def test_a_negative_limit_is_refused(bad):
    with pytest.raises(ValueError, match='max_wait'):
        Judge(lambda: None, RUBRIC, max_wait=bad)
