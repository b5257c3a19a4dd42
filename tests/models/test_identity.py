"Lineage of models: equal digests are equal weights, whatever stands around them"

import pytest
import torch
from finetuning import labelled_rows, lora, tiny, tokenizer
from peft import LoHaConfig, get_peft_model

from rlops_lab.finetune.sft import sft
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.identity import model_lineage, weights_digest
from rlops_lab.samplers.local import HFSampler

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.mark.parametrize(
    'config', [lora(), LoHaConfig(r=4, target_modules=['q_proj']), lora(trainable_token_indices=[5])]
)
def test_adapters_leave_the_bases_digest_alone(config):
    plain = weights_digest(tiny())
    model = get_peft_model(tiny(), config)
    assert weights_digest(model) == weights_digest(model.get_base_model()) == plain
    assert weights_digest(model, adapter=True) == weights_digest(model.get_base_model(), adapter=True) != ''


def test_every_number_counts():
    model, seen = tiny(), set()
    for name, weight in model.named_parameters():
        flat = weight.data.view(-1)
        flat[len(flat) // 3] += 1e-3
        seen.add(weights_digest(model))
    assert len(seen) == len(list(model.parameters()))
    assert weights_digest(tiny(torch.bfloat16)) != weights_digest(tiny())


def test_the_adapter_in_use_is_named():
    backbone = Backbone(tiny(), lora())
    with torch.no_grad():
        for weight in backbone.policy_parameters():
            weight.add_(0.01)
    policy = weights_digest(backbone.base, adapter=True)
    with backbone.role('critic') as model:
        critic = weights_digest(model, adapter=True)
    with backbone.role('reference') as model:
        assert weights_digest(model, adapter=True) == ''
    assert policy != critic


def test_two_runs_do_not_share_an_id(tmp_path):
    ids = {model_lineage(tiny()).id}
    for seed in range(2):
        options = dict(peft_config=lora(), learning_rate=1e-2, seed=seed)
        model, _ = sft(tiny(), tokenizer, labelled_rows(), tmp_path / str(seed), **options)
        lineage = HFSampler(model, tokenizer).lineage()
        assert lineage.model == 'tiny' and lineage.revision
        ids.add(lineage.id)
    assert len(ids) == 3
