"Latency: users, memory and dollars by hand, and what must never happen"

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.bytes_and_flops import prefill_flops
from rlops_lab.tokenomics.engines import engine
from rlops_lab.tokenomics.latency import (
    BUNCHING,
    RUNTIME,
    answering,
    band_name,
    expected_times,
    kv_pool,
    largest_batch,
    latency,
    slowest_intake,
    speculative_factor,
    token_usd,
)
from rlops_lab.tokenomics.latency_fit import fit_latency
from rlops_lab.tokenomics.latency_points import Point
from rlops_lab.tokenomics.roofline import (
    GPUS,
    SPEC_SHEET,
    Efficiency,
    Work,
    decode_step_seconds,
    prefill_seconds,
)

LLAMA, H100 = architecture('llama-3.1-8b'), GPUS['H100']
models = st.sampled_from(
    ['llama-3.1-8b', 'qwen3-30b-a3b', 'gemma-3-4b', 'smollm2-135m', 'mistral-7b-v0.1', 'qwen3.5-27b']
)
cards = st.sampled_from(['A100-80GB', 'H100', 'H200', 'B200'])


def test_times_by_hand():
    # Four in the batch; a step takes 4 + 3 + 1 ms, a prompt 2 + 10 ms of which 10 are arithmetic;
    # a quarter of the others' 30 ms comes before the first token
    e = replace(SPEC_SHEET, overlap=1.0, request_overhead=0.005)
    decode = Work(0.004, 0, 0.003, 0, 0.001, 1, 10, 0, 0, 4)
    prompt = Work(0.002, 0, 0.010, 0, 0.0, 1, 10, 0, 0, 0)
    assert expected_times(decode, prompt, 10, 4, 0.25, e) == pytest.approx(
        (0.005 + 0.012 + 0.25 * 0.030, 0.008 + 0.75 * 0.030 / 10)
    )
    assert expected_times(decode, prompt, 10, 4, 0.25, e, speculation=2.0)[1] == pytest.approx(
        0.004 + 0.75 * 0.030 / 10
    )
    # whoever comes alone waits for three steps of the others and for the engine, to (1 - 2 x .25) = half
    waiting = replace(e, steps_waited=3.0)
    assert expected_times(decode, prompt, 10, 4, 0.25, waiting, intake=0.1)[0] == pytest.approx(
        0.005 + 0.012 + 0.25 * 0.030 + 0.5 * (3 * 0.008 + 0.1)
    )
    alone = expected_times(decode, prompt, 10, 1, 0.25, waiting, intake=0.1)[0]
    assert alone == pytest.approx(0.005 + 0.012)  # with nobody there, nobody is waited for



def test_who_meets_answers_being_written():
    assert list(answering([1, 4, 4, 4], [0.0, 0.0, 0.25, 0.75])) == [0, 1, 0.5, 0]


def test_bands_by_kind():
    names = [band_name(*kind) for kind in (('ttft', False, 8), ('tpot', False, 1), ('e2e', False, 2))]
    assert names == ['ttft_band', 'tpot_band', 'tpot_band_parallel']
    names = [band_name(*kind) for kind in (('ttft', True, 1), ('tpot', True, 1), ('e2e', True, 8))]
    assert names == ['moe_ttft_band', 'moe_tpot_band', 'moe_tpot_band']


def test_memory_by_hand():
    assert kv_pool(LLAMA, H100) == 80e9 * 0.9 - RUNTIME.value - 2 * 8_030_261_248
    assert largest_batch(LLAMA, H100, 1000, 1000, worst=True) == (72e9 - 2e9 - 16_060_522_496) // (
        2000 * 131_072
    )
    assert list(largest_batch(LLAMA, H100, [100, 100_000], 0)) == [
        3674,
        4,
    ]  # blocks of 16: 112 and 100,000 tokens
    assert largest_batch(architecture('llama-3.3-70b'), H100, 10, 10) == 0


def test_users_by_hand():
    one, r = latency(LLAMA, H100, 1000, 200), latency(LLAMA, H100, 1000, 200, 9)
    e, b = Efficiency(), BUNCHING['spread'].value
    prompt = prefill_flops(LLAMA, 1000) / 989e12 / e.mfu_prefill
    assert one.ttft.value == pytest.approx(e.request_overhead + prefill_seconds(LLAMA, H100, 1000))
    wait = (1 - 2 * b) * e.steps_waited * decode_step_seconds(LLAMA, H100, 9, 1100)
    assert r.ttft.value == pytest.approx(one.ttft.value + b * 8 * prompt + wait)
    assert r.tpot.value == pytest.approx(
        decode_step_seconds(LLAMA, H100, 9, 1100) + (1 - b) * 8 * prompt / 200
    )
    assert r.e2e.value == pytest.approx(r.ttft.value + 199 * r.tpot.value)
    assert r.tokens_per_s.value == pytest.approx(9 * 200 / r.e2e.value)
    together = latency(LLAMA, H100, 1000, 200, 9, arrivals=1.0)
    assert together.e2e.value == pytest.approx(r.e2e.value - wait, rel=0.02)  # the same work, only in another order


