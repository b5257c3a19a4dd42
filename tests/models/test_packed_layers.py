"Packed layers: other architectures, bfloat16, and what they refuse"

import os, subprocess, sys
from types import SimpleNamespace
import pytest, torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from rlops_lab.models.packed_layers import LINEARS, unsupported_layers, hidden_states, unsupported
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.kv_cache import merged
from rlops_lab.samplers.sampling import SamplingParams

SIZES = dict(
    vocab_size=64,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
)
NAMES = [path.split('.')[1] for path in LINEARS.values()]


def adapted(model, **config):
    torch.manual_seed(0)
    peft = get_peft_model(
        model, LoraConfig(**(dict(r=4, target_modules=NAMES) | config)), adapter_name='policy'
    ).eval()
    for n, p in peft.named_parameters():
        if 'lora_B' in n:
            torch.nn.init.normal_(p, std=0.1)
    return peft


ARCHITECTURES = [
    lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    lambda: LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=16, attention_bias=True, mlp_bias=True)),
    lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, rope_parameters=dict(rope_type='linear', factor=2.0, rope_theta=1e4))
    ),
    lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
]


@pytest.mark.parametrize('make', ARCHITECTURES)
@pytest.mark.parametrize('lengths', [[5], [1, 1], [3, 8, 2]])
def test_states_and_gradients_are_those_of_transformers(make, lengths):
    torch.manual_seed(1)
    peft = adapted(make())
    decoder = peft.get_base_model().get_decoder()
    for n, p in decoder.named_parameters():
        if n.endswith('bias'):
            torch.nn.init.normal_(p)
    assert unsupported(peft.get_base_model()) is None
    rows = [torch.randint(0, 64, (n,)) for n in lengths]
    weights, out = torch.randn(sum(lengths), 48), []
    for states in (
        torch.cat([decoder(input_ids=r[None], use_cache=False).last_hidden_state[0] for r in rows]),
        hidden_states(decoder, torch.cat(rows), lengths, 'policy'),
    ):
        peft.zero_grad()
        (states * weights).sum().backward()
        out.append(
            [states.detach(), *(p.grad.clone() for n, p in peft.named_parameters() if p.requires_grad)]
        )
    assert len(out[0]) == 1 + 2 * 7 * 2
    for usual, ours in zip(*out):
        torch.testing.assert_close(ours, usual, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('make', ARCHITECTURES[:2])
@pytest.mark.parametrize(
    'wanted', [[], [0], [99], [0, 5, 60, 99], range(64), range(36, 100), range(100)], ids=len
)
def test_wanted_tokens_get_the_states_and_gradients_that_they_have_among_all(make, wanted, dtype):
    peft = adapted(make()).to(dtype)
    decoder = peft.get_base_model().get_decoder()
    g = torch.Generator().manual_seed(0)
    ids, wanted, weights, out = (
        torch.randint(0, 64, (100,), generator=g),
        torch.tensor([*wanted], dtype=torch.long),
        torch.randn(100, 48, generator=g),
        [],
    )
    for states in (
        hidden_states(decoder, ids, [60, 40], 'policy')[wanted],
        hidden_states(decoder, ids, [60, 40], 'policy', positions=wanted),
    ):
        peft.zero_grad()
        (states * weights[wanted]).sum().backward()
        out.append([states.detach(), *(p.grad.clone() for p in peft.parameters() if p.requires_grad)])
    for among_all, ours in zip(*out):
        torch.testing.assert_close(
            ours,
            among_all,
            **(
                dict(atol=1e-4, rtol=1e-4)
                if dtype == torch.float32
                else dict(atol=0.03 * among_all.abs().max().item() if len(wanted) else 0.0, rtol=0.02)
            ),
        )


def test_bfloat16_is_no_farther_from_the_truth_than_transformers():
    peft = adapted(LlamaForCausalLM(LlamaConfig(**(SIZES | dict(num_hidden_layers=6)))))
    decoder = peft.get_base_model().get_decoder()
    ids = torch.randint(0, 64, (40,))
    with torch.no_grad():
        truth = decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        peft.to(torch.bfloat16)
        usual, ours = (
            decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0],
            hidden_states(decoder, ids, [40], 'policy'),
        )
    error = lambda x: (x.float() - truth).abs().mean().item()
    assert 0 < error(ours) < 1.2 * error(usual)


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: adapted(LlamaForCausalLM(LlamaConfig(**SIZES, hidden_act='gelu'))), 'activation is gelu'),
        (lambda: adapted(LlamaForCausalLM(LlamaConfig(**SIZES)), lora_dropout=0.1), 'dropout'),
        (lambda: adapted(LlamaForCausalLM(LlamaConfig(**SIZES)), use_dora=True), 'DoRA'),
        (lambda: adapted(LlamaForCausalLM(LlamaConfig(**SIZES)), lora_bias=True), 'biases'),
        (
            lambda: adapted(
                LlamaForCausalLM(LlamaConfig(**SIZES)), target_modules=['q_proj', 'embed_tokens']
            ),
            'embed_tokens',
        ),
        (lambda: adapted(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))), 'window'),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), 'weights of the base'),
    ],
)
def test_other_models_are_named_and_left_to_transformers(make, text):
    model = make()
    assert text in unsupported(model.get_base_model() if hasattr(model, 'peft_config') else model)


