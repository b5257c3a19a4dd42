"Reward models beside scikit-learn and scipy, and what interrupts or misuses them."

import copy

import numpy as np, pytest, torch
from datasets import Dataset
from peft import LoraConfig
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss as their_log_loss, roc_auc_score

from rlops_lab.core import rng
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.lora import fingerprint
from rlops_lab.models.load import load
from rlops_lab.finetune.grader_reports import (
    BagOfWords,
    fit_temperature,
    length_bias,
    log_loss,
    reliability,
    separates,
    sigmoid,
)
from rlops_lab.finetune.reward_models import RewardModel, classifier, lower_layers, parts, verdict_rows
from rlops_lab.rollouts.encoding import encoded, rendered

TARGETS = ['q_proj', 'v_proj', 'down_proj']


@pytest.fixture(scope='module')
def model():
    return load('tiny')


def rows(n, seed=0):
    r = rng(seed, 'rows')
    return Dataset.from_list(
        [
            dict(
                input_ids=r.integers(3, 250, int(r.integers(5, 40))).tolist() + [3 + i % 2],
                label=float(i % 2),
            )
            for i in range(n)
        ]
    )


def train(model, folder, data=None, **options):
    return classifier(
        *model,
        data if data is not None else rows(48),
        folder,
        **dict(
            peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS),
            learning_rate=5e-3,
            batch_size=8,
        )
        | options,
    )


def test_figures_are_those_of_scikit_learn():
    r = rng(0, 'figures')
    p, y = r.random(300).round(2), r.random(300) < 0.4
    found = reliability(p, y)
    for e, theirs in (
        (found.auroc, roc_auc_score(y, p)),
        (found.brier, brier_score_loss(y, p)),
        (found.log_loss, their_log_loss(y, np.clip(p, 1e-9, 1 - 1e-9))),
    ):
        assert e.value == pytest.approx(theirs, abs=1e-9) and e.low <= e.value <= e.high


def test_temperature_is_the_minimum():
    r = rng(1, 'temperature')
    z = r.normal(0, 3, 500)
    y = (r.random(500) < sigmoid(z / 2)).astype(float)
    theirs = minimize_scalar(lambda t: log_loss(z / np.exp(t), y).sum(), bounds=(-3, 3), method='bounded')
    assert fit_temperature(z, y) == pytest.approx(np.exp(theirs.x), rel=1e-3)
    assert np.isfinite(log_loss([1e4, -1e4], [0, 1])).all()


def test_length_bias_of_one_cell_is_spearmans():
    r = rng(2, 'length')
    a, b = r.normal(size=80), r.normal(size=80)
    assert length_bias(a, b, [1] * 80).value == pytest.approx(spearmanr(a, b)[0], abs=1e-9)
    assert length_bias(np.ones(80), b, [1] * 80).value == 0
    with pytest.raises(ValueError, match='has five episodes'):
        length_bias([1.0, 2.0], [1, 2], [0, 1])


def test_a_member_reads_like_transformers(model, tmp_path):
    for depth in (None, 1):
        log = train(model, tmp_path / str(depth), depth=depth)
        assert log[0]['loss'] == pytest.approx(np.log(2), abs=1e-3)
        g = RewardModel(*model, [tmp_path / str(depth)])
        ids = rows(20, 1)['input_ids']
        ours = g.logits(ids)
        g.packs = False
        np.testing.assert_allclose(ours, g.logits(ids), atol=2e-3)
        one_by_one = np.concatenate([g.logits([x]) for x in ids], 1)
        np.testing.assert_allclose(ours, one_by_one, atol=2e-3)
        assert len(g.scorer.base_model.layers) == (depth or 2)


def test_the_base_stays_as_it_was(model, tmp_path):
    before = {k: v.clone() for k, v in model[0].state_dict().items()}
    grad = [p.requires_grad for p in model[0].parameters()]
    train(model, tmp_path / 'a')
    g = RewardModel(*model, [tmp_path / 'a'])
    assert all(torch.equal(before[k], v) for k, v in model[0].state_dict().items())
    assert grad == [p.requires_grad for p in model[0].parameters()] and not any(
        'lora' in n for n, _ in model[0].named_parameters()
    )
    shared = {p.data_ptr() for p in model[0].parameters()}
    assert all(
        p.data_ptr() in shared for n, p in g.scorer.base_model.named_parameters() if 'lora' not in n
    )  # no copy of the weights


