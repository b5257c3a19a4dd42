"One base in several roles: shared layers, packed rows, and full fine-tuning"

import pytest
import torch

from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load


def test_untied_and_tied_roles_agree_in_bfloat16():
    from peft import LoraConfig

    model, tokenizer = load('tiny', dtype=torch.bfloat16)
    b = Backbone(model, LoraConfig(r=4, target_modules=['q_proj', 'down_proj'], layers_to_transform=[1]))
    ids = torch.tensor([tokenizer('Where is my parcel?')['input_ids']])
    with torch.no_grad():
        assert torch.equal(b.hidden(ids), b.hidden(ids, 'reference')) and torch.equal(
            b.hidden(ids, 'policy', b.trunk(ids)), b.hidden(ids)
        )


def test_full_fine_tuning_keeps_a_frozen_reference():
    b = Backbone(load('tiny')[0], None, critic='head')
    ids = torch.tensor([[3, 4, 5]])
    before = b.hidden(ids, 'reference')
    with torch.no_grad():
        [p.add_(0.05) for p in b.policy_parameters()]
    assert torch.equal(b.hidden(ids, 'reference'), before) and not torch.allclose(b.hidden(ids), before)
    with pytest.raises(ValueError, match='rounds small updates away'):
        Backbone(load('tiny', dtype=torch.bfloat16)[0], None, critic='head')


@pytest.mark.parametrize('critic', ['adapter', 'head'])
def test_rows_with_lengths_are_computed_packed_and_alike(critic):
    from peft import LoraConfig

    torch.manual_seed(0)
    b = Backbone(
        load('tiny')[0],
        LoraConfig(r=4, target_modules=['q_proj', 'up_proj', 'down_proj'], layers_to_transform=[1]),
        critic=critic,
    )
    with torch.no_grad():
        [p.normal_(std=0.1) for p in b.policy_parameters() + b.critic_parameters()]
    lengths = [9, 4, 1]
    ids = torch.randint(3, 100, (3, 9))
    real = torch.arange(9) < torch.tensor(lengths)[:, None]
    assert b.packs and b.shared_layers == 1
    for role in ('policy', 'reference', 'critic'):
        plain, packed = b.hidden(ids, role), b.hidden(ids, role, b.trunk(ids, lengths), lengths)
        torch.testing.assert_close(packed[real], plain[real], atol=1e-5, rtol=1e-5)
        assert not packed[~real].any()
        wanted = torch.tensor([2, 8, 9, 12, 18])
        for options in ((None, None), (b.trunk(ids, lengths), lengths)):
            torch.testing.assert_close(
                b.hidden(ids, role, *options, wanted), plain.flatten(0, 1)[wanted], atol=1e-5, rtol=1e-5
            )
    grads = []
    for options in ({}, dict(lengths=lengths, trunk=b.trunk(ids, lengths))):
        b.model.zero_grad()
        b.hidden(ids, 'policy', **options)[real].square().sum().backward()
        grads.append([p.grad.clone() for p in b.policy_parameters()])
    b.model.zero_grad()
    b.hidden(ids, 'policy', wanted=real.flatten().nonzero()[:, 0], **options).square().sum().backward()
    grads.append([p.grad.clone() for p in b.policy_parameters()])
    for other in grads[1:]:
        for a, c in zip(grads[0], other):
            torch.testing.assert_close(a, c, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_packed_goes_the_usual_way():
    from peft import LoraConfig

    ids, lengths = torch.randint(3, 100, (2, 5)), [5, 3]
    whole = Backbone(load('tiny')[0], None, critic='head')
    odd = Backbone(load('tiny')[0], LoraConfig(r=4, target_modules=['q_proj'], lora_dropout=0.1))
    for b in (whole, odd):
        assert not b.packs
        torch.testing.assert_close(b.hidden(ids, 'policy', None, lengths), b.hidden(ids, 'policy'))
        assert torch.equal(
            b.hidden(ids, 'policy', None, lengths, torch.tensor([1, 6])),
            b.hidden(ids, 'policy').flatten(0, 1)[[1, 6]],
        )
