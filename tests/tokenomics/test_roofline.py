"Roofline: passes by hand with units, GPUs by name, and what must never happen"

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.bytes_and_flops import attended, decode_flops, prefill_flops
from rlops_lab.tokenomics.latency import largest_batch
from rlops_lab.tokenomics.roofline import (
    ASSUMED,
    GPU,
    GPUS,
    SPEC_SHEET,
    Efficiency,
    decode_step_seconds,
    decode_work,
    gpu,
    peak_flops,
    prefill_seconds,
    prefill_work,
    work_seconds,
)

LLAMA, H100 = architecture('llama-3.1-8b'), GPUS['H100']
models = st.sampled_from(
    ['llama-3.1-8b', 'qwen3-30b-a3b', 'gemma-3-4b', 'smollm2-135m', 'mistral-7b-v0.1', 'qwen3.5-27b']
)
cards = st.sampled_from(['A100-80GB', 'H100', 'H200', 'B200'])


def test_decode_step_by_hand():
    weights = 2 * (
        8_030_261_248 - 128256 * 4096 - 65 * 4096
    )  # bytes: embedding and norms are not read through
    cache = 16 * 1000 * 131_072
    read, compute = (weights + cache) / 3.35e12, decode_flops(LLAMA, 16, 1000) / 989e12  # seconds
    step = decode_step_seconds(LLAMA, H100, 16, 1000, efficiency=SPEC_SHEET)
    assert step == pytest.approx((read**4 + compute**4) ** 0.25)
    slow = replace(SPEC_SHEET, step_overhead=1e-3, layer_overhead=1e-5, sequence_overhead=1e-5)
    more = decode_step_seconds(LLAMA, H100, 16, 1000, efficiency=slow) - step
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
    # 16 sequences of 1,000 tokens on four GPUs: bytes and operations divided by 4;
    # two all-reduces a layer, each at 1.25 for a tree of depth two
    w = decode_work(LLAMA, H100, 16, 1000, tp=4)
    weights, cache, flops = (
        2 * LLAMA.matmul,
        16 * 1000 * 131_072,
        16 * (2 * LLAMA.matmul + 4 * 32 * 4096 * 1000),
    )
    assert (w.read, w.compute) == pytest.approx(((weights + cache) / 4 / 3.35e12, flops / 4 / 989e12))
    assert w.send == pytest.approx(2 * 32 * 2 * (3 / 4) * 16 * 4096 * 2 / 450e9)
    assert (w.passes, w.layers, w.hops, w.sequences) == (1, 32, 2 * 32 * 1.25, 16)
    assert (w.read_experts, w.compute_experts, w.routings) == (0, 0, 0)


def test_work_of_experts_by_hand():
    # gpt-oss-120b: 36 layers of 128 experts, 4 for a token, each 3 x 2880 x 2880 parameters at 4.25 bits; two GPUs.
    # 16 tokens miss an expert with probability (124/128)^16. 4-bit weights compute in 16 bits on an H100, and on a
    # B200 in 4
    arch, expert = architecture('gpt-oss-120b'), 3 * 2880 * 2880
    w = decode_work(arch, H100, 16, 1000, tp=2, expert_bits=4.25)
    touched = 128 * (1 - (124 / 128) ** 16)
    assert w.read_experts == pytest.approx(36 * touched * expert * 4.25 / 8 / 2 / 3.35e12)
    assert w.compute_experts == pytest.approx(2 * 36 * 4 * expert * 16 / 2 / 989e12)
    assert w.routings == 36
    cache = 16 * attended(arch, 1000) * 2
    assert w.read == pytest.approx((2 * (arch.dense + arch.head) + cache) / 2 / 3.35e12)
    on_b200 = decode_work(arch, GPUS['B200'], 16, 1000, tp=2, expert_bits=4.25)
    assert on_b200.compute_experts == pytest.approx(2 * 36 * 4 * expert * 16 / 2 / 9000e12)
    # the losses of experts touch nothing else
    slow = replace(SPEC_SHEET, overlap=1.0, expert_read=0.5, routing_overhead=1e-5)
    fast = replace(SPEC_SHEET, overlap=1.0)
    more = work_seconds(w, slow, 1.0, expert_speed=0.25) - work_seconds(w, fast, 1.0)
    assert more == pytest.approx(w.read_experts + 3 * w.compute_experts + 36e-5)
    dense = decode_work(LLAMA, H100, 16, 1000)
    assert work_seconds(dense, slow, 1.0, 0.25) == work_seconds(dense, fast, 1.0)


