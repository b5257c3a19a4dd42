"Episodes without a verdict: neither trained on, nor whitened with, nor in a mean; counted"

from dataclasses import replace

import pytest
import torch
from policies import constant, episodes, flat, lora, reward_adapter, timeless, tiny, trainer
from scripted_rollouts import Till

from rlops_lab.core import Trajectory
from rlops_lab.models.load import load
from rlops_lab.ppo.alarms import drivers
from rlops_lab.ppo.batches import trainable_rows
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.record import measurements, reward_record
from rlops_lab.ppo.scoring import add_rewards, apply_reward_model
from rlops_lab.ppo.trainer import PPOTrainer


def unscored(n, pay=100.0, **changes):
    "Episodes that nobody judged, with a number that would be noticed"
    played = episodes(20 + n)[20:]
    return [replace(t, turn_rewards=[pay] * len(t.turn_rewards), scored=False, **changes) for t in played]


def test_an_update_is_the_same_with_and_without_them():
    def updated(played):
        t = trainer()
        return timeless(t.update(played)), flat(t.backbone.policy_parameters())

    plain, weights = updated(episodes(8))
    mixed, same = updated(episodes(8) + unscored(2) + unscored(1, error='OSError: locked', stop_reason='error'))
    assert torch.equal(weights, same)
    counts = dict(trained=8, episodes=11, unscored=3 / 11, failed=1 / 11)
    assert {name: mixed[name] for name in counts} == pytest.approx(counts)
    assert (plain['unscored'], plain['failed']) == (0.0, 0.0)
    for name in ('reward', 'reward_std', 'zero_variance', 'advantage_std', 'policy_loss', 'explained_variance'):
        assert mixed[name] == plain[name]


def test_an_update_of_nothing_else_is_refused():
    with pytest.raises(ValueError, match='nobody gave a verdict, which is so for 3 of them'):
        trainer().update(unscored(3))


def test_a_reward_that_is_not_finite_stops_an_update_only_where_it_is_a_verdict():
    bad = episodes(1)[0]
    bad.turn_rewards[0] = float('nan')
    with pytest.raises(ValueError, match='not finite'):
        trainable_rows([*episodes(2), bad])
    assert trainable_rows([*episodes(2), replace(bad, scored=False)]) == [0, 1]


@pytest.mark.parametrize(
    'own, paid, answers, verdict',
    [
        (None, 0.0, [None, None], False),  # an environment without a reward, and functions that abstain
        (None, 0.0, [None, 0.0], True),
        (None, 0.5, [None, None], True),  # episodes from elsewhere, with rewards of their own
        (True, 0.0, [None, None], True),  # the environment judged it 0
        (False, 0.0, [None, None], False),
        (False, 0.0, [0.0, None], True),
    ],
)
def test_nobody_answered_is_no_verdict(own, paid, answers, verdict):
    one = replace(episodes(1)[0], turn_rewards=[paid, 0.0], scored=own)
    add_rewards([one], [constant(x, f'f{i}') for i, x in enumerate(answers)])
    assert one.has_verdict == verdict and one.reward == paid


def test_functions_do_not_see_episodes_that_failed():
    seen = []

    def look(completions, trajectories, **_):
        seen.extend(trajectories)
        return [1.0] * len(completions)

    good, lost = episodes(1)[0], unscored(1, pay=0.0, error='OSError: locked')[0]
    empty = Trajectory({}, [], [], [], [], [], stop_reason='error', scored=False, error='OSError: locked')
    add_rewards([lost, good, empty], [look])
    assert seen == [good] and not lost.has_verdict and lost.scores == {} and lost.reward == 0
    add_rewards([lost], [look])
    assert seen == [good]


def test_a_reward_model_judges_what_the_environment_did_not_but_not_what_failed(tmp_path):
    model = tiny()
    reward_adapter(tmp_path, model)
    t = trainer(model)
    t.backbone.add_reward(tmp_path)
    silent, failed = unscored(1) + unscored(1, pay=0.0, error='OSError: locked')
    apply_reward_model(t.backbone, t.args, [silent, failed])
    assert silent.has_verdict and silent.scores['environment'] is None and silent.reward != 100.0
    assert not failed.has_verdict and failed.scores == {}


def test_means_and_correlations_leave_them_out():
    played = episodes(8)
    assert reward_record(played + unscored(3)) == reward_record(played)
    assert measurements(played + unscored(3))['reward'] == measurements(played)['reward']
    assert drivers(played + unscored(3)) == drivers(played)


class Moody(Till):
    "Judges even goals only, breaks at one, and counts what it closes"

    closed = []

    def get_reward(self):
        if self.goal == 3:
            raise OSError('database is locked')
        return None if self.goal % 2 else 1.0

    def close(self):
        self.closed.append(self)


def test_a_run_goes_on_with_what_was_judged_and_closes_what_it_kept():
    Moody.closed = []
    model, tokenizer = load('tiny')
    args = PPOConfig(num_updates=1, episodes_per_update=6, num_mini_batches=1, max_turns=2, max_tokens_per_turn=6)
    rows = [dict(goal=i) for i in range(6)]
    open_ = []

    def see(environments, **_):
        open_.extend(env not in Moody.closed for env in environments)
        return [None] * len(environments)

    t = PPOTrainer(model, args, Moody, [see], rows, tokenizer, lora())
    with pytest.warns(UserWarning, match='1 of 6 episodes failed'):
        record = t.step()
    counts = dict(episodes=6, trained=3, failed=1 / 6, unscored=0.5, reward=1.0)
    assert {name: record[name] for name in counts} == pytest.approx(counts)
    assert open_ == [True] * 5 and len(Moody.closed) == len(set(Moody.closed)) == 7