def test_an_engine_brings_its_defaults():
    # 8-bit weights: vLLM keeps a cache of 16 bits, TensorRT-LLM follows NVIDIA's checkpoints to 8
    at = dict(prompt=1000, output=200, concurrency=9, bits=8)
    plain = latency(LLAMA, H100, **at)
    vllm, nim, sglang = (latency(LLAMA, H100, **at, engine=name) for name in ('vllm 0.12', 'NIM', 'sglang'))
    assert vllm.fits == plain.fits == latency(LLAMA, H100, **at, kv_bits=16).fits
    assert nim.fits == latency(LLAMA, H100, **at, kv_bits=8).fits > 1.9 * plain.fits
    assert latency(LLAMA, H100, **at, engine='NIM', kv_bits=16).fits == plain.fits  # what is given goes first
    assert latency(LLAMA, H100, **at, engine='vllm').fits == latency(LLAMA, H100, **at, memory_share=0.92).fits
    share = 1 - 2 * BUNCHING['spread'].value
    intake = engine('sglang').intake.value
    assert sglang.ttft.value - vllm.ttft.value == pytest.approx(share * intake)
    # an engine that is not known may be the slowest
    high = plain.ttft.value + share * slowest_intake()
    assert plain.ttft.high == pytest.approx(high * Efficiency().ttft_band[1])
    assert vllm.ttft.high == pytest.approx(vllm.ttft.value * Efficiency().ttft_band[1])


def test_a_mixture_of_experts_has_its_own_band():
    e, moe = Efficiency(), 'qwen3-30b-a3b'
    for tp in (1, 2):
        seen = latency(moe, H100, tp=tp, engine='vllm')
        assert (seen.tpot.low, seen.tpot.high) == pytest.approx(
            tuple(seen.tpot.value * end for end in e.moe_tpot_band)
        )
    assert seen.ttft.high == pytest.approx(seen.ttft.value * e.moe_ttft_band[1])


def test_users_beyond_memory_wait():
    fits = latency(LLAMA, H100, 8000, 1000).fits
    full, twice = (latency(LLAMA, H100, 8000, 1000, c) for c in (fits, 2 * fits))
    assert twice.running == full.running == fits
    assert twice.tpot.value == full.tpot.value
    assert twice.tokens_per_s.value == pytest.approx(full.tokens_per_s.value)
    assert twice.ttft.value > full.e2e.value


def test_dollars_by_hand():
    r = latency(LLAMA, H100, 1000, 1000, 64, tp=2)
    p = token_usd(r, 'H100', 0.25, Estimate(2.0, 1.0, 4.0))
    assert p.usage.value == pytest.approx(2 * 2.0 / 3600 * 1e6 / r.tokens_per_s.value)
    assert p.reserved.high == pytest.approx(4 * 2 * p.usage.value)
    # an hour's price without a range
    assert token_usd(r, 'H100', 0.25, 2.0).reserved.value == pytest.approx(p.reserved.value)


def test_speculation_by_hand():
    assert speculative_factor(0, 4) == 1 / 1.2 and speculative_factor(1, 4, 0) == 5
    assert latency(LLAMA, H100, speculation=2.0).tpot.value == pytest.approx(
        latency(LLAMA, H100).tpot.value / 2
    )


@settings(deadline=None, max_examples=60)
@given(
    models,
    cards,
    st.integers(1, 8000),
    st.integers(1, 2000),
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(['spread', 'together']),
)
def test_more_users_never_raise_a_users_speed(model, card, prompt, output, users, more, arrivals):
    few, many = (latency(model, card, prompt, output, c, arrivals=arrivals) for c in (users, users + more))
    assert many.tpot.value >= few.tpot.value * (1 - 1e-9)
    assert many.ttft.value >= few.ttft.value * (1 - 1e-9)
    assert many.e2e.value >= few.e2e.value * (1 - 1e-9)


def test_constants_have_a_source_a_date_and_a_range():
    for a in (*BUNCHING.values(), RUNTIME):
        assert a.source and a.date and a.low < a.value < a.high


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: latency('llama-3.3-70b', 'H100'), 'Raise tp, lower bits'),
        (lambda: latency('llama-3.1-8b', 'TPU'), "no GPU 'TPU'"),
        (lambda: latency(LLAMA, H100, concurrency=0), 'concurrency=0'),
        (lambda: latency(LLAMA, H100, tp=1.5), 'a whole number of GPUs'),
        (lambda: latency(LLAMA, H100, cached=1.0), 'a share of the prompt'),
        (lambda: Efficiency(mbu=0), 'mbu=0'),
        (lambda: speculative_factor(1.2), 'a probability'),
        (lambda: speculative_factor(0.5, -1), 'drafts=-1'),
        (lambda: speculative_factor(0.5, 2.5), 'drafts=2.5'),
        (lambda: speculative_factor(0.5, 4, -0.3), 'draft_cost=-0.3'),
        (lambda: latency(LLAMA, H100, memory_share=90), 'memory_share=90'),
        (lambda: kv_pool(LLAMA, H100, memory_share=0), 'memory_share=0'),
        (lambda: latency(LLAMA, H100, chunk=0), 'chunk=0'),
        (lambda: latency(LLAMA, H100, tp=0), 'tp=0: a whole number'),
        (lambda: latency(LLAMA, H100, tp=-1), 'tp=-1'),
        (lambda: replace(H100, bandwidth=0), 'must be above 0'),
        (lambda: token_usd(latency(LLAMA, H100), H100, 0), 'a share above 0'),
        (lambda: token_usd(latency(LLAMA, H100), 'H200', 0.5), 'the speed is that of H100'),
        (lambda: Point('llama-3.1-8b', 'H100', 1, 1, 1, 'tpot', 0), 'above 0'),
        (lambda: fit_latency([]), 'no points'),
        (lambda: latency(LLAMA, H100, engine='ollama'), 'no engine'),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_no_torch():
    code = "import rlops_lab.tokenomics.latency, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
