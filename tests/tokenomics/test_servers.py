"Servers: a pass against the formulas of latency and by hand, and what is refused"

from dataclasses import replace

import pytest

from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.roofline import SPEC_SHEET, decode_step_seconds, gpu, prefill_seconds
from rlops_lab.tokenomics.servers import Server, llm_server, step_seconds


@pytest.mark.parametrize(
    'model, machine, how',
    [
        ('llama-3.1-8b', 'H100', {}),
        ('qwen3-235b-a22b', 'H200', dict(tp=8, bits=8)),
        ('gemma-3-4b', 'L40S', dict(kv_bits=8)),
        ('qwen3.5-27b', 'H100', dict(tp=2)),
        ('gpt-oss-120b', 'B200', dict(bits=8, expert_bits=4)),
    ],
)
def test_passes_cost_what_latency_computes(model, machine, how):
    step, arch, machine = step_seconds(model, machine, **how), architecture(model), gpu(machine)
    for n, context in ((1, 1), (3, 2500), (200, 700)):
        expected = decode_step_seconds(arch, machine, n, context, **how)
        assert step(n, n * context) == pytest.approx(expected, rel=1e-9)
    for prompt in (1, 129, 4000):
        expected = prefill_seconds(arch, machine, prompt, **how)
        assert step(0, 0, [(prompt, 0)]) == pytest.approx(expected, rel=1e-9)


def test_a_pass_by_hand():
    """Two answers that look at 2,000 tokens in all, and a prompt of 500, on an H100 at 100% of its sheet,
    reading and computing one after the other"""
    llama = architecture('llama-3.1-8b')
    read = 2 * llama.matmul + 2000 * 131_072
    answers = 2 * 2 * llama.matmul + 4 * 32 * 4096 * 2000
    prompt = 2 * llama.blocks * 500 + 4 * 32 * 4096 * 500 * 501 / 2 + 2 * llama.head
    step = step_seconds('llama-3.1-8b', 'H100', efficiency=replace(SPEC_SHEET, overlap=1))
    assert step(2, 2000, [(500, 0)]) == pytest.approx(read / 3.35e12 + (answers + prompt) / 989e12)


def test_a_server_by_hand():
    "72 GB less 2 GB and 16.06 GB of weights, in blocks of 16 tokens of 131,072 bytes"
    server = llm_server('llama-3.1-8b', 'H100', efficiency=replace(SPEC_SHEET, request_overhead=0.01))
    assert server.kv_tokens == (72e9 - 2e9 - 2 * 8_030_261_248) // (16 * 131_072) * 16
    assert (server.max_batch, server.chunk, server.overhead) == (256, 8192, 0.01)


def test_chunks_read_as_much_as_the_whole():
    # read and compute add up: arithmetic is conserved
    step = step_seconds('gemma-3-4b', 'H100', efficiency=replace(SPEC_SHEET, overlap=1))
    arch, h100 = architecture('gemma-3-4b'), gpu('H100')
    extra = step(0, 0, [(1000, 0)]) + step(0, 0, [(1000, 1000)]) - step(0, 0, [(2000, 0)])
    # once more each of weights, cache and logits
    weights = 2 * arch.matmul / h100.bandwidth
    cache = 1000 * 2 * sum(arch.cached) / h100.bandwidth
    assert 0 < extra < weights + cache + 2 * arch.head / h100.flops16 + 1e-9


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: Server(0.01), 'must be a function'),
        (lambda: Server(lambda n, context, chunks: 0.1, max_batch=0), 'at least 1'),
        (lambda: Server(lambda n, context, chunks: 0.1, 64, chunk=8), 'prompts would starve'),
        (lambda: llm_server('llama-3.3-70b', 'H100'), 'leaves no memory'),
    ],
)
def test_bad_input_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
