"Adapted models: what is merged answers like PEFT's model, tied or untied as it must be, and that model is left alone"

import copy

import pytest
import torch
from finetuning import lora, tiny
from moved_models import logits, moved
from peft import IA3Config, LoHaConfig, LoraConfig, PeftMixedModel, PromptTuningConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from rlops_lab.models.adapted import check_trainable, has_adapters, is_plain_lora, merge, plain_copy, sampling_base
from rlops_lab.models.lora import merged

pytestmark = pytest.mark.filterwarnings('ignore')
LOHA = LoHaConfig(r=4, target_modules=['q_proj', 'v_proj'])


def test_a_copy_leaves_the_model_as_it_was():
    model = moved(get_peft_model(tiny(), LOHA))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    modes = {name: weight.requires_grad for name, weight in model.named_parameters()}
    training = model.train().training
    torch.testing.assert_close(logits(plain_copy(model)), logits(model.eval()), atol=1e-4, rtol=0)
    assert training and before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert modes == {name: weight.requires_grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize('config', [LOHA, lora(trainable_token_indices=[5, 6])])
def test_in_bfloat16_the_sum_is_rounded_once(config):
    model = moved(get_peft_model(tiny(torch.bfloat16), config))
    exact = plain_copy(copy.deepcopy(model).float())
    found = plain_copy(model)
    assert found.dtype == torch.bfloat16
    for (name, rounded), weight in zip(found.named_parameters(), exact.parameters()):
        assert torch.equal(rounded, weight.to(torch.bfloat16)), name
    frequencies = found.model.rotary_emb.inv_freq
    assert frequencies.dtype == tiny(torch.bfloat16).model.rotary_emb.inv_freq.dtype


def test_shared_output_layers_stay_shared_where_nothing_parts_them():
    for config, shared in [
        (LOHA, True),
        (lora(trainable_token_indices=[5, 6]), True),
        (lora(target_modules=['lm_head']), False),
        (lora(modules_to_save=['lm_head']), False),
        (lora(modules_to_save=['embed_tokens']), False),
    ]:
        model = moved(get_peft_model(tiny(), config))
        plain = merge(model)
        assert (plain.lm_head.weight is plain.get_input_embeddings().weight) is shared
        assert plain.config.tie_word_embeddings is shared


def test_a_merged_adapter_is_not_added_again():
    model = moved(get_peft_model(tiny(), lora()))
    expected = logits(model)
    model.merge_adapter()
    with pytest.raises(ValueError, match='merged already'):
        merged(model.get_decoder().layers[0].self_attn.q_proj)
    torch.testing.assert_close(logits(merge(model)), expected, atol=1e-4, rtol=0)


def test_adapters_that_are_switched_off_or_not_in_use_are_left_out():
    model = moved(get_peft_model(tiny(), LOHA, adapter_name='a'))
    model.add_adapter('b', LOHA)
    model.set_adapter('b')
    moved(model)
    one = logits(model)
    torch.testing.assert_close(logits(plain_copy(model)), one, atol=1e-4, rtol=0)
    model.set_adapter('a')
    other = logits(model)
    assert (one - other).abs().max() > 1e-3
    torch.testing.assert_close(logits(plain_copy(model)), other, atol=1e-4, rtol=0)


def test_adapters_of_several_methods():
    model = PeftMixedModel(tiny(), lora(target_modules=['q_proj']), 'a')
    model.add_adapter('b', LoHaConfig(r=4, target_modules=['v_proj']))
    model.set_adapter(['a', 'b'])
    model = moved(model)
    assert not is_plain_lora(model)
    torch.testing.assert_close(logits(plain_copy(model)), logits(model), atol=1e-4, rtol=0)


def test_layers_that_are_not_linear():
    "GPT-2 keeps its matrices transposed; LoRA on them is left to PEFT's own layer"
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    model = moved(get_peft_model(model, LoraConfig(r=4, target_modules=['c_attn'], fan_in_fan_out=True)))
    assert sampling_base(model) is model.get_base_model()
    torch.testing.assert_close(logits(merge(model)), logits_of_gpt2(model), atol=1e-4, rtol=0)


def logits_of_gpt2(model):
    model = moved(get_peft_model(GPT2LMHeadModel(model.config), LoraConfig())) if model is None else model
    return logits(model)


def test_what_a_trainer_put_over_forward_does_not_answer():
    model = moved(get_peft_model(tiny(), LOHA))
    expected = logits(model)
    inside = model.get_base_model()
    inside.forward = lambda *args, **kwargs: 1 / 0
    torch.testing.assert_close(logits(plain_copy(model)), expected, atol=1e-4, rtol=0)


def test_trying_leaves_the_draws_alone():
    model = get_peft_model(tiny(), LOHA)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_trainable(model, needs_reference=True)
    assert torch.equal(torch.rand(3), expected)


def test_a_reference_that_would_move_along_is_refused():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    config = LoraConfig(r=4, target_modules=['c_attn'], fan_in_fan_out=True, bias='all')
    adapted = get_peft_model(model, config)
    check_trainable(adapted)
    with pytest.raises(ValueError, match='with adapters off this is not the base'):
        check_trainable(adapted, needs_reference=True)


def test_the_configuration_of_a_bare_inside_may_be_lost():
    inside = moved(
        get_peft_model(tiny(), IA3Config(target_modules=['k_proj'], feedforward_modules=[]))
    ).get_base_model()
    del inside.peft_config
    assert has_adapters(inside) and not is_plain_lora(inside)
    with pytest.raises(ValueError, match='give the PeftModel itself'):
        merge(inside)


def test_a_model_without_adapters():
    model = tiny()
    assert not has_adapters(model) and is_plain_lora(model) and sampling_base(model) is model
    with pytest.raises(TypeError, match='no adapters'):
        merge(model)
    prompts = get_peft_model(model, PromptTuningConfig(task_type='CAUSAL_LM', num_virtual_tokens=2))
    assert has_adapters(prompts) and not has_adapters(model)
