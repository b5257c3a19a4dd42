"Replies of every kind, byte by byte: each item ends with a score or with what came instead, and no item costs another"

import time
from dataclasses import replace

import pytest
from fake_judges import RUBRIC, items, verdict
from odd_replies import LETTERS, SCORED, UNSCORED, Oddities, fault, items_of, running

from rlops_lab.judges.endpoints import Endpoint
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.replies import BadReply, first_choice, read_body, read_message, shown, token_count

RUBRIC = replace(RUBRIC, pass_at=0.5)
SLOW = 'hang', 'hang_once', 'drip', 'told_a_date'  # the benchmark judge_faults has them, too


def without_slow(kinds):
    return {name: kind for name, kind in kinds.items() if name not in SLOW}


@pytest.mark.filterwarnings('ignore:judge .helpful.')
@pytest.mark.parametrize(
    'kinds, mode', [(SCORED | UNSCORED, 'reason'), (LETTERS, 'logprobs')], ids=['reason', 'logprobs']
)
def test_every_kind_of_reply_costs_its_own_item_alone(kinds, mode):
    pytest.importorskip('openai', reason="the client of the [judge] extra: pip install 'rlops_lab[judge]'")
    kinds = without_slow(kinds)
    server, batch = Oddities(kinds), items_of(kinds)
    with running(server.serve, server.loop) as url:
        judge = Judge(Endpoint(url, 'm'), RUBRIC, mode=mode, pause=0.01, max_wait=10.0)
        verdicts = judge.grade(batch)
    faults = [fault(item, found, kinds, server.calls) for item, found in zip(batch, verdicts)]
    assert not list(filter(None, faults))
    assert len(verdicts) == len(kinds)


def test_there_are_kinds_enough():
    assert len(SCORED | UNSCORED) + len(LETTERS) >= 60


def test_content_in_parts_is_read(server):
    "As Mistral's reasoning models send it"
    parts = [dict(type='thinking', thinking=[dict(type='text', text='hm')]), dict(type='text', text=verdict())]
    assert read_message(dict(content=parts)) == (verdict(), '')


@pytest.mark.parametrize(
    'body',
    [
        b'{' * 200_000,
        b'[' * 1_900_000,
        b'{"a":' * 300_000,
        b'[{}' + b',{}' * 600_000 + b']',
        b'"' + b'\\u0041' * 300_000,
        b'{"choices":[{"message":{"content":' + b'[' * 900_000,
    ],
)
def test_hostile_bodies_are_read_in_bounded_time(body):
    began = time.perf_counter()
    with pytest.raises(BadReply) as found:
        first_choice(read_body(body))
    assert time.perf_counter() - began < 3 and len(str(found.value)) < 400


@pytest.mark.parametrize(
    'body, status',
    [
        (dict(error=dict(message='slow down', code=429)), 429),
        (dict(error=dict(message='gone', code=404)), 404),
        (dict(error=dict(message='x', code='rate_limit')), None),
        (dict(error=dict(message='x', code=200)), None),
        (dict(error='x'), None),
        (dict(object='error', message='x', code=503), 503),
        (dict(choices=[dict(error=dict(code=502))]), 502),
    ],
)
def test_the_status_that_a_gateway_hides_is_found(body, status):
    with pytest.raises(BadReply, match='an error instead of an answer') as found:
        first_choice(body)
    assert found.value.status_code == status


def test_whatever_comes_can_be_shown():
    circle = []
    circle.append(circle)
    for value in (circle, b'\xff' * 10**6, {f'k{i}': i for i in range(10**5)}, object(), None, 'x' * 10**7):
        assert 0 < len(shown(value)) < 600


def test_counts_that_are_none_cost_nothing(server):
    assert [token_count(x) for x in (7, '7', None, -7, float('inf'), True, [7], 7.5)] == [7, 0, 0, 0, 0, 0, 0, 0]
    judge = Judge(Endpoint(server.url, 'm', usd_per_million=(1.0, 0.1, 10.0)), RUBRIC)
    assert judge.grade(items(1))[0].usage.usd > 0
