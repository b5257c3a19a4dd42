"Functions that ask and go wrong: which errors are repeated, which stop the batch, and what each costs"

import asyncio
import os
import signal
import threading
import time

import pytest
from fake_judges import RUBRIC, honest, items, verdict

from rlops_lab.core import Usage
from rlops_lab.judges.attempts import EndpointRefused, NoAnswer, read_reply
from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.pairwise import Panel

pytestmark = pytest.mark.filterwarnings('ignore:judge .helpful.')


def asking(odd, number=3):
    "An `ask` in which one item of the batch gets something odd: a value to return, or an error to raise"

    async def ask(messages, **how):
        ask.calls += 1
        await asyncio.sleep(0.005)
        if f'text {number}.' not in messages[-1]['content']:
            return JudgeReply(verdict())
        ask.odd += 1
        if isinstance(odd, BaseException):
            raise odd
        return odd

    ask.calls = ask.odd = 0
    return ask


@pytest.mark.parametrize(
    'odd, reason',
    [
        (verdict(), "a str and not a JudgeReply was returned: '{.*It does"),
        (None, 'a NoneType and not a JudgeReply was returned: None'),
        (dict(choices=[]), r"a dict and not a JudgeReply was returned: \{'choices': \[\]\}"),
        (JudgeReply([dict(type='text', text='yes')]), r"the text of its JudgeReply is a list: \[\{'text': 'yes'"),
        (JudgeReply(dict(choice='yes')), "the text of its JudgeReply is a dict: {'choice': 'yes'}"),
        (JudgeReply(None), 'the text of its JudgeReply is a NoneType'),
        (JudgeReply(b'yes'), "the text of its JudgeReply is a bytes: 'yes'"),
        (JudgeReply(verdict(), usage=None), 'the usage of its JudgeReply is a NoneType'),
        (JudgeReply(verdict(), usage=dict(calls=1)), 'the usage of its JudgeReply is a dict'),
        (JudgeReply(verdict(), model=7), 'the model of its JudgeReply is a int: 7'),
        (KeyError('choices'), "KeyError: 'choices'"),
        (IndexError('list index out of range'), 'IndexError: list index'),
        (ZeroDivisionError('division by zero'), 'ZeroDivisionError'),
    ],
)
def test_what_one_item_gets_costs_that_item_once(odd, reason):
    ask = asking(odd)
    judge = Judge(ask, RUBRIC, pause=0.01)
    verdicts = judge.grade(items(8))
    assert [v.score for v in verdicts] == [1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdicts[3].unscored)
    assert (ask.calls, ask.odd) == (8, 1)
    judge.grade(items(8))  # a mended function is asked again
    assert ask.odd == 2


@pytest.mark.parametrize(
    'error, reason',
    [
        (RuntimeError('boom'), 'RuntimeError: boom'),
        (OSError('no route'), 'OSError: no route'),
        (ValueError('bad JSON'), 'ValueError: bad JSON'),
        (TimeoutError('its own'), 'TimeoutError: its own'),
        (asyncio.CancelledError(), 'the call was cancelled'),
        (Exception(), 'Exception'),
    ],
)
def test_a_call_that_may_succeed_is_repeated(error, reason):
    ask = asking(error)
    verdicts = Judge(ask, RUBRIC, pause=0.01).grade(items(8))
    assert verdicts[3].score is None and reason in verdicts[3].unscored and ask.odd == 3
    assert sum(v.score == 1 for v in verdicts) == 7


@pytest.mark.parametrize(
    'bug', [TypeError('a'), AttributeError('a'), NameError('a'), AssertionError('a'), NotImplementedError('a')]
)
def test_a_bug_is_raised_at_once_and_ends_the_spending(bug):
    ask = asking(bug, number=1)
    with pytest.raises(type(bug), match='a'):
        Judge(ask, RUBRIC, concurrency=4).grade(items(500))
    asked = ask.calls
    time.sleep(0.1)
    assert ask.calls == asked <= 16 and ask.odd == 1


def test_a_function_that_is_not_async_says_so():
    with pytest.raises(TypeError, match='is not async: write `async def`'):
        Judge(lambda messages, **how: JudgeReply(verdict()), RUBRIC).grade(items(3))


def test_exiting_does_not_end_the_loop_of_all_judges():
    async def leaves(messages, **how):
        raise SystemExit(1)

    with pytest.raises(RuntimeError, match='SystemExit in the function that asks'):
        Judge(leaves, RUBRIC).grade(items(2))
    assert Judge(honest, RUBRIC).grade(items(1))[0].score == 1


