"Counts of a layer: windows as each family uses them, experts by hand"

import pytest

from rlops_lab.tokenomics.architectures import CONFIGS
from rlops_lab.tokenomics.layer_counts import (
    FULL,
    SLIDING,
    attention_counts,
    delta_net_counts,
    feed_forward_counts,
    layer_types,
)


@pytest.mark.parametrize(
    'kind, used, windows',
    [('qwen2', None, 0), ('qwen2', False, 0), ('qwen2', True, 4), ('mistral', None, 32), ('phi3', None, 32)],
)
def test_a_window_in_the_config_is_used_as_the_family_uses_it(kind, used, windows):
    choice = {} if used is None else dict(use_sliding_window=used)
    config = CONFIGS['llama-3-8b'].fields | dict(sliding_window=4096) | choice
    # Qwen's max_window_layers is 28 where the config does not give it
    assert layer_types(config, kind).count(SLIDING) == windows


def test_layer_types_of_the_config_win():
    config = dict(num_hidden_layers=2, layer_types=[SLIDING, FULL], full_attention_interval=2)
    assert layer_types(config, 'qwen3_5') == [SLIDING, FULL]


def test_sparse_layers_by_hand():
    config = dict(
        hidden_size=10,
        num_hidden_layers=8,
        intermediate_size=40,
        moe_intermediate_size=5,
        num_experts=4,
        num_experts_per_tok=2,
        decoder_sparse_step=2,
        mlp_only_layers=[3],
        shared_expert_intermediate_size=7,
    )
    parts = feed_forward_counts(config, 'qwen3_moe')
    assert parts.moe_layers == 3  # layers 1, 5 and 7 counted from 0; 3 is excepted
    router, shared, gate = 10 * 4, 3 * 10 * 7, 10
    assert parts.dense == 5 * 3 * 10 * 40 + 3 * (router + shared + gate)
    assert (parts.expert, parts.top_k, parts.others) == (3 * 10 * 5, 2, 0)


def test_grouped_attention_by_hand():
    config = dict(
        hidden_size=10, num_attention_heads=4, num_key_value_heads=2, head_dim=3, attention_bias=True
    )
    plain, gated = attention_counts(config, 'llama'), attention_counts(config, 'qwen3_next')
    assert (plain.cached, plain.mixing, plain.kv_heads) == (2 * 2 * 3, 2 * 4 * 3, 2)
    assert plain.matrices == 10 * (4 + 2 * 2) * 3 + 4 * 3 * 10
    assert plain.others == (4 + 2 * 2) * 3 + 10  # biases of queries, keys, values and of the output
    assert gated.matrices - plain.matrices == 10 * 4 * 3  # a gate as wide as the queries
    assert gated.others - plain.others == 2 * 3  # norms of queries and keys


def test_latent_attention_by_hand():
    config = dict(
        hidden_size=10,
        num_attention_heads=4,
        kv_lora_rank=6,
        qk_rope_head_dim=2,
        qk_nope_head_dim=3,
        v_head_dim=5,
    )
    counts = attention_counts(config, 'deepseek_v2')
    assert (counts.cached, counts.kv_heads, counts.others) == (6 + 2, 1, 6)
    assert (counts.mixing, counts.mixing_decode) == (4 * (3 + 2 + 5), 4 * (2 * 6 + 2))
    assert counts.matrices == 10 * 4 * 5 + 10 * 8 + 6 * 4 * 8 + 4 * 5 * 10
    ranked = attention_counts(config | dict(q_lora_rank=7), 'deepseek_v2')
    assert ranked.matrices - counts.matrices == 10 * 7 + 7 * 4 * 5 - 10 * 4 * 5


def test_delta_net_by_hand():
    config = dict(
        hidden_size=10,
        linear_key_head_dim=2,
        linear_value_head_dim=3,
        linear_num_key_heads=4,
        linear_num_value_heads=5,
    )
    counts = delta_net_counts(config)
    keys, values = 4 * 2, 5 * 3
    assert counts.matrices == 10 * (2 * keys + 2 * values + 2 * 5) + values * 10
    assert counts.state_bytes == 2 * 2 * values + 2 * 3 * (2 * keys + values)
    exact = delta_net_counts(config | dict(mamba_ssm_dtype='float32'))
    assert exact.state_bytes - counts.state_bytes == 2 * 2 * values  # the matrices twice as wide
