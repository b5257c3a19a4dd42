"Bytes and operations: KV bytes, weights and passes by hand, and what must hold for every model"

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.architectures import CONFIGS, architecture
from rlops_lab.tokenomics.bytes_and_flops import (
    attended,
    decode_flops,
    experts_touched,
    kv_bytes,
    kv_bytes_per_token,
    kv_capacity,
    kv_copies,
    max_sequences,
    prefill_flops,
    step_weight_bytes,
    weight_bytes,
)

names = st.sampled_from(sorted(CONFIGS))


@pytest.mark.parametrize(
    'name, by_hand',
    [  # bytes a token at 16 bits: K and V, layers, KV heads, head width, 2 bytes
        ('smollm2-135m', 23_040),  # 2 x 30 x 3 x 64 x 2
        ('smollm2-1.7b', 196_608),  # 2 x 24 x 32 x 64 x 2
        ('llama-2-7b', 524_288),  # 2 x 32 x 32 x 128 x 2: every head has its own K and V
        ('llama-3-8b', 131_072),  # 2 x 32 x 8 x 128 x 2 = 128 KiB
        ('llama-3.3-70b', 327_680),  # 2 x 80 x 8 x 128 x 2 = 320 KiB
        ('mistral-7b-v0.3', 131_072),  # 2 x 32 x 8 x 128 x 2
        ('mistral-nemo-12b', 163_840),  # 2 x 40 x 8 x 128 x 2; 5120/32 would be 160 wide
        ('mixtral-8x7b', 131_072),  # 2 x 32 x 8 x 128 x 2: experts have no cache
        ('phi-3-mini', 393_216),  # 2 x 32 x 32 x 96 x 2
        ('phi-4', 204_800),  # 2 x 40 x 10 x 128 x 2
        ('qwen2-7b', 57_344),  # 2 x 28 x 4 x 128 x 2
        ('qwen3-0.6b', 114_688),  # 2 x 28 x 8 x 128 x 2; 1024/16 would be 64 wide
        ('qwen3-8b', 147_456),  # 2 x 36 x 8 x 128 x 2
        ('qwen3-32b', 262_144),  # 2 x 64 x 8 x 128 x 2; 5120/64 would be 80 wide
        ('qwen3-30b-a3b', 98_304),  # 2 x 48 x 4 x 128 x 2
        ('qwen3-235b-a22b', 192_512),  # 2 x 94 x 4 x 128 x 2
        ('qwen3-next-80b-a3b', 24_576),  # 2 x 12 of 48 layers x 2 x 256 x 2
        ('qwen3.5-27b', 65_536),  # 2 x 16 of 64 layers x 4 x 256 x 2
        ('gemma-3-27b', 507_904),  # 2 x 62 x 16 x 128 x 2 while inside the window
        ('gpt-oss-20b', 49_152),  # 2 x 24 x 8 x 64 x 2
        ('gpt-oss-120b', 73_728),  # 2 x 36 x 8 x 64 x 2
        ('deepseek-v3', 70_272),  # 61 x (512+64) x 2: no separate V
        ('kimi-k2', 70_272),
    ],
)
def test_kv_bytes_of_a_token(name, by_hand):
    assert kv_bytes_per_token(architecture(name)) == by_hand


@pytest.mark.parametrize(
    'name, context, by_hand',
    [
        ('gemma-3-27b', 131_072, 11_173_625_856),  # 8192 bytes a layer and token x (10 x 131072 + 52 x 1024)
        ('gemma-3-1b', 8192, 45_088_768),  # 1024 x (4 of 26 layers x 8192 + 22 x 512)
        ('gpt-oss-120b', 4096, 155_713_536),  # 2048 x (18 x 4096 + 18 x 128)
        ('mistral-7b-v0.1', 10_000, 536_870_912),  # 131072 x 4096: all layers forget
        ('mistral-7b-v0.1', 1000, 131_072_000),
        ('qwen2-7b', 10_000, 573_440_000),  # its sliding_window is switched off
        (
            'qwen3-next-80b-a3b',
            10_000,
            10_000 * 24_576 + 36 * (2 * 32 * 128 * 128 + 2 * 3 * (2 * 2048 + 4096)),
        ),  # 36 delta nets: matrices and three steps of convolution
        ('qwen3.5-27b', 0, 48 * (4 * 48 * 128 * 128 + 2 * 3 * (2 * 2048 + 6144))),
    ],
)  # this one keeps its matrices in fp32
def test_kv_bytes_of_a_context(name, context, by_hand):
    assert kv_bytes(architecture(name), context) == by_hand


def test_vllm_reports_93_184_tokens():
    # 728 blocks of 128 x 23,040 bytes
    assert kv_capacity(architecture('smollm2-135m'), 2 * 2**30, block=128) == 93_184
    assert kv_capacity(architecture('smollm2-135m'), 728 * 128 * 23_040 - 1, block=128) == 727 * 128


