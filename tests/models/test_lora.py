"Merged adapters where a model has several"

import torch
from llamas import adapted, llama
from peft import LoraConfig

from rlops_lab.samplers.kv_cache import merged


def test_an_adapter_on_other_layers_is_not_merged():
    "A policy's adapter on some matrices, a reward model's on others, as roles on one backbone have them"
    model = adapted(llama(), target_modules=['q_proj'])
    model.add_adapter('other', LoraConfig(r=2, target_modules=['v_proj'], init_lora_weights=False))
    attention = model.get_base_model().model.layers[0].self_attn

    def is_plain(projection):
        return torch.equal(merged(projection)[0], projection.base_layer.weight)

    assert is_plain(attention.v_proj)
    assert not is_plain(attention.q_proj)
    model.set_adapter('other')
    assert is_plain(attention.q_proj)
    assert not is_plain(attention.v_proj)
