"Closed loops: prompts, errors and points, without a server"

import asyncio

import pytest
from asks import four_tokens

from rlops_lab.tokenomics.closed_loop import Load, Measurement, measure_users


def measure(ask, prompts, users, requests=lambda c: 2 * c, **how):
    return asyncio.run(measure_users(ask, prompts, users, requests, progress=False, **how))


def test_every_prompt_is_used_once():
    prompts = []

    async def ask(prompt):
        prompts.append(prompt)
        yield 1, None

    measure(ask, list(range(14)), users=(1, 2, 4))
    assert sorted(prompts) == list(range(14))


def test_texts_need_a_server_that_counts():
    seen = measure(four_tokens, ['a text', 'another'], users=(1,))
    with pytest.raises(ValueError, match='Use token ids as prompts'):
        seen.points('smollm2-135m', 'H100')


def test_an_empty_answer_is_an_error():
    async def ask(prompt):
        if prompt < 0:
            yield 1, None

    seen = measure(ask, [1, 2], users=(1,)).loads[0]
    assert seen.errors == {'ValueError': 2}
    assert '2 ValueError' in Measurement([seen])._repr_html_()


def test_points_by_hand():
    "Two users, answers of 10 and 20 tokens in 3 s together: means of the seconds, the mean length as a whole number"
    load = Load(2, 100.0, ttft=[1.0, 3.0], tpot=[0.1, 0.3], e2e=[2.0, 2.5], tokens=[10, 20], seconds=3.0)
    assert load.tokens_per_s == 10
    assert (load.percentile('ttft', 50), load.percentile('e2e', 100)) == (2.0, 2.5)
    points = load.points('smollm2-135m', 'H100')
    assert [(point.metric, point.seconds) for point in points] == [('ttft', 2.0), ('tpot', 0.2)]
    assert {(point.prompt, point.output, point.concurrency) for point in points} == {(100, 15, 2)}


def test_nothing_measured_gives_no_points():
    assert Load(4).points('smollm2-135m', 'H100') == []


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: measure(four_tokens, [[1]] * 9, users=(0,)), 'at least one level'),
        (lambda: measure(four_tokens, [[1]] * 9, users=(1,), seconds=0), 'seconds=0'),
        (lambda: measure(four_tokens, [[1]] * 3, users=(4,)), '3 prompts for 8 requests'),
        (lambda: measure(four_tokens, [[1]] * 9, users=(4,), settle=2), 'would count none'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
