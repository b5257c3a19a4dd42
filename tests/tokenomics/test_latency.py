"Latency and its calibration: hand-computed steps with units, what must never happen, and the published points"

import os, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.bytes_and_flops import decode_flops
from rlops_lab.tokenomics.bytes_and_flops import prefill_flops
from rlops_lab.tokenomics.latency_fit import (
    START,
    Point,
    bands,
    calibrate,
    calibration_trial,
    coverage,
    errors,
    fit,
    leave_one_out,
    predict,
    read_points,
    usable,
)
from rlops_lab.tokenomics.roofline import ASSUMED
from rlops_lab.tokenomics.latency import (
    BUNCHING, RUNTIME, expected_times, kv_pool, largest_batch, latency, speculative_factor,
    token_usd,
)
from rlops_lab.tokenomics.roofline import prefill_seconds
from rlops_lab.tokenomics.roofline import decode_step_seconds
from rlops_lab.tokenomics.roofline import prefill_work
from rlops_lab.tokenomics.roofline import decode_work
from rlops_lab.tokenomics.roofline import Work
from rlops_lab.tokenomics.roofline import Efficiency
from rlops_lab.tokenomics.roofline import SPEC_SHEET
from rlops_lab.tokenomics.roofline import gpu
from rlops_lab.tokenomics.roofline import GPUS
from rlops_lab.tokenomics.roofline import GPU
from rlops_lab.stats import Estimate

LLAMA, H100 = architecture('llama-3.1-8b'), GPUS['H100']
models = st.sampled_from(
    ['llama-3.1-8b', 'qwen3-30b-a3b', 'gemma-3-4b', 'smollm2-135m', 'mistral-7b-v0.1', 'qwen3.5-27b']
)
cards = st.sampled_from(['A100-80GB', 'H100', 'H200', 'B200'])


def table():
    "The published points, or a skip that says where they should be"
    path = (
        Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).parents[3] / 'shared' / 'data'))
        / 'latency'
        / 'measured_points.csv'
    )
    if not path.exists():
        pytest.skip(
            'published latency points are not beside the repository (../shared/data or $RLOPS_REAL_DATA)'
        )
    return path


def test_decode_step_by_hand():
    weights, cache = (
        2 * (8_030_261_248 - 128256 * 4096 - 65 * 4096),
        16 * 1000 * 131_072,
    )  # bytes: embedding and norms are not read through
    read, compute = (weights + cache) / 3.35e12, decode_flops(LLAMA, 16, 1000) / 989e12  # seconds
    assert decode_step_seconds(LLAMA, H100, 16, 1000, efficiency=SPEC_SHEET) == pytest.approx(
        (read**4 + compute**4) ** 0.25
    )
    e = replace(SPEC_SHEET, step_overhead=1e-3, layer_overhead=1e-5, sequence_overhead=1e-5)
    more = decode_step_seconds(LLAMA, H100, 16, 1000, efficiency=e) - decode_step_seconds(
        LLAMA, H100, 16, 1000, efficiency=SPEC_SHEET
    )
    assert more == pytest.approx(1e-3 + 32 * 1e-5 + 16 * 1e-5)


def test_tensor_parallel_by_hand():
    one = decode_step_seconds(LLAMA, H100, 1, 0, efficiency=SPEC_SHEET)
    two = decode_step_seconds(LLAMA, H100, 1, 0, tp=2, efficiency=SPEC_SHEET)
    sent = (
        2 * 32 * 2 * (1 / 2) * 4096 * 2 / 450e9
    )  # two all-reduces a layer, 2 (tp-1)/tp of 4096 values of 2 bytes, over 450 GB/s
    assert two == pytest.approx(one / 2 + sent)
    four = decode_step_seconds(LLAMA, H100, 1, 0, tp=4, efficiency=replace(SPEC_SHEET, allreduce=1e-5))
    assert four - decode_step_seconds(LLAMA, H100, 1, 0, tp=4, efficiency=SPEC_SHEET) == pytest.approx(
        64 * 1.25e-5
    )


