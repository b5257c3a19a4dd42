"Training reward models: the losses are their formulas, and the base stays as it was"

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from finetuning import Killed, kill_at, lora, pair_rows, tiny, tokenizer, verdict_rows
from peft import LoraConfig, get_peft_model

from rlops_lab.finetune.graded_text import ended
from rlops_lab.finetune.reward_models import RewardModel
from rlops_lab.finetune.reward_training import classifier, lower_layers, reward_model
from rlops_lab.models.lora import fingerprint

pytestmark = pytest.mark.filterwarnings('ignore')
TARGETS = ['q_proj', 'v_proj', 'down_proj']


def score(scorer, ids):
    with torch.no_grad():
        return scorer(input_ids=torch.tensor([ended(tokenizer, ids)])).logits.item()


def train(model, folder, data=None, **options):
    "A classifier of the token before the end"
    defaults = dict(peft_config=lora(target_modules=TARGETS), learning_rate=5e-3, batch_size=8)
    rows = verdict_rows(48) if data is None else data
    return classifier(model, tokenizer, rows, folder, **defaults | options)


@pytest.mark.parametrize('peft_config', [None, lora()])
def test_reward_model_ranks_and_leaves_the_policy_alone(tmp_path, peft_config):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    options = dict(peft_config=peft_config, epochs=6, batch_size=8, learning_rate=1e-2)
    scorer, log = reward_model(model, tokenizer, pair_rows(), tmp_path, **options)
    assert log[0]['loss'] == pytest.approx(math.log(2), abs=1e-5)
    assert log[-1]['loss'] < log[0]['loss']
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    right = []
    for row in pair_rows():
        better, worse = (score(scorer, row['prompt_ids'] + row[f'{side}_ids']) for side in ('chosen', 'rejected'))
        right.append(better > worse)
    assert np.mean(right) > 0.8


def test_a_reward_model_starts_from_a_plain_model(tmp_path):
    with pytest.raises(TypeError, match='adapters already'):
        reward_model(get_peft_model(tiny(), lora()), tokenizer, pair_rows(), tmp_path, peft_config=lora())
    with pytest.raises(ValueError, match='adapter_dir needs a peft_config'):
        reward_model(tiny(), tokenizer, pair_rows(), tmp_path, adapter_dir=tmp_path / 'adapter')


def test_a_reward_models_loss_is_bradley_and_terrys(tmp_path):
    "The second step's loss from the scores after the first, with the price for leaving 0"
    data = pair_rows(4)

    def trained(**how):
        options = dict(peft_config=lora(), batch_size=4, learning_rate=1e-2, warmup=0, schedule='constant')
        return reward_model(tiny(), tokenizer, data, tmp_path, **options, **how)

    one, log = trained(max_steps=1)[0], trained(epochs=2)[1]
    losses = []
    for row in data:
        better, worse = (score(one, row['prompt_ids'] + row[f'{side}_ids']) for side in ('chosen', 'rejected'))
        losses.append(np.logaddexp(0, worse - better) + 0.01 * (better + worse) ** 2)
    assert log[1]['loss'] == pytest.approx(np.mean(losses), rel=1e-4)
    assert log[1]['loss'] < 0.69


def test_pairs_in_micro_batches_and_in_another_state_of_the_generator(tmp_path):
    def losses(state, micro):
        torch.manual_seed(state)
        options = dict(batch_size=4, epochs=2, micro_batch_size=micro, learning_rate=1e-2)
        _, log = reward_model(tiny(), tokenizer, pair_rows(), tmp_path, peft_config=lora(), **options)
        return [entry['loss'] for entry in log]

    assert losses(1, None) == losses(2, None) == pytest.approx(losses(3, 2), rel=1e-3)


def test_the_base_stays_as_it_was(tmp_path):
    model = tiny()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    requires_grad = [weight.requires_grad for weight in model.parameters()]
    train(model, tmp_path / 'a')
    grader = RewardModel(model, tokenizer, [tmp_path / 'a'])
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert requires_grad == [weight.requires_grad for weight in model.parameters()]
    assert not any('lora' in name for name, _ in model.named_parameters())
    shared = {weight.data_ptr() for weight in model.parameters()}
    frozen = [w for name, w in grader.scorer.base_model.named_parameters() if 'lora' not in name]
    assert all(weight.data_ptr() in shared for weight in frozen)  # no copy of the weights


def test_a_killed_training_ends_alike(tmp_path):
    model = tiny()
    options = dict(epochs=1, save_steps=2, seed=3)
    whole = train(model, tmp_path / 'whole', **options)
    with pytest.raises(Killed):
        train(model, tmp_path / 'killed', on_step=kill_at(4), **options)
    resumed = train(model, tmp_path / 'killed', resume=True, **options)
    assert [entry['loss'] for entry in whole] == [entry['loss'] for entry in resumed]
    ids = verdict_rows(8, 2)['input_ids']
    a, b = (RewardModel(model, tokenizer, [tmp_path / name]).logits(ids) for name in ('whole', 'killed'))
    np.testing.assert_array_equal(a, b)


def test_micro_batches_change_nothing(tmp_path):
    whole, halves = (train(tiny(), tmp_path / str(micro), micro_batch_size=micro) for micro in (None, 2))
    assert [entry['loss'] for entry in whole] == pytest.approx([entry['loss'] for entry in halves], rel=1e-4)


def test_frozen_trunk_of_another_depth_is_another_object():
    model = tiny()
    lower = lower_layers(model, 1)
    assert len(lower.layers) == 1
    assert len(model.get_decoder().layers) == 2
    assert model.config.num_hidden_layers == 2
    assert fingerprint(model) == fingerprint(copy.deepcopy(model))


def test_misuse_is_named(tmp_path):
    with pytest.raises(ValueError, match='make it with verdict_rows'):
        train(tiny(), tmp_path, verdict_rows(4).remove_columns('label'))
    with pytest.raises(ValueError, match='needs a peft_config'):
        train(tiny(), tmp_path, peft_config=None)
    cut_off = LoraConfig(target_modules=TARGETS, layers_to_transform=[1])
    with pytest.raises(ValueError, match='but depth is 1'):
        train(tiny(), tmp_path, depth=1, peft_config=cut_off)


@pytest.mark.parametrize('labels', [[1.0] * 16, [float('nan')] + [0.0, 1.0] * 7 + [1.0], [0.5, 1.0] * 8])
def test_labels_are_zero_and_one(tmp_path, labels):
    data = verdict_rows(16).remove_columns('label').add_column('label', labels)
    with pytest.raises(ValueError, match='labels are'):
        train(tiny(), tmp_path / 'b', data)
    assert not (tmp_path / 'b').exists()
