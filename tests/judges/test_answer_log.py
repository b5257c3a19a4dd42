"A verdict belongs to the one who gave it: address, model, version, settings, and the function that asked"

from functools import partial

import pytest
from fake_judges import RUBRIC, items, serving, verdict

from rlops_lab.judges.answer_log import who_answers
from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.judge import Judge


def test_another_server_is_asked_anew(tmp_path):
    pytest.importorskip('openai')
    with serving() as kind, serving() as strict:
        strict.answer = staticmethod(lambda body: verdict('no'))
        urls = kind.url, strict.url, kind.url + '/'
        found = [
            Judge(Endpoint(url, 'judge'), RUBRIC, log=tmp_path / 'log.jsonl').grade(items(1))[0] for url in urls
        ]
    assert [(v.choice, v.cached) for v in found] == [('pass', False), ('fail', False), ('pass', True)]


@pytest.mark.parametrize(
    'first, second',
    [
        (dict(), dict(model='n')),
        (dict(), dict(version='2')),
        (dict(version='1'), dict(version='2')),
        (dict(), dict(reasoning_effort='low')),
        (dict(extra_body=dict(top_k=1)), dict(extra_body=dict(top_k=2))),
    ],
)
def test_another_model_version_or_setting_is_asked_anew(server, tmp_path, first, second):
    for how in (first, second, first):
        endpoint = Endpoint(server.url, **dict(model='m') | how)
        Judge(endpoint, RUBRIC, log=tmp_path / 'log.jsonl').grade(items(2))
    assert len(server.asked) == 4


def asking(choice):
    async def ask(messages, **how):
        return JudgeReply(verdict(choice))

    return ask


async def by_argument(messages, choice='yes', **how):
    return JudgeReply(verdict(choice))


@pytest.mark.parametrize(
    'make', [asking, lambda choice: partial(by_argument, choice=choice)], ids=['closure', 'partial']
)
def test_functions_that_were_made_differently_are_told_apart(tmp_path, make):
    found = [Judge(make(c), RUBRIC, log=tmp_path / 'log.jsonl').grade(items(1))[0] for c in ('yes', 'no', 'yes')]
    assert [(v.choice, v.cached) for v in found] == [('pass', False), ('fail', False), ('pass', True)]


class FakeClient:
    def __init__(self, model=None):
        if model:
            self.model = model

    async def ask(self, messages, **how):
        return JudgeReply(verdict())

    __call__ = ask


def test_an_answerer_that_could_be_anybody_has_no_log(tmp_path):
    for ask in (FakeClient(), FakeClient().ask, partial(FakeClient(), temperature=0)):
        with pytest.raises(ValueError, match='could not tell one FakeClient from another: give it .* `model`'):
            Judge(ask, RUBRIC, log=tmp_path / 'log.jsonl')
        assert Judge(ask, RUBRIC).grade(items(1))[0].score == 1
    named = FakeClient('a'), FakeClient('b')
    assert who_answers(named[0]) != who_answers(named[1]) and who_answers(named[0].ask) != who_answers(named[1].ask)
    Judge(named[0].ask, RUBRIC, log=tmp_path / 'log.jsonl')


def test_a_count_in_a_closure_does_not_change_who_answers(tmp_path):
    calls = []

    async def ask(messages, **how):
        calls.append(1)
        return JudgeReply(verdict())

    for _ in range(2):
        Judge(ask, RUBRIC, log=tmp_path / 'log.jsonl').grade(items(3))
    assert len(calls) == 3