def test_work_of_a_step_by_hand():
    "16 sequences of 1,000 tokens on four GPUs: bytes and operations divided by 4; two all-reduces a layer, each at 1.25 for a tree of depth two"
    w = decode_work(LLAMA, H100, 16, 1000, tp=4)
    weights, cache, flops = (
        2 * LLAMA.matmul,
        16 * 1000 * 131_072,
        16 * (2 * LLAMA.matmul + 4 * 32 * 4096 * 1000),
    )
    assert (w.read, w.compute) == pytest.approx(((weights + cache) / 4 / 3.35e12, flops / 4 / 989e12))
    assert w.send == pytest.approx(2 * 32 * 2 * (3 / 4) * 16 * 4096 * 2 / 450e9)
    assert (w.passes, w.layers, w.hops, w.sequences, w.routed) == (1, 32, 2 * 32 * 1.25, 16, 0)
    assert decode_work(architecture('qwen3-30b-a3b'), H100, 1, 10).routed == 1


def test_work_of_a_prompt_by_hand():
    "10,000 tokens in passes of 8,192: two, each reads the weights; of which 2,000 cached: one, which reads the cache once"
    weights, attention = 2 * LLAMA.matmul, 4 * 32 * 4096
    w = prefill_work(LLAMA, H100, 10_000)
    assert (w.read, w.passes, w.layers, w.sequences, w.send) == (
        pytest.approx(2 * weights / 3.35e12),
        2,
        64,
        0,
        0,
    )
    assert w.compute == pytest.approx(
        (2 * LLAMA.blocks * 10_000 + attention * 10_000 * 10_001 / 2 + 2 * LLAMA.head) / 989e12
    )
    w = prefill_work(LLAMA, H100, 10_000, cached=0.2)
    assert (w.read, w.passes) == (pytest.approx((weights + 2000 * 131_072) / 3.35e12), 1)
    assert w.compute == pytest.approx(
        (2 * LLAMA.blocks * 8000 + attention * sum(range(2001, 10_001)) + 2 * LLAMA.head) / 989e12
    )


def test_times_by_hand():
    "Four in the batch; a step takes 4 + 3 + 1 ms, a prompt 2 + 10 ms of which 10 are arithmetic; a quarter of the others' 30 ms comes before the first token"
    e = replace(SPEC_SHEET, overlap=1.0, request_overhead=0.005)
    decode, prompt = Work(0.004, 0.003, 0.001, 1, 10, 0, 4, 0.0), Work(0.002, 0.010, 0.0, 1, 10, 0, 0, 0.0)
    assert expected_times(decode, prompt, 10, 4, 0.25, e) == pytest.approx(
        (0.005 + 0.012 + 0.25 * 0.030, 0.008 + 0.75 * 0.030 / 10)
    )
    assert expected_times(decode, prompt, 10, 4, 0.25, e, speculation=2.0)[1] == pytest.approx(
        0.004 + 0.75 * 0.030 / 10
    )


def test_prefill_by_hand():
    compute, read = prefill_flops(LLAMA, 2000) / 989e12, 2 * LLAMA.matmul / 3.35e12
    assert prefill_seconds(LLAMA, H100, 2000, efficiency=SPEC_SHEET) == pytest.approx(
        (compute**4 + read**4) ** 0.25
    )
    assert prefill_seconds(LLAMA, H100, 4000, bits=8, efficiency=SPEC_SHEET) == pytest.approx(
        prefill_flops(LLAMA, 4000) / 1979e12, rel=0.01
    )
    halves = prefill_seconds(LLAMA, H100, 8192, chunk=4096, efficiency=replace(SPEC_SHEET, step_overhead=1.0))
    assert 2 < halves < 2.2  # two passes pay two overheads
    warm = prefill_seconds(LLAMA, H100, 2000, cached=0.5, efficiency=SPEC_SHEET)
    assert warm == pytest.approx(prefill_flops(LLAMA, 1000, 1000) / 989e12, rel=0.05)


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
    assert r.ttft.value == pytest.approx(one.ttft.value + b * 8 * prompt)
    assert r.tpot.value == pytest.approx(
        decode_step_seconds(LLAMA, H100, 9, 1100) + (1 - b) * 8 * prompt / 200
    )
    assert r.e2e.value == pytest.approx(
        r.ttft.value + 199 * r.tpot.value
    ) and r.tokens_per_s.value == pytest.approx(9 * 200 / r.e2e.value)
    together = latency(LLAMA, H100, 1000, 200, 9, arrivals=1.0)
    assert together.e2e.value == pytest.approx(r.e2e.value, rel=0.02)  # the same work, only in another order


