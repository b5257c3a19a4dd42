"Roles of the backbone: three models in one, each with its own gradients, and what would train the wrong thing"

import pytest
import torch
from policies import SHAPE, flat, lora, reward_adapter, shaken, tiny
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from rlops_lab.models.backbone import Backbone


def test_roles_are_three_models_and_nest():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (1, 7))
    with torch.no_grad():
        out = {r: b.hidden(ids, r) for r in ('policy', 'reference', 'critic')}
        for x, y in (('policy', 'reference'), ('policy', 'critic'), ('reference', 'critic')):
            assert not torch.allclose(out[x], out[y], atol=1e-3)
        with b.role('critic'):
            with b.role('reference'):
                torch.testing.assert_close(
                    b.base.get_decoder()(input_ids=ids).last_hidden_state, out['reference']
                )
            torch.testing.assert_close(
                b.base.get_decoder()(input_ids=ids).last_hidden_state, out['critic']
            )  # another attention kernel: equal to rounding
        assert torch.equal(b.hidden(ids, 'policy'), out['policy'])
    with pytest.raises(ValueError, match='judge'):
        b.hidden(ids, 'judge')


def test_a_fresh_policy_is_the_reference_and_a_fresh_critic_says_zero():
    b = Backbone(tiny(), lora())
    ids = torch.randint(0, 16, (2, 7))
    with torch.no_grad():
        assert torch.equal(b.hidden(ids, 'policy'), b.hidden(ids, 'reference'))
        assert not b.values(b.hidden(ids, 'critic')).any()


def test_each_loss_reaches_its_own_adapter_only():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (2, 7))
    b.hidden(ids, 'policy').sum().backward()
    assert all(p.grad is not None for p in b.policy_parameters()) and all(
        p.grad is None for p in b.critic_parameters()
    )
    for p in b.policy_parameters():
        p.grad = None
    b.values(b.hidden(ids, 'critic')).sum().backward()
    assert all(p.grad is None for p in b.policy_parameters()) and all(
        p.grad is not None for p in b.critic_parameters()
    )
    assert all(
        p.grad is None and not p.requires_grad for n, p in b.model.named_parameters() if 'lora_' not in n
    )


def test_bfloat16_base_computes_in_bfloat16_with_float32_adapters():
    b = shaken(Backbone(tiny(torch.bfloat16), lora()))
    hidden = b.hidden(torch.randint(0, 16, (1, 7)), 'policy')
    hidden.float().sum().backward()
    assert hidden.dtype == torch.bfloat16 and {
        p.dtype for p in b.policy_parameters() + b.critic_parameters()
    } == {torch.float32}
    assert {p.grad.dtype for p in b.policy_parameters()} == {torch.float32}


def test_padding_on_the_right_needs_no_mask():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (1, 7))
    padded = torch.nn.functional.pad(ids, (0, 5))
    with torch.no_grad():
        torch.testing.assert_close(b.hidden(padded)[:, :7], b.hidden(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('critic', ['adapter', 'head', 'full'])
def test_saved_set_has_the_value_head(tmp_path, critic):
    b = shaken(Backbone(tiny(), lora(), critic=critic))
    b.save(tmp_path)
    other = Backbone(tiny(), lora(), critic=critic)
    other.load(tmp_path)
    assert torch.equal(flat(b.policy_parameters()), flat(other.policy_parameters()))
    assert torch.equal(flat(b.critic_parameters()), flat(other.critic_parameters()))
    (tmp_path / 'value_head.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='value_head'):
        other.load(tmp_path)


def test_loading_another_rank_is_an_error(tmp_path):
    Backbone(tiny(), lora()).save(tmp_path)
    with pytest.raises((ValueError, RuntimeError)):
        Backbone(tiny(), lora(r=8)).load(tmp_path)


def test_what_the_backbone_refuses():
    from peft import get_peft_model

    with pytest.raises(TypeError, match='adapted.merge'):
        Backbone(get_peft_model(tiny(), lora()), lora())
    with pytest.raises(ValueError, match='float32'):
        Backbone(tiny(torch.bfloat16), None, critic='head')
    with pytest.raises(ValueError, match='use_dora'):
        Backbone(tiny(), lora(use_dora=True))
    with pytest.raises(ValueError, match='critic='):
        Backbone(tiny(), lora(), critic='both')
    with pytest.raises(ValueError, match='no weight of the model is trainable'):
        Backbone(tiny().requires_grad_(False), None, critic='head')


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(init_lora_weights='pissa'), "init_lora_weights='pissa'"),
        (dict(lora_bias=True), 'lora_bias=True'),
        (dict(modules_to_save=['lm_head']), 'modules_to_save'),
        (dict(bias='all'), "bias='all'"),
        (dict(trainable_token_indices=[1]), 'trainable_token_indices'),
        (dict(target_modules=['q_proj', 'lm_head']), 'output embeddings'),
    ],
)
@pytest.mark.parametrize('critic', ['adapter', 'head'])
def test_adapters_that_would_not_be_trained_or_would_change_the_reference_are_refused(change, text, critic):
    with pytest.raises(ValueError, match=text):
        Backbone(tiny(), lora(**change), critic=critic)


