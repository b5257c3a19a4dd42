"Reward models read like transformers, know their members, and refuse what interrupts or misuses them"

import copy
import json

import numpy as np
import pytest

torch = pytest.importorskip('torch')
trl = pytest.importorskip('trl')
from datasets import Dataset
from finetuning import tokenizer, verdict_rows
from grpo_step import one_step
from peft import LoraConfig
from sklearn.metrics import roc_auc_score

from rlops_lab.core import rng
from rlops_lab.finetune.calibration import Platt
from rlops_lab.finetune.reward_models import RewardModel, _hashes
from rlops_lab.finetune.reward_training import classifier
from rlops_lab.finetune.verdict_data import reply_rows
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import encoded, rendered

TARGETS = ['q_proj', 'v_proj', 'down_proj']


def lora(**changes):
    return LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, **changes)


@pytest.fixture(scope='module')
def model():
    return load('tiny')


def train(model, folder, **options):
    defaults = dict(peft_config=lora(), learning_rate=5e-3, batch_size=8)
    return classifier(*model, verdict_rows(48), folder, **defaults | options)


@pytest.mark.parametrize('depth', [None, 1])
def test_a_member_reads_like_transformers(model, tmp_path, depth):
    log = train(model, tmp_path, depth=depth)
    assert log[0]['loss'] == pytest.approx(np.log(2), abs=1e-3)
    grader = RewardModel(*model, [tmp_path])
    ids = verdict_rows(20, 1)['input_ids']
    ours = grader.logits(ids)
    grader.packs = False
    np.testing.assert_allclose(ours, grader.logits(ids), atol=2e-3)
    one_by_one = np.concatenate([grader.logits([row]) for row in ids], 1)
    np.testing.assert_allclose(ours, one_by_one, atol=2e-3)
    assert len(grader.scorer.base_model.layers) == (depth or 2)


def test_small_batches_change_nothing(model, tmp_path):
    train(model, tmp_path)
    ids = verdict_rows(20, 1)['input_ids']
    large, small = (RewardModel(*model, [tmp_path], batch_tokens=n).logits(ids) for n in (4096, 50))
    np.testing.assert_allclose(large, small, atol=1e-5)


def test_members_share_what_lies_below_their_adapters(model, tmp_path):
    folders = [tmp_path / str(i) for i in range(2)]
    for seed, folder in enumerate(folders):
        train(model, folder, peft_config=lora(layers_to_transform=[1]), seed=seed)
    grader = RewardModel(*model, folders)
    ids = verdict_rows(6, 3)['input_ids']
    assert grader.first == [1, 1]
    alone = [RewardModel(*model, [folder]).logits(ids)[0] for folder in folders]
    np.testing.assert_allclose(grader.logits(ids), alone, atol=1e-5)
    assert not np.allclose(*alone)
    assert (grader.scores(ids)['disagreement'] > 0).all()


def test_calibration_is_kept_for_its_members_alone(model, tmp_path):
    both = [tmp_path / '0', tmp_path / '1']
    for seed, folder in enumerate(both):
        train(model, folder, seed=seed)
    grader = RewardModel(*model, both)
    random = rng(7, 'labels')
    data = verdict_rows(60, 4)
    labels = [label if random.random() < 0.7 else 1 - label for label in data['label']]
    fitted = grader.fit(data['input_ids'], labels)
    assert grader.platt == fitted != Platt()
    assert RewardModel(*model, both).platt == fitted
    assert RewardModel(*model, both, platt=Platt(2.0)).platt == (2, 0)
    assert RewardModel(*model, both[:1]).platt == Platt()
    train(model, both[1], seed=5)  # another member in the same folder
    assert RewardModel(*model, both).platt == Platt()
    old = dict(temperature=2.0, n=60, members=_hashes(both))
    (both[0] / 'calibration.json').write_text(json.dumps(old))
    assert RewardModel(*model, both).platt == (2, 0)


def test_folders_are_checked(model, tmp_path):
    with pytest.raises(FileNotFoundError, match='base.json'):
        RewardModel(*model, [tmp_path / 'nothing'])
    with pytest.raises(ValueError, match='no folders'):
        RewardModel(*model, [])


def test_what_the_head_cannot_read_is_refused(model, tmp_path):
    train(model, tmp_path)
    grader = RewardModel(*model, [tmp_path])
    for bad in ([], [5] * (model[0].config.max_position_embeddings + 1)):
        with pytest.raises(ValueError, match='1 of 2 episodes'):
            grader.logits([[5, 6], bad])


