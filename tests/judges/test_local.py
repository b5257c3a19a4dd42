"A model in this process as a judge: batches, threads, time-outs and versions; and the same judge before a vLLM server"

import asyncio
import math
import sys
import time
from pathlib import Path

import pytest
import torch

from rlops_lab.judges.endpoints import Endpoint
from rlops_lab.judges.forms import Refused
from rlops_lab.judges.grading import run_in_background
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.local import LocalEndpoint, unread, weights_hash
from rlops_lab.judges.pairwise import Panel, compare_pairs, pairwise
from rlops_lab.judges.prompts import messages_for
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.models.load import load

RUBRIC = Rubric(
    'helpful', 'You check one answer.', 0.5, (Criterion('helps', 'Does the answer help?', ('no', 'yes')),)
)
HELLO = [dict(role='user', content='hello')]


def items(n):
    return [dict(prompt='Where is it?', completion=f'It comes on day {i}.') for i in range(n)]


@pytest.fixture(scope='module')
def tiny():
    return load('tiny')


@pytest.fixture
def ask(tiny):
    return LocalEndpoint(*tiny)


def test_calls_of_every_kind_share_a_loop_and_each_gets_its_own_answer(ask):
    "Many at once, of different lengths and settings, give what each gives alone"
    how = [
        dict(max_tokens=3),
        dict(max_tokens=6, temperature=1.0, seed=1),
        dict(max_tokens=6, temperature=1.0, seed=2),
    ]
    chats = [messages_for(RUBRIC, RUBRIC.criteria[0], item) for item in items(5)]
    calls = [dict(messages=chat, **settings) for chat in chats for settings in how]

    async def together():
        return await asyncio.gather(*(ask(**call) for call in calls))

    many, ran = run_in_background(together()), list(ask.batches)
    assert sum(ran) == 15 and len(ran) == 2  # two settings, two batches
    alone = [run_in_background(ask(**call)) for call in calls]
    assert [reply.text for reply in many] == [reply.text for reply in alone]
    for usage in (reply.usage for reply in many):
        assert usage.prompt_tokens > usage.cached_tokens >= 0
        assert usage.calls == 1 and usage.seconds > 0
        assert 1 <= usage.completion_tokens <= 6
    assert not ask.sampler.ids


def test_a_large_judge_runs_in_batches_of_the_size_that_was_given(tiny):
    ask = LocalEndpoint(*tiny, batch=8, prefixes=1)  # and common beginnings are dropped between them
    verdicts = Judge(ask, RUBRIC, mode='logprobs', structured=True, concurrency=8).grade(items(20))
    assert all(verdict.score is not None for verdict in verdicts)
    assert sum(ask.batches) == 20 and max(ask.batches) == 8
    whole = Judge(LocalEndpoint(*tiny), RUBRIC, mode='logprobs', structured=True).grade(items(20))
    scores, expected = ([verdict.score for verdict in found] for found in (verdicts, whole))
    assert scores == pytest.approx(expected, abs=1e-5)


def test_equal_calls_of_two_judges_are_one_row(ask):
    judges = [Judge(ask, RUBRIC, mode='logprobs', structured=True) for _ in range(2)]

    async def both():
        return await asyncio.gather(*(judge._grade_all(items(3)) for judge in judges))

    first, second = run_in_background(both())
    assert [verdict.score for verdict in first] == [verdict.score for verdict in second]
    assert ask.batches == [3]


def test_two_endpoints_take_turns_at_one_model(tiny):
    "A panel of two templates on the same weights: their threads must not meet inside the model"
    endpoints = [LocalEndpoint(*tiny, name=name) for name in ('a', 'b')]
    panel = Panel([Judge(ask, RUBRIC, mode='logprobs', structured=True) for ask in endpoints])
    assert all(verdict.score is not None for verdict in panel.grade(items(6)))
    assert tiny[0].config._attn_implementation != 'rlops_rows'


def test_a_loop_of_ones_own_works_and_ends(ask):
    "asyncio.run, with the loop gone afterwards, twice"
    for _ in range(2):
        assert asyncio.run(ask(HELLO, max_tokens=4)).text
    assert not ask.waiting and not ask.workers


def test_a_batch_that_nobody_waits_for_is_dropped(tiny):
    ask = LocalEndpoint(*tiny)
    pick, steps = ask.sampler.pick, []

    def slow(*args):
        time.sleep(0.05)
        steps.append(1)
        return pick(*args)

    ask.sampler.pick = slow
    judge = Judge(ask, RUBRIC, timeout=0.3, attempts=1, max_tokens=400)
    with pytest.warns(UserWarning, match='no answer within 0.3 s'):
        assert judge.grade(items(1))[0].score is None
    time.sleep(0.5)
    assert len(steps) < 100 and not ask.waiting  # not all of its 400 tokens
    ask.sampler.pick = pick
    assert run_in_background(ask(HELLO, max_tokens=2)).text is not None  # and the next one is answered