def test_users_beyond_memory_wait():
    fits = latency(LLAMA, H100, 8000, 1000).fits
    full, twice = (latency(LLAMA, H100, 8000, 1000, c) for c in (fits, 2 * fits))
    assert twice.running == full.running == fits and twice.tpot.value == full.tpot.value
    assert (
        twice.tokens_per_s.value == pytest.approx(full.tokens_per_s.value)
        and twice.ttft.value > full.e2e.value
    )


def test_dollars_by_hand():
    r = latency(LLAMA, H100, 1000, 1000, 64, tp=2)
    p = token_usd(r, 'H100', 0.25, Estimate(2.0, 1.0, 4.0))
    assert p.usage.value == pytest.approx(
        2 * 2.0 / 3600 * 1e6 / r.tokens_per_s.value
    ) and p.reserved.high == pytest.approx(4 * 2 * p.usage.value)
    assert token_usd(r, 'H100', 0.25, 2.0).reserved.value == pytest.approx(
        p.reserved.value
    )  # an hour's price without a range


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
    assert (
        many.tpot.value >= few.tpot.value * (1 - 1e-9)
        and many.ttft.value >= few.ttft.value * (1 - 1e-9)
        and many.e2e.value >= few.e2e.value * (1 - 1e-9)
    )


@settings(deadline=None, max_examples=60)
@given(models, cards, st.floats(1.0, 4.0), st.integers(1, 256), st.integers(1, 8000))
def test_a_better_machine_is_never_slower(model, card, factor, batch, context):
    a, g = architecture(model), GPUS[card]
    for better in (
        replace(g, bandwidth=g.bandwidth * factor),
        replace(g, flops16=g.flops16 * factor),
        replace(g, link=g.link * factor),
    ):
        for tp in (1, 2):
            assert decode_step_seconds(a, better, batch, context, tp) <= decode_step_seconds(
                a, g, batch, context, tp
            ) * (1 + 1e-9)
            assert prefill_seconds(a, better, context, tp) <= prefill_seconds(a, g, context, tp) * (1 + 1e-9)
    assert largest_batch(a, replace(g, memory=g.memory * factor), context, batch) >= largest_batch(
        a, g, context, batch
    )


@settings(deadline=None, max_examples=60)
@given(models, cards, st.integers(1, 256), st.integers(0, 100), st.integers(1, 8000))
def test_longer_and_larger_cost_more(model, card, batch, more, context):
    a, g = architecture(model), GPUS[card]
    assert decode_step_seconds(a, g, batch + more, context) >= decode_step_seconds(a, g, batch, context)
    assert decode_step_seconds(a, g, batch, context + more) >= decode_step_seconds(a, g, batch, context)
    assert decode_step_seconds(a, g, batch, context, bits=8) <= decode_step_seconds(a, g, batch, context)
    assert prefill_seconds(a, g, context + more) >= prefill_seconds(a, g, context) * (1 - 1e-9)
    assert largest_batch(a, g, context + more, 100) <= largest_batch(a, g, context, 100)
    assert decode_step_seconds(a, g, batch, context) >= decode_step_seconds(
        a, g, batch, context, efficiency=SPEC_SHEET
    )


def test_units_do_not_mix():
    scaled = GPU(
        'kilo',
        H100.bandwidth * 1e3,
        H100.flops16 * 1e3,
        H100.flops8 * 1e3,
        H100.memory,
        H100.link * 1e3,
        H100.usd,
        'test',
        '2026-11',
    )
    for f, size in ((decode_step_seconds, (8, 1000)), (prefill_seconds, (1000,))):
        assert f(LLAMA, scaled, *size, efficiency=SPEC_SHEET) * 1e3 == pytest.approx(
            f(LLAMA, H100, *size, efficiency=SPEC_SHEET)
        )