def test_products_of_new_shapes_do_not_pile_up():
    "Generated code for a shape is kept in caches that rlops_lab.models.packed_layers makes small"
    script = (
        'import ctypes, rlops_lab.models.packed_layers, torch\n'
        'torch.set_num_threads(1)\n'
        'def held(): ctypes.CDLL(None).malloc_trim(0); return int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("RssAnon")))/1024\n'
        'x, w = torch.randn(2048, 64).bfloat16(), torch.randn(64, 64).bfloat16()\n'
        'for n in range(1, 320): x[:n]@w.T\n'
        'before = held()\n'
        'for n in range(320, 720): x[:n]@w.T\n'
        'print(held()-before)'
    )
    if not sys.platform.startswith('linux') or not torch.backends.mkldnn.is_available():
        pytest.skip('the memory of a process is read from /proc, the caches are those of oneDNN')
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ('ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'LRU_CACHE_CAPACITY')
    }
    assert (
        float(
            subprocess.run(
                [sys.executable, '-c', script], env=env, capture_output=True, text=True, check=True
            ).stdout
        )
        < 40
    )


@pytest.mark.parametrize(
    'adapter',
    [None, {}, dict(use_dora=True), dict(modules_to_save=['lm_head'])],
    ids=['plain', 'lora', 'dora', 'whole head'],
)
@pytest.mark.parametrize(
    'make', ARCHITECTURES + [lambda: LlamaForCausalLM(LlamaConfig(**SIZES, hidden_act='gelu'))]
)
def test_the_sampler_draws_from_these_layers(make, adapter):
    "Log-probabilities of what was drawn, by fused and merged layers and by the model itself; rows of several lengths, two turns"
    torch.manual_seed(0)
    model = make().eval() if adapter is None else adapted(make(), **adapter)
    for n, p in model.named_parameters():
        if 'magnitude' in n or 'modules_to_save' in n:
            p.data += 0.3 * torch.rand_like(p)
    sampler = HFSampler(model, SimpleNamespace(eos_token_id=0), min_prefix=4)
    assert (sampler.merged.layers is None) == (model.config.hidden_act == 'gelu') == bool(unsupported_layers(sampler.base))
    prompts, params = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 11, 12], [20, 21]], SamplingParams(max_tokens=5)
    for turn in range(2):
        for p, c in zip(prompts, sampler.sample(prompts, params, keys=['a', 'b', 'c'])):
            with torch.no_grad():
                z = model(torch.tensor([p + c.token_ids])).logits[0, len(p) - 1 : -1].log_softmax(-1)
            torch.testing.assert_close(
                torch.tensor(c.logprobs), z[range(len(c.token_ids)), c.token_ids], atol=1e-5, rtol=0
            )
            p += c.token_ids + [30 + turn]


def test_an_adapter_on_other_layers_is_not_asked_for():
    "A policy's adapter on some matrices, a reward model's on others, as roles on one backbone have them"
    model = adapted(LlamaForCausalLM(LlamaConfig(**SIZES)), target_modules=['q_proj'])
    model.add_adapter('other', LoraConfig(r=2, target_modules=['v_proj'], init_lora_weights=False))
    attention = model.get_base_model().model.layers[0].self_attn
    assert torch.equal(merged(attention.v_proj)[0], attention.v_proj.base_layer.weight) and not torch.equal(
        merged(attention.q_proj)[0], attention.q_proj.base_layer.weight
    )
    model.set_adapter('other')
    assert torch.equal(merged(attention.q_proj)[0], attention.q_proj.base_layer.weight) and not torch.equal(
        merged(attention.v_proj)[0], attention.v_proj.base_layer.weight
    )
