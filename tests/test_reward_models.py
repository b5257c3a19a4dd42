"Reward models beside scikit-learn and scipy, and what interrupts or misuses them."
import copy

import numpy as np, pytest, torch
from datasets import Dataset
from peft import LoraConfig
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss as their_log_loss, roc_auc_score

from rlops_lab.core import rng
from rlops_lab.models import fingerprint, load
from rlops_lab.reward_models import RewardModel, classifier, fit_temperature, length_bias, log_loss, lower_layers, parts, reliability, separates, sigmoid

TARGETS = ['q_proj', 'v_proj', 'down_proj']


@pytest.fixture(scope='module')
def model(): return load('tiny')


def rows(n, seed=0):
    r = rng(seed, 'rows')
    return Dataset.from_list([dict(input_ids=r.integers(3, 250, int(r.integers(5, 40))).tolist()+[3+i%2], label=float(i%2)) for i in range(n)])


def train(model, folder, data=None, **options):
    return classifier(*model, data if data is not None else rows(48), folder, **dict(peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS), learning_rate=5e-3, batch_size=8) | options)


def test_figures_are_those_of_scikit_learn():
    r = rng(0, 'figures'); p, y = r.random(300).round(2), r.random(300)<.4
    found = reliability(p, y)
    for e, theirs in ((found.auroc, roc_auc_score(y, p)), (found.brier, brier_score_loss(y, p)), (found.log_loss, their_log_loss(y, np.clip(p, 1e-9, 1-1e-9)))):
        assert e.value==pytest.approx(theirs, abs=1e-9) and e.low<=e.value<=e.high


def test_temperature_is_the_minimum():
    r = rng(1, 'temperature'); z = r.normal(0, 3, 500); y = (r.random(500)<sigmoid(z/2)).astype(float)
    theirs = minimize_scalar(lambda t: log_loss(z/np.exp(t), y).sum(), bounds=(-3, 3), method='bounded')
    assert fit_temperature(z, y)==pytest.approx(np.exp(theirs.x), rel=1e-3)
    assert np.isfinite(log_loss([1e4, -1e4], [0, 1])).all()


def test_length_bias_of_one_cell_is_spearmans():
    r = rng(2, 'length'); a, b = r.normal(size=80), r.normal(size=80)
    assert length_bias(a, b, [1]*80).value==pytest.approx(spearmanr(a, b)[0], abs=1e-9)
    assert length_bias(np.ones(80), b, [1]*80).value==0
    with pytest.raises(ValueError, match='has five episodes'): length_bias([1., 2.], [1, 2], [0, 1])


def test_a_member_reads_like_transformers(model, tmp_path):
    for depth in (None, 1):
        log = train(model, tmp_path/str(depth), depth=depth)
        assert log[0]['loss']==pytest.approx(np.log(2), abs=1e-3)
        g = RewardModel(*model, [tmp_path/str(depth)])
        ids = rows(20, 1)['input_ids']
        ours = g.logits(ids); g.packs = False
        np.testing.assert_allclose(ours, g.logits(ids), atol=2e-3)
        one_by_one = np.concatenate([g.logits([x]) for x in ids], 1)
        np.testing.assert_allclose(ours, one_by_one, atol=2e-3)
        assert len(g.scorer.base_model.layers)==(depth or 2)


def test_the_base_stays_as_it_was(model, tmp_path):
    before = {k: v.clone() for k, v in model[0].state_dict().items()}
    grad = [p.requires_grad for p in model[0].parameters()]
    train(model, tmp_path/'a'); g = RewardModel(*model, [tmp_path/'a'])
    assert all(torch.equal(before[k], v) for k, v in model[0].state_dict().items())
    assert grad==[p.requires_grad for p in model[0].parameters()] and not any('lora' in n for n, _ in model[0].named_parameters())
    shared = {p.data_ptr() for p in model[0].parameters()}
    assert all(p.data_ptr() in shared for n, p in g.scorer.base_model.named_parameters() if 'lora' not in n)      # no copy of the weights


def test_a_killed_training_ends_alike(model, tmp_path):
    class Killed(Exception): pass
    def kill(step, steps, metrics):
        if step==4: raise Killed
    options = dict(epochs=1, save_steps=2, seed=3)
    whole = train(model, tmp_path/'whole', **options)
    with pytest.raises(Killed): train(model, tmp_path/'killed', on_step=kill, **options)
    resumed = train(model, tmp_path/'killed', resume=True, **options)
    assert [h['loss'] for h in whole]==[h['loss'] for h in resumed]
    ids = rows(8, 2)['input_ids']
    a, b = (RewardModel(*model, [tmp_path/name]).logits(ids) for name in ('whole', 'killed'))
    np.testing.assert_array_equal(a, b)


def test_misuse_is_named(model, tmp_path):
    with pytest.raises(ValueError, match='make it with verdict_rows'): train(model, tmp_path, rows(4).remove_columns('label'))
    with pytest.raises(ValueError, match='but depth is 1'): train(model, tmp_path, depth=1, peft_config=LoraConfig(target_modules=TARGETS, layers_to_transform=[1]))
    with pytest.raises(FileNotFoundError, match='base.json'): RewardModel(*model, [tmp_path/'nothing'])
    with pytest.raises(ValueError, match='no folders'): RewardModel(*model, [])
    with pytest.raises(ValueError, match='no probabilities'): reliability([1.5, .2], [1, 0])
    with pytest.raises(ValueError, match='at least two'): separates([1.], [1., 2.])
    with pytest.raises(ValueError, match='add up to'): parts([1, 2, 3], (.5, .2))


def test_members_share_what_lies_below_their_adapters(model, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, layers_to_transform=[1])
    for i in range(2): train(model, tmp_path/str(i), peft_config=config, seed=i)
    g = RewardModel(*model, [tmp_path/'0', tmp_path/'1'])
    assert g.first==[1, 1]
    apart = [RewardModel(*model, [tmp_path/str(i)]).logits(rows(6, 3)['input_ids'])[0] for i in range(2)]
    np.testing.assert_allclose(g.logits(rows(6, 3)['input_ids']), apart, atol=1e-5)
    assert not np.allclose(apart[0], apart[1])
    assert (g.scores(rows(6, 3)['input_ids'])['disagreement']>0).all()


def test_frozen_trunk_of_another_depth_is_another_object(model):
    trunk = lower_layers(model[0], 1)
    assert len(trunk.layers)==1 and len(model[0].get_decoder().layers)==2 and model[0].config.num_hidden_layers==2
    assert fingerprint(model[0])==fingerprint(copy.deepcopy(model[0]))