def test_arrays_are_the_single_values():
    batch, context = np.array([1, 8, 64]), np.array([100, 1000, 5000])
    for name in ('llama-3.1-8b', 'qwen3-30b-a3b', 'gemma-3-4b'):
        a = architecture(name)
        assert decode_step_seconds(a, H100, batch, context, 2) == pytest.approx(
            [decode_step_seconds(a, H100, b, c, 2) for b, c in zip(batch, context)]
        )
        assert prefill_seconds(a, H100, context) == pytest.approx(
            [prefill_seconds(a, H100, c) for c in context]
        )


@pytest.mark.parametrize(
    'name, found',
    [
        ('NVIDIA H100 80GB HBM3', 'H100'),
        ('NVIDIA A100-SXM4-40GB', 'A100-40GB'),
        ('4xH200', 'H200'),
        ('nvidia l40s', 'L40S'),
        ('L40S PCIe', 'L40S'),
        ('b200_sxm', 'B200'),
        ('NVIDIA GH200 480GB', 'GH200'),
    ],
)
def test_names_of_gpus(name, found):
    assert gpu(name).name == found


@pytest.mark.parametrize(
    'name, text',
    [
        ('NVIDIA H100 PCIe', 'the H100 of the table is the SXM one'),
        ('H100 NVL', 'SXM'),
        ('NVIDIA A100-PCIE-40GB', 'SXM'),
        ('GB200', 'no GPU'),
        ('RTX A1000', 'no GPU'),
        ('L40', 'no GPU'),
        ('H20', 'no GPU'),
        ('H800', 'no GPU'),
    ],
)
def test_a_gpu_that_only_sounds_alike_is_refused(name, text):
    with pytest.raises(ValueError, match=text):
        gpu(name)


def test_constants_have_a_source_a_date_and_a_range():
    for a in (*ASSUMED.values(), *BUNCHING.values(), RUNTIME, *(g.usd for g in GPUS.values())):
        assert a.source and a.date and a.low < a.value < a.high
    for name, a in ASSUMED.items():
        assert f'{name} = {a:.3g}' in Efficiency.__doc__
    for g in GPUS.values():
        assert g.name in GPU.__doc__ and f'{g.usd:.2f}' in GPU.__doc__


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
        (lambda: latency(LLAMA, H100, utilisation=90), 'utilisation=90'),
        (lambda: kv_pool(LLAMA, H100, utilisation=0), 'utilisation=0'),
        (lambda: latency(LLAMA, H100, chunk=0), 'chunk=0'),
        (lambda: latency(LLAMA, H100, tp=0), 'tp=0: a whole number'),
        (lambda: latency(LLAMA, H100, tp=-1), 'tp=-1'),
        (lambda: replace(H100, bandwidth=0), 'must be above 0'),
        (lambda: token_usd(latency(LLAMA, H100), H100, 0), 'a share above 0'),
        (lambda: Point('llama-3.1-8b', 'H100', 1, 1, 1, 'tpot', 0), 'above 0'),
        (lambda: calibrate([]), 'no points'),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def synthetic(e, seed=0):
    "Points of a stack that follows the formula, with 3% noise"
    rng, loads = (
        np.random.default_rng(seed),
        [(p, o, c, m) for p, o in ((200, 200), (2000, 300)) for c in (1, 8, 32) for m in ('ttft', 'tpot')],
    )
    points = [Point('qwen3-8b', 'H200', p, o, c, m, 1.0, stack=f'synthetic {seed}') for p, o, c, m in loads]
    return [
        replace(p, seconds=float(s * np.exp(rng.normal(0, 0.03)))) for p, s in zip(points, predict(points, e))
    ]


@settings(deadline=None, max_examples=10)
@given(st.floats(0.6, 0.95), st.floats(0.35, 0.75), st.floats(5e-4, 6e-3), st.integers(0, 100))
def test_calibration_finds_a_stack(mbu, mfu, overhead, seed):
    points = synthetic(Efficiency(mbu=mbu, mfu_prefill=mfu, step_overhead=overhead), seed)
    seconds, e = np.array([p.seconds for p in points]), calibrate(points, noise=0.03)
    assert np.median(np.abs(predict(points, e) / seconds - 1)) < 0.06


