"Merged weights: several adapters, switched ones, and layers without any"

import torch
from peft import LoraConfig, get_peft_model

from rlops_lab.models.load import load
from rlops_lab.models.lora import adapter_is_zero, adapter_parameters, merged


def two_adapters():
    "`policy` on queries and values, `critic` on queries only"
    config = LoraConfig(r=4, target_modules=['q_proj', 'v_proj'])
    model = get_peft_model(load('tiny')[0], config, adapter_name='policy')
    model.add_adapter('critic', LoraConfig(r=2, target_modules=['q_proj']))
    with torch.no_grad():
        for name in ('policy', 'critic'):
            for parameter in adapter_parameters(model, name):
                parameter.normal_(std=0.1)
    return model, model.get_decoder().layers[0].self_attn


def test_only_active_adapters_are_merged():
    model, attention = two_adapters()
    base = attention.q_proj.base_layer.weight
    for active in (['policy'], ['critic'], ['policy', 'critic']):
        model.base_model.set_adapter(active)
        expected = base + sum(attention.q_proj.get_delta_weight(name) for name in active)
        torch.testing.assert_close(merged(attention.q_proj).weight, expected)


def test_an_adapter_on_other_layers_adds_nothing():
    model, attention = two_adapters()
    model.set_adapter('critic')
    for projection in (attention.v_proj, attention.k_proj):
        base = getattr(projection, 'base_layer', projection)
        assert torch.equal(merged(projection).weight, base.weight)


def test_an_adapter_on_embeddings_never_counts_as_zero():
    model = get_peft_model(load('tiny')[0], LoraConfig(r=2, target_modules=['embed_tokens']), 'policy')
    assert not adapter_is_zero(model, 'policy')