def test_work_of_a_prompt_by_hand():
    # 10,000 tokens in passes of 8,192: two, each reads the weights; with 2,000 cached: one, which reads the cache once
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
        ('NVIDIA GeForce RTX 4090', 'RTX-4090'),
        ('4090', 'RTX-4090'),
        ('2xRTX5090', 'RTX-5090'),
        ('NVIDIA L4', 'L4'),
        ('nvidia-a10g', 'A10G'),
        ('NVIDIA H20', 'H20'),
        ('NVIDIA H100 PCIe', 'H100-PCIe'),
        ('H100-PCIE-80GB', 'H100-PCIe'),
        ('b300_sxm', 'B300'),
        ('GB200 NVL72', 'GB200'),
        ('AMD Instinct MI300X', 'MI300X'),
        ('mi355x', 'MI355X'),
    ],
)
def test_names_of_gpus(name, found):
    assert gpu(name).name == found


@pytest.mark.parametrize(
    'name, text',
    [
        ('H100 NVL', 'the H100 of the table is the SXM one of 80 GB'),
        ('NVIDIA A100-PCIE-40GB', 'SXM'),
        ('GB300', 'no GPU'),
        ('NVIDIA GeForce RTX 4090 Laptop GPU', 'the desktop card'),
        ('RTX 4090 D', 'the desktop card'),
        ('H20-141GB', 'SXM one of 96 GB'),
        ('A10', 'no GPU'),
        ('MI300A', 'no GPU'),
        ('MI325X', 'no GPU'),
        ('RTX A1000', 'no GPU'),
        ('L40', 'no GPU'),
        ('H800', 'no GPU'),
    ],
)
def test_a_gpu_that_only_sounds_alike_is_refused(name, text):
    with pytest.raises(ValueError, match=text):
        gpu(name)


def test_sheets_are_of_one_kind():
    "Dense figures, so 8 bits are at most twice as fast; rents and sheets are dated"
    for found in GPUS.values():
        assert found.flops16 <= found.flops8 <= 2.05 * found.flops16, found.name
        assert 2e11 < found.bandwidth < 1e13 and 2e10 < found.memory < 3e11, found.name
        assert found.date.startswith('2026') and found.usd.date.startswith('2026') and found.source


def test_losses_add_up_by_hand():
    work = decode_work(LLAMA, H100, 16, 1000, tp=4)
    efficiency = replace(
        SPEC_SHEET,
        mbu=0.5,
        step_overhead=1e-3,
        layer_overhead=1e-5,
        sequence_overhead=1e-5,
        allreduce=1e-5,
        link_share=0.25,
        overlap=1.0,
    )
    losses = 1e-3 + 32 * 1e-5 + 16 * 1e-5 + 2 * 32 * 1.25 * 1e-5
    expected = work.read / 0.5 + work.compute / 0.125 + losses + work.send / 0.25
    assert work_seconds(work, efficiency, mfu=0.125) == pytest.approx(expected)


def test_a_cache_keeps_16_bits_unless_told():
    cache = 16 * 1000 * 131_072  # bytes at 16 bits
    eight, told = (decode_work(LLAMA, H100, 16, 1000, bits=8, **more) for more in ({}, dict(kv_bits=8)))
    assert eight.read - told.read == pytest.approx(cache / 2 / 3.35e12)


def test_weights_compute_at_the_peak_of_their_bits():
    assert [peak_flops(H100, bits) / 1e12 for bits in (16, 8, 4.25, 4)] == [989, 1979, 989, 989]
    assert peak_flops(GPUS['B200'], 4) == 9000e12
    assert prefill_work(LLAMA, H100, 1000, bits=4).compute == prefill_work(LLAMA, H100, 1000).compute


def test_constants_have_a_source_a_date_and_a_range():
    for a in (*ASSUMED.values(), *(g.usd for g in GPUS.values())):
        assert a.source and a.date and a.low < a.value < a.high
    for name, a in ASSUMED.items():
        assert f'{name} = {a:.3g}' in Efficiency.__doc__
    for g in GPUS.values():
        assert g.name in GPU.__doc__ and f'{g.usd:.2f}' in GPU.__doc__


def test_no_torch():
    code = "import rlops_lab.tokenomics.roofline, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
