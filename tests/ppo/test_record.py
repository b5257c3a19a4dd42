"The record: figures by their formulas, operations by a hand count, trackers"

import math

import pytest
import torch
from policies import constant, episodes, shaken, trainer


def test_the_record_has_three_divergences_and_the_critics_clip():
    t = trainer(cliprange_value=1e-4, critic_learning_rate=1e-2, num_ppo_epochs=3)
    shaken(t.backbone)
    r = t.update(episodes())
    d = (t.scored.old_logprobs - t.scored.ref_logprobs)[t.scored.mask]
    for k, want in dict(k1=d, k2=d**2 / 2, k3=torch.expm1(-d) + d).items():
        assert r[f'kl_{k}'] == pytest.approx(want.mean().item(), rel=1e-4)
    assert (
        0 < r['value_clip_fraction'] < 1
        and trainer(cliprange_value=None).update(episodes())['value_clip_fraction'] == 0
    )


@pytest.mark.parametrize(
    'critic, warm_up', [('adapter', 0), ('adapter', 1), ('head', 0), ('head', 1), ('full', 0)]
)
def test_operations_are_those_of_a_hand_count(critic, warm_up):
    t = trainer(critic=critic, critic_warmup_updates=warm_up, num_ppo_epochs=2, num_mini_batches=2)
    r = t.step()
    n = [len(x.token_ids) for x in t.trajectories]
    tokens, actions = sum(n), sum(x.n_actions for x in t.trajectories)
    h, ffn, layers, kv = 32, 64, 2, 16
    weights = layers * (2 * h * h + 2 * h * kv + 3 * h * ffn)
    adapter = 4 * layers * (2 * (h + h) + 2 * (h + kv) + 3 * (h + ffn))  # rank 4 on all linear parts
    mixing = layers * sum(2 * 2 * h * k * (k + 1) / 2 for k in n)
    unread = (
        tokens - actions - len(n)
    )  # the last layer ends behind attention for tokens before no action and at no end
    through, fitted = (
        2 * tokens * weights - 2 * unread * (h * h + 3 * h * ffn),
        2 * tokens * adapter - 2 * unread * 4 * (2 * h + 3 * (h + ffn)),
    )
    policy = 2 * (through + 2 * actions * 16 * h) + 3 * (fitted + mixing)
    value = dict(
        adapter=2 * through + 3 * (fitted + mixing), head=0, full=3 * (2 * tokens * weights + mixing)
    )[critic]
    if warm_up:
        policy = through + fitted + mixing if critic == 'head' else 0
    assert r['flops_per_s_update'] * r['seconds_update'] == pytest.approx(2 * (policy + value), rel=1e-6)


def test_a_composed_reward_is_recorded_by_component():
    from rlops_lab.rewards.compose import WeightedSum

    t = trainer()
    t.reward_funcs = [
        WeightedSum([constant(1.0, 'one'), constant(None, 'silent')], min_answered=0.0, name='both')
    ]
    r = t.step()
    assert r['reward/both/one'] == 1.0 and r['reward/both'] == 2.0 and r['reward/both/silent'] is None


def test_capped_and_rejected_are_counted_at_the_level_in_force():
    "A sequence whose product is over the cap though no token's ratio is, and one whose mean is over a bound"
    far = episodes()
    t = trainer(importance_level='sequence')
    s = t.score(far, t.plan(far, list(range(8))))
    for i, e in enumerate(far):  # each token's ratio is 1.5 in the first half of the episodes, 1 in the rest
        old = iter(s.old_logprobs[i].tolist())
        e.logprobs = [next(old) - (math.log(1.5) if i < 4 else 0.0) if m else 0.0 for m in e.action_mask]
    share = sum(e.n_actions for e in far[:4]) / sum(e.n_actions for e in far)
    r = trainer(importance_level='sequence').update(far)
    assert (
        all(e.n_actions > 1 for e in far)
        and r['importance_capped'] == pytest.approx(share)
        and r['rejected'] == 0
    )
    assert trainer().update(far)['importance_capped'] == 0  # 1.5 is below the cap of 2
    r = trainer(importance_level='geometric', rejection_bounds=(0.7, 1.4)).update(far)
    assert r['rejected'] == pytest.approx(share) and r['importance_capped'] == 0


def test_trackers_of_accelerate_get_every_record(tmp_path):
    from accelerate.tracking import GeneralTracker

    class Memory(GeneralTracker):
        name, requires_logging_directory = 'memory', False

        def __init__(self):
            super().__init__()
            self.config, self.logged = {}, []

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            self.config = values

        def log(self, values, step=None, **_):
            self.logged.append((step, values))

    memory = Memory()
    t = trainer(report_to=memory)
    t.train()
    assert [s for s, _ in memory.logged] == [1, 2, 3] and all('reward' in v for _, v in memory.logged)


def test_a_tracker_that_is_not_installed_is_an_error(monkeypatch):
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, 'get_available_trackers', list)
    with pytest.raises(ImportError, match="report_to='tensorboard'"):
        trainer(report_to='tensorboard')
