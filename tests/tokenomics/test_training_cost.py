"Training cost: passes by hand, roles added up, and the published PPO runs"

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.training_cost import (
    SYSTEM_MFU,
    TRAIN_MFU,
    forward_flops,
    sample_flops,
    train_flops,
    training_bytes,
    training_cost,
)

RUNS = [
    ('opt-6.7b', 'A100-40GB', 8, 5.7),
    ('opt-13b', 'A100-40GB', 8, 10.8),
    ('opt-30b', 'A100-40GB', 8, 44.4),
    ('opt-6.7b', 'A100-80GB', 8, 4.1),
    ('opt-13b', 'A100-80GB', 8, 9.0),
    ('opt-30b', 'A100-80GB', 8, 18.0),
    ('opt-66b', 'A100-80GB', 8, 50.4),
    ('opt-13b', 'A100-80GB', 64, 1.25),
    ('opt-30b', 'A100-80GB', 64, 4.0),
    ('opt-66b', 'A100-80GB', 64, 7.5),
    ('opt-175b', 'A100-80GB', 64, 20.0),
]  # hours, DeepSpeed-Chat tables 1 and 2


def test_published_ppo_runs():
    costs = [
        training_cost('ppo', m, g, n, 135e6 / 512, 256, 256, critic=0.331e9, reward=0.331e9)
        for m, g, n, _ in RUNS
    ]
    factors = np.array([c.hours.value / h for c, (*_, h) in zip(costs, RUNS)])
    assert np.sum((1 / 1.5 <= factors) & (factors <= 1.5)) >= 9
    assert all(c.hours.low <= h <= c.hours.high for c, (*_, h) in zip(costs, RUNS))


PRETRAINED = [
    ('llama-2-7b', 'A100-80GB', 184_320, 2e12),
    ('llama-2-70b', 'A100-80GB', 1_720_320, 2e12),
    ('llama-3-70b', 'H100', 6.4e6, 15e12),
    ('llama-3.1-70b', 'H100', 7e6, 15e12),
    ('llama-3.1-405b', 'H100', 30.84e6, 15.6e12),
    ('deepseek-v3', 'H100', 2.664e6, 14.8e12),
    ('smollm3-3b', 'H100', 221_184, 11.2e12),
]  # GPU-hours and tokens as their authors give them


@pytest.mark.parametrize('model, card, hours, tokens', PRETRAINED)
def test_published_pretraining_runs(model, card, hours, tokens):
    found = training_cost('sft', model, card, 1024, tokens / 4096, 0, 4096)
    assert 1 / 1.5 < 1024 * found.hours.value / hours < 1.5
    assert 1024 * found.hours.low < hours < 1024 * found.hours.high


@pytest.mark.parametrize(
    'method, mfu',
    [
        ('sft', TRAIN_MFU),
        ('dpo', TRAIN_MFU),
        ('ppo', SYSTEM_MFU),
        ('grpo', SYSTEM_MFU),
        ('rejection', SYSTEM_MFU),
    ],
)
def test_what_generates_has_its_own_efficiency(method, mfu):
    run = ('smollm2-135m', 'H100', 1, 1000, 100, 100)
    assert training_cost(method, *run).hours == training_cost(method, *run, mfu=mfu).hours


def test_dpo_by_hand():
    # a pair: two answers of D = 100 tokens; reference 2 N D, training 6 N D (LoRA 4 N D) for each
    pair = sample_flops('dpo', 1e9, 60, 40)
    assert pair == pytest.approx(dict(reference=4e11, train=12e11))
    assert sum(sample_flops('dpo', 1e9, 60, 40, lora=True, reference=False).values()) == pytest.approx(8e11)
    a = architecture('llama-3.1-8b')
    assert training_bytes('dpo', a, tokens=0) == 18 * a.total
    assert training_bytes('dpo', a, tokens=0, lora=0.01) == pytest.approx(2.16 * a.total)


def test_logits_and_gradients_by_hand():
    a = architecture('llama-3.1-8b')
    none = training_bytes('sft', a, tokens=1000, logits=0)
    assert training_bytes('sft', a, tokens=1000) - none == pytest.approx(14 * 1000 * 128_256)
    assert training_bytes('sft', a, tokens=1000, logits=0.25) - none == pytest.approx(14 * 250 * 128_256)
    assert none == pytest.approx(16 * a.total + 1000 * 4096 * (2 * 32 + 34))
    assert training_bytes('sft', a, tokens=0, gradient=4) == 18 * a.total
    run = ('sft', a, 'H100', 8, 100, 500, 500)
    whole, pieces = (training_cost(*run, micro_batch=1000, logits=share).bytes_per_gpu for share in (1, 0))
    assert whole - pieces == pytest.approx(14 * 1000 * 128_256)
    with pytest.raises(ValueError, match='logits=2'):
        training_bytes('sft', a, logits=2)


def test_passes_by_hand():
    assert forward_flops(1e9, 100) == 2e11
    lora_recompute = ((False, False), (True, False), (False, True), (True, True))
    assert [train_flops(1e9, 100, *how) for how in lora_recompute] == [6e11, 4e11, 8e11, 6e11]
    a = architecture('smollm2-135m')
    # 55 pairs of tokens, 30 layers, 9 heads of 64
    assert forward_flops(a, 10) == 2 * a.matmul * 10 + 4 * 30 * 576 * 55