@pytest.mark.parametrize(
    'members, options, text',
    [
        (1, dict(pessimism=1.0), 'at least two that can disagree'),
        (2, dict(pessimism=-1.0), 'at least two that can disagree'),
        (1, dict(platt=Platt(0.0)), 'above 0'),
        (2, dict(merged=True), 'cannot be merged'),
    ],
)
def test_options_are_checked(model, tmp_path, members, options, text):
    with pytest.raises(ValueError, match=text):
        RewardModel(*model, [tmp_path] * members, **options)


def test_a_shallow_member_does_not_join_a_deep_backbone(model, tmp_path):
    train(model, tmp_path / 'shallow', depth=1)
    backbone = Backbone(copy.deepcopy(model[0]), lora(), critic='head')
    with pytest.raises(ValueError, match='reads its score after 1 layers'):
        backbone.add_reward(tmp_path / 'shallow')


def test_a_reward_function_of_grpo(model, tmp_path):
    "TRL hands texts over without the end token; the reward is that of the tokens"
    train(model, tmp_path / 'a')
    grader = RewardModel(*model, [tmp_path / 'a'])
    prompt = [dict(role='user', content='Hi')]
    plain = rendered(tokenizer, prompt, reply=True)
    ids = encoded(tokenizer, plain + 'ok' + tokenizer.eos_token)
    want = grader.scores([ids])['reward'].tolist()
    for asked, answered in (
        (prompt, [dict(role='assistant', content='ok')]),
        (prompt, [dict(role='assistant', content='ok \n')]),
        (plain, 'ok'),
        (plain, 'ok' + tokenizer.eos_token),
        (plain.rstrip(), 'ok\n'),
        (prompt, 'ok'),
        ('Hi', 'ok'),
    ):
        assert grader([asked], [answered]) == pytest.approx(want, abs=1e-6)
    trainer = trl.GRPOTrainer(
        model=load('tiny')[0],
        processing_class=tokenizer,
        args=one_step(tmp_path / 'grpo'),
        reward_funcs=[grader],
        train_dataset=Dataset.from_list([dict(prompt=plain)] * 2),
    )
    trainer.train()
    assert 0 < trainer.state.log_history[0]['rewards/reward_model/mean'] < 1


def test_a_trailing_newline_moves_no_score(model, tmp_path):
    "Rows made by hand end as chat templates write them; the head reads what it was taught, in training and after it"
    asked = [dict(role='user', content='Hi')]
    replies = [f'{"yes" if i % 2 else "no"} {i}' for i in range(48)]
    talks = [[*asked, dict(role='assistant', content=reply)] for reply in replies]
    labels = [float(i % 2) for i in range(48)]
    by_hand = [encoded(tokenizer, rendered(tokenizer, talk)) for talk in talks]
    assert all(tokenizer.decode(ids).endswith('\n') for ids in by_hand)
    rows = Dataset.from_list([dict(input_ids=ids, label=y) for ids, y in zip(by_hand, labels)])
    made = reply_rows([asked] * 48, replies, labels, tokenizer)
    options = dict(peft_config=lora(), learning_rate=5e-3, batch_size=8, epochs=4)
    for name, data in (('by hand', rows), ('made', made)):
        classifier(*model, data, tmp_path / name, **options)
    ours, theirs = (RewardModel(*model, [tmp_path / name]) for name in ('made', 'by hand'))
    rewards = ours([asked] * 48, replies)
    for grader in (ours, theirs):
        for ids in (made['input_ids'], by_hand):
            assert grader.scores(ids)['reward'] == pytest.approx(rewards, abs=1e-5)
    assert roc_auc_score(labels, rewards) > 0.9


def test_fit_says_when_training_was_short(model, tmp_path):
    train(model, tmp_path / 'one', epochs=1, learning_rate=1e-5)
    data = verdict_rows(60, 4)
    with pytest.warns(UserWarning, match='one may have been trained for too short a time: it was trained for 6 steps'):
        RewardModel(*model, [tmp_path / 'one']).fit(data['input_ids'], data['label'])
    train(model, tmp_path / 'flat', epochs=6, learning_rate=1e-6)
    with pytest.warns(UserWarning, match='saying the share of passes to every row costs 0.693'):
        RewardModel(*model, [tmp_path / 'flat']).fit(data['input_ids'], data['label'])
