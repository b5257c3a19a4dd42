"One base in several roles: shared layers, packed rows, and full fine-tuning"

import pytest
import torch
from peft import LoraConfig

from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load


def upper_layer(*targets):
    return LoraConfig(r=4, target_modules=list(targets), layers_to_transform=[1])


def gradients(backbone, states):
    "Of the policy's parameters, by the sum of squares of some states"
    backbone.model.zero_grad()
    states.square().sum().backward()
    return [p.grad.clone() for p in backbone.policy_parameters()]


def test_untied_and_tied_roles_agree_in_bfloat16():
    model, tokenizer = load('tiny', dtype=torch.bfloat16)
    backbone = Backbone(model, upper_layer('q_proj', 'down_proj'))
    ids = torch.tensor([tokenizer('Where is my parcel?')['input_ids']])
    with torch.no_grad():
        states = backbone.hidden(ids)
        assert torch.equal(states, backbone.hidden(ids, 'reference'))
        assert torch.equal(states, backbone.hidden(ids, 'policy', backbone.shared_hidden(ids)))


def test_full_fine_tuning_keeps_a_frozen_reference():
    backbone = Backbone(load('tiny')[0], None, critic='head')
    ids = torch.tensor([[3, 4, 5]])
    before = backbone.hidden(ids, 'reference')
    with torch.no_grad():
        for parameter in backbone.policy_parameters():
            parameter.add_(0.05)
    assert torch.equal(backbone.hidden(ids, 'reference'), before)
    assert not torch.allclose(backbone.hidden(ids), before)
    with pytest.raises(ValueError, match='rounds small updates away'):
        Backbone(load('tiny', dtype=torch.bfloat16)[0], None, critic='head')


@pytest.fixture(params=['adapter', 'head'])
def trained(request):
    "A backbone whose adapters are no longer zero, with a batch: ids [3, 9], lengths, and where the real tokens are"
    torch.manual_seed(0)
    model, _ = load('tiny')
    backbone = Backbone(model, upper_layer('q_proj', 'up_proj', 'down_proj'), critic=request.param)
    with torch.no_grad():
        for parameter in backbone.policy_parameters() + backbone.critic_parameters():
            parameter.normal_(std=0.1)
    lengths = [9, 4, 1]
    ids = torch.randint(3, 100, (3, 9))
    real = torch.arange(9) < torch.tensor(lengths)[:, None]
    assert backbone.packs and backbone.shared_layers == 1
    return backbone, ids, lengths, real


@pytest.mark.parametrize('role', ['policy', 'reference', 'critic'])
def test_rows_with_lengths_are_computed_packed_and_alike(trained, role):
    backbone, ids, lengths, real = trained
    plain = backbone.hidden(ids, role)
    packed = backbone.hidden(ids, role, backbone.shared_hidden(ids, lengths), lengths)
    torch.testing.assert_close(packed[real], plain[real], atol=1e-5, rtol=1e-5)
    assert not packed[~real].any()


@pytest.mark.parametrize('role', ['policy', 'reference', 'critic'])
def test_named_positions_get_the_states_that_they_have_among_all(trained, role):
    backbone, ids, lengths, _ = trained
    positions = torch.tensor([2, 8, 9, 12, 18])
    expected = backbone.hidden(ids, role).flatten(0, 1)[positions]
    for options in ((None, None), (backbone.shared_hidden(ids, lengths), lengths)):
        states = backbone.hidden(ids, role, *options, positions)
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_the_same_packed_and_at_named_positions(trained):
    backbone, ids, lengths, real = trained
    expected = gradients(backbone, backbone.hidden(ids)[real])
    options = dict(shared=backbone.shared_hidden(ids, lengths), lengths=lengths)
    packed = gradients(backbone, backbone.hidden(ids, **options)[real])
    positions = real.flatten().nonzero()[:, 0]
    named = gradients(backbone, backbone.hidden(ids, **options, positions=positions))
    for found in (packed, named):
        for one, other in zip(expected, found):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    'config, critic',
    [(None, 'head'), (LoraConfig(r=4, target_modules=['q_proj'], lora_dropout=0.1), 'adapter')],
    ids=['full fine-tuning', 'dropout'],
)
def test_what_cannot_be_packed_goes_through_the_models_own_layers(config, critic):
    ids, lengths = torch.randint(3, 100, (2, 5)), [5, 3]
    backbone = Backbone(load('tiny')[0], config, critic)
    assert not backbone.packs
    states = backbone.hidden(ids, 'policy')
    torch.testing.assert_close(backbone.hidden(ids, 'policy', None, lengths), states)
    named = backbone.hidden(ids, 'policy', None, lengths, torch.tensor([1, 6]))
    assert torch.equal(named, states.flatten(0, 1)[[1, 6]])
