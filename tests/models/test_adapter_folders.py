"What `load` opens beside models: adapters of ours and of others, and checkpoints of PPO, on their own base"

import json

import pytest
import torch
from finetuning import labelled_rows, lora, tokenizer
from moved_models import logits, moved
from peft import LoHaConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM

from rlops_lab.finetune.sft import sft
from rlops_lab.models.adapted import has_adapters, merge
from rlops_lab.models.adapter_folders import AdapterFolder, base_note, find_adapter, open_adapter, write_note
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load, tiny

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def base(tmp_path):
    "A model in a folder, as anybody's"
    model, tokenizer = tiny(seed=4)
    model.save_pretrained(tmp_path / 'base')
    tokenizer.save_pretrained(tmp_path / 'base')
    return tmp_path / 'base'


def adapter(base, folder, config=None):
    "An adapter that PEFT alone wrote"
    config = config or lora(task_type='CAUSAL_LM')
    model = moved(get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config))
    model.save_pretrained(folder)
    return model


def same(folder, expected):
    model, tokenizer = load(str(folder), dtype=torch.float32)
    assert not has_adapters(model) and not model.training
    torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=0)
    return model, tokenizer


@pytest.mark.parametrize('config', [None, LoHaConfig(r=4, target_modules=['q_proj'], task_type='CAUSAL_LM')])
def test_an_adapter_of_somebody_else(base, tmp_path, config):
    expected = logits(adapter(base, tmp_path / 'a', config))
    model, tokenizer = same(tmp_path / 'a', expected)
    assert Backbone(model, lora()).lora  # it is a base like any other
    tokenizer.model_max_length = 77
    tokenizer.save_pretrained(tmp_path / 'a')
    assert load(str(tmp_path / 'a'))[1].model_max_length == 77
    tokenizer.add_tokens(['<one>'])
    tokenizer.save_pretrained(tmp_path / 'a')
    with pytest.raises(ValueError, match='resize_token_embeddings'):
        load(str(tmp_path / 'a'))


def test_what_transformers_loads_from_an_adapters_folder_can_be_merged(base, tmp_path):
    expected = logits(adapter(base, tmp_path / 'a'))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / 'a', dtype=torch.float32)
    with pytest.raises(TypeError, match='models.adapted.merge'):
        Backbone(model, lora())
    torch.testing.assert_close(logits(merge(model)), expected, atol=1e-4, rtol=0)


def test_the_bases_revision_is_asked_for(base, tmp_path):
    adapter(base, tmp_path / 'a')
    file = tmp_path / 'a/adapter_config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(revision='v2')))
    asked = []

    def read(name, dtype, revision):
        asked.append((name, revision))
        return AutoModelForCausalLM.from_pretrained(base, dtype=dtype), tokenizer

    open_adapter(find_adapter(str(tmp_path / 'a')), read, torch.float32)
    assert asked == [(str(base), 'v2')]


def test_a_checkpoint_of_ppo(base, tmp_path):
    model, _ = load(str(base), dtype=torch.float32)
    backbone = Backbone(model, lora())
    moved(backbone.model)
    expected = logits(backbone.model)
    backbone.save(tmp_path / 'checkpoint')
    same(tmp_path / 'checkpoint', expected)
    same(tmp_path / 'checkpoint/policy', expected)
    with pytest.raises(ValueError, match='is the critic of a checkpoint'):
        load(str(tmp_path / 'checkpoint/critic'))


def test_a_checkpoint_of_a_model_that_was_trained_whole(base, tmp_path):
    model, _ = load(str(base), dtype=torch.float32)
    model.requires_grad_(True)
    backbone = Backbone(model, None, critic='head')
    moved(model, 0.01)
    backbone.save(tmp_path / 'checkpoint')
    _, own = same(tmp_path / 'checkpoint', logits(model))
    assert own.get_vocab() == tokenizer.get_vocab()


def test_a_policy_that_began_at_a_fine_tuned_model_is_not_put_on_its_base(tmp_path):
    tuned, _ = sft(
        load('tiny')[0], tokenizer, labelled_rows(), tmp_path / 'sft', peft_config=lora(), learning_rate=1e-2
    )
    backbone = Backbone(tuned, lora())
    backbone.save(tmp_path / 'ppo')
    with pytest.raises(ValueError, match='trained on other weights than tiny has'):
        load(str(tmp_path / 'ppo'))
    tuned_again = merge(backbone.model)
    tuned_again.save_pretrained(tmp_path / 'tuned')
    tokenizer.save_pretrained(tmp_path / 'tuned')
    second = Backbone(load(str(tmp_path / 'tuned'), dtype=torch.float32)[0], lora())
    second.save(tmp_path / 'second')
    same(tmp_path / 'second', logits(second.model))


def test_an_adapter_that_sft_kept(tmp_path):
    options = dict(peft_config=lora(), learning_rate=1e-2, adapter_dir=tmp_path / 'kept')
    model, _ = sft(load('tiny')[0], tokenizer, labelled_rows(), tmp_path / 'run', **options)
    found = find_adapter(str(tmp_path / 'kept'))
    assert isinstance(found, AdapterFolder) and found.note == base_note(load('tiny')[0])
    same(tmp_path / 'kept', logits(model))


def test_a_wrong_base_is_an_error_not_a_warning(base, tmp_path):
    adapter(base, tmp_path / 'a', lora(task_type='CAUSAL_LM', target_modules=['q_proj']))
    file = tmp_path / 'a/adapter_config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(target_modules=['q_proj', 'v_proj'])))
    with pytest.raises(ValueError, match='does not fit'):
        load(str(tmp_path / 'a'))
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(base_model_name_or_path=None)))
    with pytest.raises(ValueError, match='names no base'):
        load(str(tmp_path / 'a'))
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(base_model_name_or_path=str(tmp_path / 'gone'))))
    with pytest.raises(ValueError, match='gone'):
        load(str(tmp_path / 'a'))


def test_a_grader_is_no_policy(base, tmp_path):
    adapter(base, tmp_path / 'a')
    file = tmp_path / 'a/adapter_config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(task_type=TaskType.SEQ_CLS.value)))
    with pytest.raises(ValueError, match='RewardModel'):
        load(str(tmp_path / 'a'))


def test_a_note_of_another_kind_is_none(tmp_path, base):
    adapter(base, tmp_path / 'a')
    (tmp_path / 'a/base.json').write_text(json.dumps(dict(fingerprint='x')))
    assert find_adapter(str(tmp_path / 'a')).note is None
    write_note(tmp_path / 'a', base_note(tiny()[0]))
    with pytest.raises(ValueError, match='other weights'):
        load(str(tmp_path / 'a'))