def test_rules_that_drop_points():
    good = Point('llama-3.1-8b', 'H100', 1000, 200, 8, 'tpot', 0.01)
    first = replace(good, metric='ttft', seconds=0.06)
    queue = replace(good, prompt=100_000, concurrency=64, seconds=1.0)
    corrupt = [replace(good, output=100, metric=m, seconds=1e-4) for m in ('ttft', 'tpot')]
    target = replace(first, stack='aiconfigurator, vllm 0.12.0, H100')
    kept, out = usable([good, good, first, queue, *corrupt, target])
    assert {k: len(v) for k, v in out.items()} == {
        'caches do not fit': 1,
        'duplicate': 1,
        'faster than the data sheet': 2,
        'target, not users': 1,
    }
    assert len(kept) == 2 and len(usable([target], strict=False)[0]) == 1


def test_a_table_by_hand(tmp_path):
    "Milliseconds become seconds; a static batch comes at once; at 'max' the users are those that memory holds, and the answer takes as long as their tokens do"
    head = 'source,licence,model,gpu,tp,engine,weight_bits,isl,osl,concurrency,metric,value,unit,note'
    rows = [
        'A x,l,meta-llama3-8b-instruct,H100-SXM,1,NIM 1,16,200,100,4,itl_mean,12.5,ms,',
        'B y,l,meta-llama3-8b-instruct,A100-SXM4-80GB,2,vLLM,16,1024,512,64,batch_latency,18.81,s,',
        'C z,l,Llama-3.1-8B-FP8,H100,1,TRT-LLM 1.0,8,1000,1000,max,max_output_throughput,15220,tok/s,',
        'A x,l,meta-llama3-8b-instruct,H100,1,NIM 1,16,200,100,4,output_throughput,300,tok/s,',
    ]
    (tmp_path / 'points.csv').write_text('\n'.join([head, *rows]) + '\n')
    nim, static, full = read_points(tmp_path / 'points.csv')
    assert (nim.metric, nim.seconds, nim.arrivals, nim.stack, nim.concurrency) == (
        'tpot',
        0.0125,
        'together',
        'A, NIM 1, H100',
        4,
    )
    assert (static.metric, static.seconds, static.arrivals, static.tp, static.gpu.name) == (
        'e2e',
        18.81,
        1.0,
        2,
        'A100-80GB',
    )
    users = largest_batch(LLAMA, H100, 1000, 1000, bits=8)
    assert (full.metric, full.concurrency, full.stack) == (
        'e2e',
        users,
        'C, TRT-LLM 1.0, H100, full',
    ) and full.seconds == pytest.approx(users * 1000 / 15220)


def test_errors_and_bands_by_hand():
    points = [Point('llama-3.1-8b', 'H100', 10, 10, 1, 'tpot', s) for s in (1.0, 2.0, 4.0)]
    assert errors(points, [2.0, 2.0, 2.0])['tpot, 1 GPU'] == pytest.approx((3, 0.5, 0.5, 1.0))
    assert bands(points, [2.0, 2.0, 2.0], share=1.0)['tpot_band'] == pytest.approx((0.5, 2.0))
    assert coverage(points, replace(Efficiency(), tpot_band=(0.6, 1.5)), [2.0, 2.0, 2.0]) == pytest.approx(
        1 / 3
    )


def test_bars_on_published_points():
    kept, _ = usable(read_points(table()))
    held, fits = leave_one_out(kept)
    for predicted in (predict(kept), held):
        e = errors(kept, predicted)
        assert e['tpot, 1 GPU'][1] <= 0.15 and e['tpot, several'][1] <= 0.25 and e['ttft'][1] <= 0.25
        assert 0.85 <= coverage(kept, predicted=predicted) <= 0.95
    trial = calibration_trial(kept, draws=5, starts={s: f[0] for s, f in fits.items()})
    assert np.median([np.median(np.abs(1 / ratio - 1)) for _, ratio in trial.values()]) <= 0.11


def test_defaults_are_the_fit():
    e, shares = fit(usable(read_points(table()))[0])
    for name, a in ASSUMED.items():
        assert getattr(e, name) == pytest.approx(a.value, rel=0.02)
    for name, a in BUNCHING.items():
        assert shares[name] == pytest.approx(a.value, rel=0.02)
    assert set(START) == {*ASSUMED, *BUNCHING}


def test_no_torch():
    code = "import rlops_lab.tokenomics.latency_fit, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
