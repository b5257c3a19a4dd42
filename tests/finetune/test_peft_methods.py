"""PEFT at every door: each method of its registry, and each option of LoRA, is PEFT's own model or refused by name

Methods and options are found in PEFT itself: what a new version adds is tested as well, or fails here until it is."""

import dataclasses

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
import peft
from peft_methods import DOORS, METHODS, at_door, config_of

pytestmark = pytest.mark.filterwarnings('ignore')

# these change no weights, want further input, or have no place in a plain model: PEFT itself can't merge them here
UNMERGEABLE = set(
    """ADAPTION_PROMPT BEFT CARTRIDGE CPT LILY MULTITASK_PROMPT_TUNING POLY PREFIX_TUNING PROMPT_TUNING P_TUNING
    SHADOW XLORA""".split()
)
ONLY_LORA = {'ppo', 'push'}


@pytest.mark.parametrize('door', DOORS)
@pytest.mark.parametrize('method', METHODS)
def test_a_method_is_pefts_own_model_or_refused(method, door):
    found = at_door(DOORS[door], config_of(method))
    if method == 'LORA':
        assert found == 'equal'
    if method in UNMERGEABLE:
        assert found != 'equal'
    elif door in ('merge', 'merge_inside', 'sample', 'load'):
        assert found == 'equal'
    if door in ONLY_LORA and method != 'LORA':
        assert method in found


# {option of LoraConfig: a value that is not its default}; what has no effect on the tiny model's logits is not listed
OPTIONS = dict(
    use_rslora=[True],
    use_dora=[True],
    lora_bias=[True],
    bias=['all', 'lora_only'],
    init_lora_weights=['gaussian', 'orthogonal', 'pissa', 'olora', 'mica'],
    modules_to_save=[['lm_head'], ['embed_tokens'], ['norm']],
    trainable_token_indices=[[5, 6, 7]],
    target_modules=[['q_proj', 'lm_head'], ['q_proj', 'embed_tokens'], 'all-linear'],
    layers_to_transform=[[1]],
    rank_pattern=[{'q_proj': 2}],
    alpha_pattern=[{'q_proj': 2}],
    lora_dropout=[0.5],
    alora_invocation_tokens=[[6, 7]],
    layer_replication=[[(0, 2), (1, 2)]],
    use_qalora=[True],
    velora_config=[peft.VeloraConfig(num_groups=8)],
    monteclora_config=[peft.MontecloraConfig()],
    use_bdlora=[peft.BdLoraConfig(target_modules_bd_b=['q_proj', 'v_proj'], nblocks=2)],
    kasa_config=[peft.KasaConfig()],
)
UNSEEN = set(
    """task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode r exclude_modules
    lora_alpha fan_in_fan_out layers_pattern megatron_config megatron_core loftq_config eva_config corda_config
    lora_ga_config qalora_group_size runtime_config ensure_weight_tying
    target_parameters arrow_config""".split()
)
CASES = [(name, value) for name, values in OPTIONS.items() for value in values]


def test_every_option_of_lora_is_known():
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} <= set(OPTIONS) | UNSEEN


def option(name, value):
    return config_of('LORA', **({name: value} | (dict(r=4) if name == 'use_bdlora' else {})))


@pytest.mark.parametrize('door', DOORS)
@pytest.mark.parametrize('name, value', CASES, ids=str)
def test_an_option_of_lora_is_pefts_own_model_or_refused(name, value, door):
    found = at_door(DOORS[door], option(name, value))
    assert found