def test_capacity_by_hand():
    a = architecture('llama-3-8b')
    assert kv_capacity(a, 10e9, block=16, kv_bits=8) == 9536 * 16  # 10e9 // (16 x 65,536) = 9536
    assert max_sequences(a, 10e9, 1000, block=16) == 75  # 1000 tokens take 63 blocks: 1008 x 131,072 bytes
    assert list(max_sequences(a, [1e5, 10e9], 1000)) == [0, 75]
    assert kv_copies(architecture('qwen3-235b-a22b'), 8) == 2
    assert (kv_copies(a, 8), kv_copies(a, 3)) == (1, 9 / 8)


def test_values_read_by_hand():
    # 10 layers of gemma-3-27b look at all 2,000 tokens, 52 at 1,024; a token is 2 x 16 heads x 128 values in each
    assert attended(architecture('gemma-3-27b'), 2000) == 4096 * (10 * 2000 + 52 * 1024)
    assert list(attended(architecture('deepseek-v3'), [0, 1000])) == [0, 61 * 576 * 1000]


def test_weights_by_hand():
    a = architecture('llama-3.1-8b')
    assert weight_bytes(a) == 2 * 8_030_261_248
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert weight_bytes(a, 8) == 32 * layer + 2 * (2 * 128256 * 4096 + 65 * 4096)
    assert weight_bytes(architecture('gpt-oss-120b'), expert_bits=4.25) / 1e9 == pytest.approx(65.2, abs=0.1)
    tied = architecture('smollm2-135m')
    assert weight_bytes(tied) == 2 * 134_515_008
    assert tied.matmul == 134_515_008 - 61 * 576  # the head is the embedding, and multiplies


def test_experts_by_hand():
    a = architecture('mixtral-8x7b')
    assert experts_touched(a, [1, 2]) == pytest.approx([2, 8 * (1 - 0.75**2)])
    assert experts_touched(architecture('llama-3-8b'), 5) == 0
    assert step_weight_bytes(a, 1) == pytest.approx(2 * a.matmul)
    assert step_weight_bytes(a, 1e6) == pytest.approx(2 * (a.total - 32000 * 4096 - 65 * 4096))


def test_flops_by_hand():
    a = architecture('llama-3.1-8b')
    assert prefill_flops(a, 1) == 2 * a.matmul + 4 * 32 * 4096 and prefill_flops(a, 0) == 0
    assert decode_flops(a, 3, 100) == 3 * (2 * a.matmul + 4 * 32 * 4096 * 100)
    w = architecture('mistral-7b-v0.1')
    pairs = sum(min(p, 4096) for p in range(5001, 6001))
    assert prefill_flops(w, 1000, 5000) == 2 * w.blocks * 1000 + 4 * 32 * 4096 * pairs + 2 * w.head


@settings(deadline=None, max_examples=60)
@given(names, st.integers(0, 200_000), st.integers(0, 5000), st.sampled_from([4, 8, 16]))
def test_memory_only_grows(name, context, more, bits):
    a = architecture(name)
    now, later = kv_bytes(a, context), kv_bytes(a, context + more)
    assert now <= later <= now + more * kv_bytes_per_token(a)
    assert kv_bytes(a, context, bits) <= now
    assert weight_bytes(a, bits) <= weight_bytes(a)
    both = np.array([context, context + more])
    assert np.all(attended(a, both) * 2 + a.state_bytes == kv_bytes(a, both))


@settings(deadline=None, max_examples=60)
@given(names, st.integers(1, 4096), st.integers(1, 4096))
def test_reading_in_chunks_is_reading_at_once(name, first, second):
    a = architecture(name)
    in_chunks = prefill_flops(a, first) + prefill_flops(a, second, first)
    assert in_chunks == pytest.approx(prefill_flops(a, first + second) + 2 * a.head)
    assert step_weight_bytes(a, first) <= step_weight_bytes(a, first + second) <= weight_bytes(a)


@settings(deadline=None, max_examples=60)
@given(names, st.floats(1e6, 1e12), st.integers(1, 50_000), st.sampled_from([1, 16, 128]))
def test_what_is_said_to_fit_fits(name, pool, context, block):
    a = architecture(name)
    n = max_sequences(a, pool, context, block)
    assert n * kv_bytes(a, context) <= pool and kv_capacity(a, pool, block) * kv_bytes_per_token(a) <= pool


def test_sizes_must_be_sizes():
    a = architecture('llama-3-8b')
    for call in (
        lambda: kv_bytes(a, -1),
        lambda: kv_bytes(a, 1, kv_bits=0),
        lambda: max_sequences(a, 1e9, 0),
        lambda: weight_bytes(a, 0),
        lambda: kv_copies(a, 0),
        lambda: kv_capacity(a, 1e9, tp=1.5),
    ):
        with pytest.raises(ValueError):
            call()


def test_no_torch():
    code = "import rlops_lab.tokenomics.bytes_and_flops, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