def test_a_killed_training_ends_alike(model, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, steps, metrics):
        if step == 4:
            raise Killed

    options = dict(epochs=1, save_steps=2, seed=3)
    whole = train(model, tmp_path / 'whole', **options)
    with pytest.raises(Killed):
        train(model, tmp_path / 'killed', on_step=kill, **options)
    resumed = train(model, tmp_path / 'killed', resume=True, **options)
    assert [h['loss'] for h in whole] == [h['loss'] for h in resumed]
    ids = rows(8, 2)['input_ids']
    a, b = (RewardModel(*model, [tmp_path / name]).logits(ids) for name in ('whole', 'killed'))
    np.testing.assert_array_equal(a, b)


def test_misuse_is_named(model, tmp_path):
    with pytest.raises(ValueError, match='make it with verdict_rows'):
        train(model, tmp_path, rows(4).remove_columns('label'))
    with pytest.raises(ValueError, match='but depth is 1'):
        train(
            model, tmp_path, depth=1, peft_config=LoraConfig(target_modules=TARGETS, layers_to_transform=[1])
        )
    with pytest.raises(FileNotFoundError, match='base.json'):
        RewardModel(*model, [tmp_path / 'nothing'])
    with pytest.raises(ValueError, match='no folders'):
        RewardModel(*model, [])
    with pytest.raises(ValueError, match='no probabilities'):
        reliability([1.5, 0.2], [1, 0])
    with pytest.raises(ValueError, match='at least two'):
        separates([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match='add up to'):
        parts([1, 2, 3], (0.5, 0.2))


def test_members_share_what_lies_below_their_adapters(model, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, layers_to_transform=[1])
    for i in range(2):
        train(model, tmp_path / str(i), peft_config=config, seed=i)
    g = RewardModel(*model, [tmp_path / '0', tmp_path / '1'])
    assert g.first == [1, 1]
    apart = [RewardModel(*model, [tmp_path / str(i)]).logits(rows(6, 3)['input_ids'])[0] for i in range(2)]
    np.testing.assert_allclose(g.logits(rows(6, 3)['input_ids']), apart, atol=1e-5)
    assert not np.allclose(apart[0], apart[1])
    assert (g.scores(rows(6, 3)['input_ids'])['disagreement'] > 0).all()


def test_frozen_trunk_of_another_depth_is_another_object(model):
    trunk = lower_layers(model[0], 1)
    assert (
        len(trunk.layers) == 1
        and len(model[0].get_decoder().layers) == 2
        and model[0].config.num_hidden_layers == 2
    )
    assert fingerprint(model[0]) == fingerprint(copy.deepcopy(model[0]))


def ece_by_hand(p, y, bins):
    "Rows of one probability count as their mean label"
    means = {v: y[p == v].mean() for v in set(p.tolist())}
    rows = sorted((v, means[v]) for v in p.tolist())
    cut = np.linspace(0, len(rows), bins + 1).astype(int)
    return sum(abs(sum(b - a for a, b in rows[i:j])) for i, j in zip(cut, cut[1:])) / len(rows)


def test_the_order_of_rows_does_not_decide_calibration():
    y = np.repeat([1.0, 0.0], (70, 30))
    constant = reliability(np.full(100, 0.7), y)  # right on average, and all accepted rows come first
    assert constant.ece.value == pytest.approx(0, abs=1e-12) and all(
        share == pytest.approx(0.7) for _, share, _ in constant.bins
    )
    r = rng(3, 'ties')
    p, y = r.random(200).round(1), (r.random(200) < 0.4).astype(float)
    shuffled = r.permutation(200)
    ours = reliability(p, y).ece.value
    assert ours == pytest.approx(ece_by_hand(p, y, 10)) and ours == pytest.approx(
        reliability(p[shuffled], y[shuffled]).ece.value
    )


def test_the_interval_of_ece_holds_the_true_one():
    squeezed = rng(0, 'large')
    z = squeezed.normal(0, 2, 200_000)
    p, true = sigmoid(1.5 * z), sigmoid(z)
    order = np.argsort(p)
    truth = sum(abs((true[b] - p[b]).sum()) for b in np.array_split(order, 10)) / len(p)
    hits = 0
    for i in range(100):
        r = rng(i, 'coverage')
        z = r.normal(0, 2, 300)
        e = reliability(sigmoid(1.5 * z), r.random(300) < sigmoid(z), draws=200).ece
        hits += e.low <= truth <= e.high
    assert hits >= 85  # 88; the percentiles of the resamples themselves hold 71


@pytest.mark.filterwarnings('error')
def test_gaps_are_refused():
    for p, y in (
        ([0.2, np.nan, 0.7], [0, 1, 1]),
        ([0.2, 0.4, 0.7], [0, None, 1]),
        ([0.2, None, 0.7], [0, 1, 1]),
    ):
        with pytest.raises(ValueError, match='1 of 3 rows lack'):
            reliability(p, y)
        with pytest.raises(ValueError, match='1 of 3 rows lack'):
            fit_temperature(p, y)
    with pytest.raises(ValueError, match='is not one of'):
        fit_temperature([1.0, -1.0], [2, 0])
    with pytest.raises(ValueError, match='give one of each'):
        reliability([0.2, 0.3], [1])
    assert reliability([0.2, 0.4, 0.7], ['fail', 'fail', 'pass']).accuracy.value == 1
    assert np.isnan(reliability([0.2, 0.4, 0.7], [1, 1, 1]).auroc.value)
    lengths = list(range(20))
    with pytest.raises(ValueError, match='1 of 20 rows lack'):
        length_bias([np.nan, *lengths[1:]], lengths, [1] * 20)
    with pytest.raises(ValueError, match='1 of 20 rows lack'):
        length_bias(lengths, lengths, [None] + [1] * 19)
    with pytest.raises(ValueError, match='columns of'):
        length_bias(lengths, lengths, [1] * 20, ['a'] * 5)
    with pytest.raises(ValueError, match='missing or infinite'):
        separates([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match='5 accepted and 3 rejected'):
        BagOfWords(['a b'] * 8, [1] * 5 + [0] * 3)
    with pytest.raises(ValueError, match='9 accepted and 0 rejected'):
        BagOfWords(['a b'] * 10, [1] * 9 + [None])
    with pytest.raises(ValueError, match='a part would be empty'):
        parts([1, 2, 3])
    with pytest.raises(ValueError, match='above 0'):
        parts(range(20), (1.2, -0.2))


@pytest.mark.parametrize(
    'logits, bound, why', [([3.0, 2, -3, -1], 0.05, 'told apart'), ([-3.0, -2, 3, 1], 20, 'a coin')]
)
def test_a_temperature_at_its_bound_is_told(logits, bound, why):
    with pytest.warns(UserWarning, match=why):
        assert fit_temperature(logits, [1, 1, 0, 0]) == pytest.approx(bound, rel=1e-6)


def test_length_bias_is_the_mean_of_the_cells():
    r = rng(4, 'cells')
    n = 120
    y, g, a, b = r.random(n) < 0.5, r.integers(2, size=n), r.normal(size=n), r.normal(size=n)
    cells = [(y == v) & (g == k) for v in (0, 1) for k in (0, 1)]
    assert length_bias(a, b, y, g).value == pytest.approx(
        sum(c.sum() * spearmanr(a[c], b[c])[0] for c in cells) / n
    )


def test_separates_is_scikit_learns():
    r = rng(5, 'apart')
    a, b = r.normal(size=30).round(1), r.normal(0.5, size=40).round(1)
    assert separates(a, b).value == pytest.approx(roc_auc_score([0] * 30 + [1] * 40, np.concatenate([a, b])))


def test_baseline_is_scikit_learns_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    r = rng(6, 'words')
    good = r.random(120) < 0.5
    texts = [
        ' '.join(r.choice(list('abcdef'), 6)) + (' done' if g and r.random() < 0.8 else ' wait') for g in good
    ]
    ours = BagOfWords(texts, good)
    tfidf = ours.model.best_estimator_[0]
    theirs = LogisticRegression(C=ours.model.best_params_['logisticregression__C'], max_iter=2000).fit(
        tfidf.transform(texts), good
    )
    again = TfidfVectorizer(**tfidf.get_params()).fit_transform(texts)
    np.testing.assert_allclose(ours.logits(texts), theirs.decision_function(again), atol=1e-6)


def test_calibration_is_kept_for_its_members_alone(model, tmp_path):
    for i in range(2):
        train(model, tmp_path / str(i), seed=i)
    both = [tmp_path / '0', tmp_path / '1']
    g = RewardModel(*model, both)
    r = rng(7, 'labels')
    data = rows(60, 4)
    fitted = g.fit(data['input_ids'], [y if r.random() < 0.7 else 1 - y for y in data['label']])
    assert g.temperature == fitted != 1 and RewardModel(*model, both).temperature == fitted
    assert (
        RewardModel(*model, both, temperature=2.0).temperature == 2
        and RewardModel(*model, both[:1]).temperature == 1
    )
    train(model, tmp_path / '1', seed=5)  # another member in the same folder
    assert RewardModel(*model, both).temperature == 1


def test_what_the_head_cannot_read_is_refused(model, tmp_path):
    train(model, tmp_path / 'a')
    g = RewardModel(*model, [tmp_path / 'a'])
    for bad in ([], [5] * (model[0].config.max_position_embeddings + 1)):
        with pytest.raises(ValueError, match='1 of 2 episodes'):
            g.logits([[5, 6], bad])
    with pytest.raises(ValueError, match='at least two that can disagree'):
        RewardModel(*model, [tmp_path / 'a'], pessimism=1.0)
    with pytest.raises(ValueError, match='at least two that can disagree'):
        RewardModel(*model, [tmp_path / 'a'] * 2, pessimism=-1.0)
    with pytest.raises(ValueError, match='above 0'):
        RewardModel(*model, [tmp_path / 'a'], temperature=0.0)
    for labels in ([1.0] * 16, [float('nan')] + [0.0, 1.0] * 7 + [1.0], [0.5, 1.0] * 8):
        data = rows(16).remove_columns('label').add_column('label', labels)
        with pytest.raises(ValueError, match='labels are'):
            train(model, tmp_path / 'b', data)
    assert not (tmp_path / 'b').exists()


def test_a_shallow_member_does_not_join_a_deep_backbone(model, tmp_path):
    train(model, tmp_path / 'shallow', depth=1)
    backbone = Backbone(
        copy.deepcopy(model[0]), LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS), critic='head'
    )
    with pytest.raises(ValueError, match='reads its score after 1 layers'):
        backbone.add_reward(tmp_path / 'shallow')


def test_micro_batches_change_nothing(model, tmp_path):
    whole, parts_of = (train(model, tmp_path / str(m), micro_batch_size=m) for m in (None, 2))
    assert [h['loss'] for h in whole] == pytest.approx([h['loss'] for h in parts_of], rel=1e-4)


def test_judges_verdicts_are_labels():
    from rlops_lab.core import Trajectory

    _, tokenizer = load('tiny')
    prompt = [dict(role='user', content='Hi')]
    head = encoded(tokenizer, rendered(tokenizer, prompt, reply=True))

    def episode(i):
        messages, n = [*prompt, dict(role='assistant', content='x')], len(head)
        return Trajectory(
            dict(prompt=prompt, n=i),
            messages,
            head + [70 + i],
            [0] * n + [1],
            [0.0] * (n + 1),
            [-1] * n + [0],
        )

    said = ['pass', 'fail', None, float('nan'), True]
    found = verdict_rows([episode(i) for i in range(5)], tokenizer, accept=lambda t: said[t.task['n']])
    assert (
        found['label'] == [1.0, 0.0, 1.0] and found['episode'] == [0, 1, 4] and '<|' not in found['text'][0]
    )
    with pytest.raises(ValueError, match='0.7 in row 0'):
        verdict_rows([episode(0)], tokenizer, accept=lambda t: 0.7)


def test_a_reward_function_of_grpo(model, tmp_path):
    "TRL hands texts over without the end token; the reward is that of the tokens"
    trl = pytest.importorskip('trl')
    train(model, tmp_path / 'a')
    g = RewardModel(*model, [tmp_path / 'a'])
    policy, tokenizer = load('tiny')
    prompt = [dict(role='user', content='Hi')]
    plain = rendered(tokenizer, prompt, reply=True)
    ids = encoded(tokenizer, plain + 'ok' + tokenizer.eos_token)
    want = g.scores([ids])['reward'].tolist()
    for p, c in (
        (prompt, [dict(role='assistant', content='ok')]),
        (plain, 'ok'),
        (plain, 'ok' + tokenizer.eos_token),
        (prompt, 'ok'),
    ):
        assert g([p], [c]) == pytest.approx(want, abs=1e-6)
    args = trl.GRPOConfig(
        output_dir=str(tmp_path / 'grpo'),
        use_cpu=True,
        bf16=False,
        report_to='none',
        save_strategy='no',
        disable_tqdm=True,
        max_steps=1,
        num_generations=2,
        per_device_train_batch_size=2,
        max_completion_length=8,
    )
    asked = Dataset.from_list([dict(prompt=plain)] * 2)
    trainer = trl.GRPOTrainer(
        model=policy, processing_class=tokenizer, args=args, reward_funcs=[g], train_dataset=asked
    )
    trainer.train()
    assert 0 < trainer.state.log_history[0]['rewards/reward_model/mean'] < 1