def test_adapters_of_another_kind_are_refused_and_other_plain_ones_are_not():
    from peft import IA3Config

    with pytest.raises(ValueError, match='peft_type'):
        Backbone(tiny(), IA3Config(target_modules=['k_proj'], feedforward_modules=[]), critic='head')
    for change in (
        dict(init_lora_weights='gaussian'),
        dict(use_rslora=True),
        dict(rank_pattern=dict(q_proj=2)),
        dict(target_modules=['q_proj', 'embed_tokens']),
        dict(lora_dropout=0.1),
    ):
        Backbone(tiny(), lora(**change))


@pytest.mark.parametrize(
    'make',
    [
        lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=1.0)),
        lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)),
    ],
)
def test_architectures_that_change_logits_after_the_head_are_refused(make):
    torch.manual_seed(0)
    model = make()
    model.get_output_embeddings().weight.data.mul_(50)
    with pytest.raises(ValueError, match='not supported'):
        Backbone(model, lora())


@pytest.mark.parametrize('packs', [True, False])
@pytest.mark.parametrize('upper', [True, False])
def test_a_reward_model_joins_the_backbone_and_says_the_same(tmp_path, upper, packs):
    model = tiny()
    scorer = reward_adapter(tmp_path, model)
    config = lora(target_modules=['q_proj', 'v_proj'], layers_to_transform=[1]) if upper else lora()
    b = shaken(Backbone(model, config))
    before = [b.hidden(torch.tensor([[1, 2, 3]]), r).detach() for r in ('policy', 'reference', 'critic')]
    shared = b.shared_layers
    b.add_reward(tmp_path)
    b.packs = packs  # rows end to end, or padded as on a GPU
    assert b.shared_layers == 0 and shared == int(upper)  # the reward model's adapter sits on every layer
    for was, r in zip(before, ('policy', 'reference', 'critic')):
        torch.testing.assert_close(b.hidden(torch.tensor([[1, 2, 3]]), r), was)
    assert not any('reward' in n for n, p in b.model.named_parameters() if p.requires_grad)
    assert len(b.policy_parameters()) == len([n for n, _ in b.model.named_parameters() if '.policy.' in n])
    rows = [[1, 5, 3, 0], [1, 7]]
    with torch.no_grad():
        want = torch.tensor([scorer(input_ids=torch.tensor([r])).logits.item() for r in rows])
    torch.testing.assert_close(
        b.rewards(torch.tensor([[1, 5, 3, 0], [1, 7, 0, 0]]), [4, 2]), want, atol=1e-4, rtol=1e-4
    )


def test_a_reward_model_of_another_base_or_without_adapters_is_refused(tmp_path):
    reward_adapter(tmp_path, tiny())
    with pytest.raises(ValueError, match='another base'):
        Backbone(tiny(seed=1), lora()).add_reward(tmp_path)
    with pytest.raises(ValueError, match='frozen base'):
        Backbone(tiny(), None, critic='head').add_reward(tmp_path)
    with pytest.raises(FileNotFoundError, match='adapter_dir'):
        Backbone(tiny(), lora()).add_reward(tmp_path / 'nothing')