def test_roles_by_hand():
    # D = 100 tokens, in units of 1e9 operations
    p = sample_flops('ppo', 1e9, 60, 40, critic=2e8, reward=1e8, epochs=3)
    assert {k: v / 1e9 for k, v in p.items()} == pytest.approx(
        dict(generate=200, old=200, reference=200, critic=40, train_critic=360, reward=20, train=1800)
    )
    g = sample_flops('grpo', 1e9, 60, 40, reference=False)
    assert sum(g.values()) == pytest.approx(2e11 + 2e11 + 6e11)
    r = sample_flops('rejection', 1e9, 60, 40, reward=5e8, kept=0.1)
    assert r == pytest.approx(dict(generate=2e11, reward=1e11, train=0.6e11))
    assert sample_flops('sft', 1e9, 60, 40, epochs=2, lora=True) == pytest.approx(dict(train=8e11))


def test_memory_by_hand():
    a = architecture('llama-3.1-8b')
    assert training_bytes('sft', a, gpus=8, tokens=1000, recompute=False) == pytest.approx(
        2 * a.total + 34 * 1000 * 4096 * 32 + 14 * 1000 * 128_256
    )
    assert training_bytes('grpo', a, tokens=0) == 18 * a.total
    assert training_bytes('ppo', a, tokens=0, critic=1e9, reward=1e9) == 18 * a.total + 18e9
    assert training_bytes('sft', a, tokens=0, lora=0.01) == pytest.approx(2.16 * a.total)


def test_cost_by_hand():
    c = training_cost(
        'sft',
        'smollm2-135m',
        'H100',
        2,
        1000,
        500,
        500,
        mfu=Estimate(0.5, 0.4, 0.6),
        usd=Estimate(3.0, 2.0, 4.0),
    )
    hours = 3 * forward_flops('smollm2-135m', 1000) * 1000 / (2 * 989e12 * 0.5) / 3600
    assert c.hours.value == pytest.approx(hours)
    assert c.usd.value == pytest.approx(hours * 2 * 3)
    assert c.usd.low == pytest.approx(hours * 0.5 / 0.6 * 2 * 2)
    assert c.usd.high == pytest.approx(hours * 0.5 / 0.4 * 2 * 4)
    assert c.parts == {'train': 1.0}
    same = training_cost('sft', 'smollm2-135m', 'H100', 2, 1000, 500, 500, mfu=0.5, usd=3.0)  # without ranges
    assert (same.usd.low, same.usd.value, same.usd.high) == (c.usd.value,) * 3


def test_memory_asks_for_the_same():
    for bad in (dict(method='kto'), dict(gpus=0), dict(lora=16)):
        with pytest.raises(ValueError):
            training_bytes(**{**dict(method='sft', model='qwen3-4b'), **bad})


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(['sft', 'dpo', 'ppo', 'grpo', 'rejection']),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.integers(1, 5),
    st.integers(1, 64),
)
def test_more_work_never_costs_less(method, prompt, response, epochs, gpus):
    base = lambda **k: training_cost(
        method,
        'qwen3-4b',
        'H100',
        **{**dict(gpus=gpus, samples=100, prompt=prompt, response=response, epochs=epochs), **k},
    )
    c = base()
    for more in (
        dict(samples=200),
        dict(prompt=prompt + 100),
        dict(response=response + 100),
        dict(epochs=epochs + 1),
        dict(recompute=True),
    ):
        assert base(**more).usd.value >= c.usd.value * (1 - 1e-9)
    assert base(lora=0.01).flops < c.flops and base(gpus=gpus + 1).hours.value < c.hours.value
    assert base(gpus=2 * gpus).usd.value == pytest.approx(c.usd.value)
    assert c.hours.low < c.hours.value < c.hours.high


@pytest.mark.parametrize(
    'args, text',
    [
        (dict(method='kto'), "method='kto'"),
        (dict(gpus=0), 'gpus=0'),
        (dict(response=0), 'positive numbers'),
        (dict(machine='abacus'), 'no GPU'),
        (dict(model='llama-9'), 'no model'),
        (dict(kept=0), 'a share above 0'),
        (dict(lora=16), 'lora=16'),
        (dict(lora=True), 'not True'),
        (dict(lora=-0.1), 'lora=-0.1'),
        (dict(mfu=40), 'mfu=40'),
        (dict(mfu=Estimate(0.2, 0.0, 0.3)), 'above 0'),
        (dict(usd=-2.0), 'must not be negative'),
    ],
)
def test_bad_input_is_named(args, text):
    with pytest.raises(ValueError, match=text):
        training_cost(
            **{
                **dict(
                    method='sft', model='qwen3-4b', machine='H100', gpus=1, samples=1, prompt=10, response=10
                ),
                **args,
            }
        )


def test_the_assumption_is_sourced():
    for mfu in (SYSTEM_MFU, TRAIN_MFU):
        assert mfu.low < mfu.value < mfu.high
        assert mfu.source and mfu.date


def test_no_torch():
    code = "import rlops_lab.tokenomics.training_cost, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