def test_an_error_of_every_call_is_raised_and_one_of_a_single_call_is_not():
    async def never(messages, **how):
        never.calls += 1
        return dict()['choices']

    never.calls = 0
    with pytest.raises(KeyError, match='choices'):
        Judge(never, RUBRIC, concurrency=4).grade(items(100))
    assert never.calls <= 4


@pytest.mark.parametrize('status, cure', [(401, 'check api_key'), (403, 'may not use this model'), (404, 'base_url')])
def test_a_server_that_turns_every_call_down_is_asked_no_further(server, status, cure):
    server.answer = staticmethod(lambda body: (status, {}))
    server.delay = 0.02
    judge = Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=4)
    with pytest.raises(EndpointRefused, match=cure):
        judge.grade(items(200))
    assert len(server.asked) <= 4
    server.answer = staticmethod(lambda body: verdict())
    assert [v.score for v in judge.grade(items(9))] == [1.0] * 9  # the key was mended


@pytest.mark.parametrize('first', [True, False])
def test_one_item_that_is_turned_down_costs_itself_alone(server, first):
    "A moderated text is a 403, too, whether it is asked first or last"

    def answer(body):
        is_flagged = ('text 0.' if first else 'text 39.') in body['messages'][-1]['content']
        if is_flagged:
            return 403, {}
        time.sleep(0.05)
        return verdict()

    server.answer = staticmethod(answer)
    verdicts = Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=8).grade(items(40))
    lost = [i for i, v in enumerate(verdicts) if v.score is None]
    assert lost == [0 if first else 39] and '403' in verdicts[lost[0]].unscored and len(server.asked) == 40


def test_two_judges_of_one_server_are_both_told(server):
    server.answer = staticmethod(lambda body: (401, {}))
    panel = Panel([Judge(Endpoint(server.url, 'm'), RUBRIC, seed=seed) for seed in (0, 1)])
    with pytest.raises(EndpointRefused, match='check api_key'):
        panel.grade(items(50))


def test_no_credit_is_not_waited_for(server):
    pytest.importorskip('openai')

    class OutOfCredit(Exception):
        status_code, code = 429, 'insufficient_quota'

    async def ask(messages, **how):
        ask.calls += 1
        raise OutOfCredit('add credit')

    ask.calls = 0
    with pytest.raises(EndpointRefused, match='no credit'):
        Judge(ask, RUBRIC, concurrency=3).grade(items(30))
    assert ask.calls <= 3


def test_ctrl_c_ends_the_spending():
    asked = []

    async def slow(messages, **how):
        asked.append(1)
        await asyncio.sleep(0.02)
        return JudgeReply(verdict())

    def interrupt():
        while len(asked) < 20:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            Judge(slow, RUBRIC, concurrency=4).grade(items(5000))
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.1)
    count = len(asked)
    time.sleep(0.2)
    assert len(asked) == count < 1000


def test_a_task_that_is_left_ends_the_spending():
    asked = []

    async def slow(messages, **how):
        asked.append(1)
        await asyncio.sleep(0.02)
        return JudgeReply(verdict())

    async def cell():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await Judge(slow, RUBRIC, concurrency=4).grade_async(items(5000))

    asyncio.run(cell())
    time.sleep(0.1)
    count = len(asked)
    time.sleep(0.2)
    assert len(asked) == count < 1000


@pytest.mark.parametrize(
    'reply, says',
    [
        (JudgeReply('{', finish='length'), 'cut after 9 tokens; raise max_tokens'),
        (JudgeReply('', finish='length', no_answer='thoughts'), r'raise max_tokens \(thoughts\)'),
        (JudgeReply('Well', finish='content_filter'), "content filter: 'Well'"),
        (JudgeReply('', no_answer='the model refused'), 'the model refused'),
    ],
)
def test_what_would_come_again_is_not_repeated(reply, says):
    with pytest.raises(NoAnswer, match=says):
        read_reply(reply, RUBRIC.criteria[0], 'reason', '', 9)
    ask = asking(reply)
    Judge(ask, RUBRIC).grade(items(5))
    assert ask.odd == 1


def test_what_was_paid_for_a_useless_reply_is_counted():
    ask = asking(JudgeReply('hm', usage=Usage(50, 0, 5, 0.1, 1, 0.01)))
    v = Judge(ask, RUBRIC, pause=0.0).grade(items(4))[3]
    assert (v.usage.calls, v.usage.prompt_tokens) == (3, 150) and v.usage.usd == pytest.approx(0.03)
