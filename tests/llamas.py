"Small models of the architectures whose layers are written down, with and without adapters"

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlops_lab.models.packed_layers import LINEARS

SIZES = dict(
    vocab_size=64,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
)
NAMES = [path.split('.')[1] for path in LINEARS.values()]


def llama(**config):
    return LlamaForCausalLM(LlamaConfig(**SIZES | config))


def scaled_llama():
    return llama(rope_parameters=dict(rope_type='linear', factor=2.0, rope_theta=1e4))


def mistral(sliding_window=None):
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=sliding_window))


def qwen():
    return Qwen2ForCausalLM(Qwen2Config(**SIZES))


def llama_with_biases():
    return llama(head_dim=16, attention_bias=True, mlp_bias=True)


ARCHITECTURES = [llama, llama_with_biases, scaled_llama, mistral, qwen]


def adapted(model, **config):
    "The model with an adapter that has an effect, on all seven matrices unless told otherwise"
    torch.manual_seed(0)
    lora = LoraConfig(**(dict(r=4, target_modules=NAMES) | config))
    peft = get_peft_model(model, lora, adapter_name='policy').eval()
    for name, p in peft.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(p, std=0.1)
    return peft
