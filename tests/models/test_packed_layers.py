"Packed layers: other architectures, bfloat16, and what they refuse"

import pytest
import torch
from llamas import ARCHITECTURES, adapted, llama, mistral

from rlops_lab.models.packed_layers import hidden_states, unsupported


def states_and_gradients(peft, states, weights):
    "States, and the adapters' gradients of their weighted sum"
    peft.zero_grad()
    (states * weights).sum().backward()
    return [states.detach(), *(p.grad.clone() for p in peft.parameters() if p.requires_grad)]


@pytest.mark.parametrize('make', ARCHITECTURES)
@pytest.mark.parametrize('lengths', [[5], [1, 1], [3, 8, 2]])
def test_states_and_gradients_are_those_of_transformers(make, lengths):
    torch.manual_seed(1)
    peft = adapted(make())
    decoder = peft.get_base_model().get_decoder()
    for name, p in decoder.named_parameters():
        if name.endswith('bias'):
            torch.nn.init.normal_(p)
    assert unsupported(peft.get_base_model()) is None
    rows = [torch.randint(0, 64, (n,)) for n in lengths]
    weights = torch.randn(sum(lengths), 48)
    each = [decoder(input_ids=row[None], use_cache=False).last_hidden_state[0] for row in rows]
    usual = states_and_gradients(peft, torch.cat(each), weights)
    packed = hidden_states(decoder, torch.cat(rows), lengths, 'policy')
    ours = states_and_gradients(peft, packed, weights)
    assert len(usual) == 1 + 2 * 7 * 2
    for right, got in zip(usual, ours, strict=True):
        torch.testing.assert_close(got, right, atol=2e-4, rtol=2e-4)


POSITIONS = [[], [0], [99], [0, 5, 60, 99], range(64), range(36, 100), range(100)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('make', ARCHITECTURES[:2])
@pytest.mark.parametrize('positions', POSITIONS, ids=len)
def test_some_tokens_get_the_states_and_gradients_that_they_have_among_all(make, positions, dtype):
    peft = adapted(make()).to(dtype)
    decoder = peft.get_base_model().get_decoder()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 64, (100,), generator=generator)
    positions = torch.tensor([*positions], dtype=torch.long)
    weights = torch.randn(100, 48, generator=generator)[positions]
    every = hidden_states(decoder, ids, [60, 40], 'policy')[positions]
    among_all = states_and_gradients(peft, every, weights)
    some = hidden_states(decoder, ids, [60, 40], 'policy', positions=positions)
    alone = states_and_gradients(peft, some, weights)
    for right, got in zip(among_all, alone, strict=True):
        if dtype == torch.float32:
            near = dict(atol=1e-4, rtol=1e-4)
        else:
            near = dict(atol=0.03 * right.abs().max().item() if len(positions) else 0.0, rtol=0.02)
        torch.testing.assert_close(got, right, **near)


def test_bfloat16_is_no_farther_from_the_truth_than_transformers():
    peft = adapted(llama(num_hidden_layers=6))
    decoder = peft.get_base_model().get_decoder()
    ids = torch.randint(0, 64, (40,))

    def by_transformers():
        return decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0]

    with torch.no_grad():
        truth = by_transformers()
        peft.to(torch.bfloat16)
        usual = by_transformers()
        ours = hidden_states(decoder, ids, [40], 'policy')

    def error(states):
        return (states.float() - truth).abs().mean().item()

    assert 0 < error(ours) < 1.2 * error(usual)


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: adapted(llama(hidden_act='gelu')), 'activation is gelu'),
        (lambda: adapted(llama(), lora_dropout=0.1), 'dropout'),
        (lambda: adapted(llama(), use_dora=True), 'DoRA'),
        (lambda: adapted(llama(), lora_bias=True), 'biases'),
        (lambda: adapted(llama(), target_modules=['q_proj', 'embed_tokens']), 'embed_tokens'),
        (lambda: adapted(mistral(sliding_window=4)), 'window'),
        (llama, 'weights of the base'),
    ],
)
def test_other_models_are_named_and_left_to_transformers(make, text):
    model = make()
    assert text in unsupported(model.get_base_model() if hasattr(model, 'peft_config') else model)