def test_an_error_of_the_model_is_a_reason_and_not_a_hang(ask):
    def broken(*args):
        raise RuntimeError('out of memory')

    ask.sampler.pick = broken
    with pytest.warns(UserWarning, match='RuntimeError: out of memory'):
        verdicts = Judge(ask, RUBRIC, pause=0.0).grade(items(2))
    assert [verdict.score for verdict in verdicts] == [None] * 2
    ask.sync()
    assert run_in_background(ask(HELLO, max_tokens=2)) and not ask.sampler.ids


def test_what_the_model_cannot_take_is_refused_before_a_batch_runs(ask):
    fields = dict(reason=dict(type='string'))
    with pytest.raises(Refused, match='more than the context of 8192'):
        run_in_background(ask([dict(role='user', content='word ' * 9000)]))
    with pytest.raises(Refused, match='raise max_tokens'):
        run_in_background(ask(HELLO, schema=dict(type='object', properties=fields), max_tokens=3))
    numbers = dict(type='object', properties=dict(a=dict(type='number')))
    for schema in (dict(type='array'), dict(type='object'), numbers):
        with pytest.raises(Refused, match='keeps to an object whose properties are strings'):
            run_in_background(ask(HELLO, schema=schema))
    assert not ask.batches and not ask.waiting


@pytest.mark.parametrize('bad', [dict(batch=0), dict(wait=-1.0), dict(wait=math.nan), dict(prefixes=0)])
def test_bad_settings_are_refused(tiny, bad):
    with pytest.raises(ValueError, match='at least 1'):
        LocalEndpoint(*tiny, **bad)


# ---- versions


def test_the_version_follows_weights_and_adapters():
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load('tiny')
    base = weights_hash(model)
    assert base == weights_hash(load('tiny')[0])
    lora = LoraConfig(r=4, target_modules='all-linear', init_lora_weights=False)
    tuned = get_peft_model(model, lora).eval()
    on = weights_hash(tuned)
    with tuned.disable_adapter():
        off = weights_hash(tuned)
    assert len({base, on, off}) == 3
    ask = LocalEndpoint(tuned, tokenizer)

    def likeliest():
        return run_in_background(ask(HELLO, top=5, max_tokens=1)).top

    before = likeliest()
    with torch.no_grad():
        next(weight for name, weight in tuned.named_parameters() if 'lora_B' in name).add_(0.5)
    assert likeliest() == before and ask.revision == on  # the sampler holds merged weights until `sync`
    ask.sync()
    assert likeliest() != before and ask.revision != on


# ---- answers that can be read


def test_structured_verdicts_always_parse_and_free_ones_are_counted(ask):
    judge = Judge(ask, RUBRIC, structured=True, max_tokens=40, temperature=1.0, samples=3)
    verdicts = judge.grade(items(4))
    assert {verdict.parts['helps'].choice for verdict in verdicts} <= {'no', 'yes'}
    assert judge.usage.calls == 12
    with pytest.warns(UserWarning, match='unscored'):
        free = Judge(ask, RUBRIC, max_tokens=20, attempts=1).grade(items(4))
    assert unread(free) == (4, 4) and unread(verdicts) == (0, 4)
    pairs = [dict(prompt='?', a='It is here.', b='No idea.')]
    assert unread(compare_pairs(Judge(ask, pairwise(RUBRIC), mode='logprobs', structured=True), pairs)) == (
        0,
        2,
    )


# ---- before a vLLM server


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:judge')
def test_the_same_judge_before_a_vllm_server(tmp_path):
    "Probabilities, letters and the JSON schema enforced by vLLM; SmolLM2 there and in this process"
    sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))
    from _vllm import installed, serve

    if not installed():
        pytest.skip('no vLLM: tests/benchmarks/_vllm.py installs one')
    pytest.importorskip('openai')
    model, tokenizer = load('smollm2')
    completions = 'It left yesterday and arrives on Thursday.', 'No idea, ask somebody else.', 'Please wait.'
    parcels = [dict(prompt='Where is my parcel?', completion=completion) for completion in completions]
    letters_of = dict(mode='logprobs', structured=True)
    here = Judge(LocalEndpoint(model, tokenizer), RUBRIC, **letters_of).grade(parcels)
    log = tmp_path / 'log.jsonl'
    with serve(model, tokenizer) as server:
        ask = Endpoint(server.url, 'policy')
        letters = Judge(ask, RUBRIC, log=log, **letters_of).grade(parcels)
        free = Judge(ask, RUBRIC, mode='logprobs', attempts=1).grade(parcels)
        reasons = Judge(ask, RUBRIC, structured=True, max_tokens=200, timeout=300.0).grade(parcels)

    def scores(verdicts):
        return [verdict.score for verdict in verdicts]

    assert scores(letters) == pytest.approx(scores(here), abs=0.1)  # bfloat16 in two programs
    assert unread(letters) == unread(reasons) == (0, 3)
    assert all(verdict.parts['helps'].choice in ('no', 'yes') for verdict in reasons)
    assert unread(free)[1] == 3
    for usage in (verdict.usage for verdict in free):  # readable or not, one token each
        assert usage.prompt_tokens > 100 and usage.completion_tokens == 1
    again = Judge(ask, RUBRIC, log=log, **letters_of).grade(parcels)  # the server is gone
    assert scores(again) == scores(letters) and all(verdict.cached for verdict in again)
