"An update is made whole or not at all, wherever it is interrupted; what watches a run leaves it as it is"

import random
import warnings

import numpy as np
import pytest
import torch
from peft import LoraConfig
from policies import Offline, constant, episodes, flat, lora, timeless, tiny, trainer

from rlops_lab.core.files import read_jsonl
from rlops_lab.models.load import load
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.trainer import PPOTrainer
from rlops_lab.rollouts.curriculum import Curriculum


class Interrupted:
    "A method that is interrupted at its n-th call, and works again afterwards"

    def __init__(self, owner, name, at, error=KeyboardInterrupt):
        self.real, self.at, self.error, self.calls = getattr(owner, name), at, error, 0
        setattr(owner, name, self)

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.real(*args, **kwargs)


class FakeUser:
    "An environment that draws from the global generators"

    def reset(self, word, **_):
        self.word, self.n = word, random.random() + np.random.rand() + torch.rand(1).item()
        self.done, self.user = False, self._reply
        return word

    def _reply(self, text):
        self.done = True
        return 'ok'

    def get_reward(self):
        return self.n


def drawing(folder=None, curriculum=False, **settings):
    rows = [dict(prompt=[], word=word) for word in 'a b c d e f g'.split()]
    files = dict(output_dir=str(folder), eval_every=1, save_every=2, metric_for_best='reward') if folder else {}
    small = dict(num_updates=3, episodes_per_update=4, max_turns=1, max_tokens_per_turn=6, learning_rate=1e-2)
    model, tokenizer = load('tiny')
    return PPOTrainer(
        model,
        PPOConfig(**small | files | settings),
        FakeUser,
        train_dataset=Curriculum(rows, passed=lambda t: t.reward > 1.5) if curriculum else rows,
        eval_dataset=rows[:2] if folder else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules=['q_proj', 'v_proj']),
    )


def finish(t):
    "Run to the end, and once more after each interruption"
    records = []
    while t.n_updates < t.args.num_updates:
        try:
            records += list(t.steps())
        except KeyboardInterrupt as error:
            assert any('is undone' in note for note in error.__notes__)
    return records, flat(t.backbone.policy_parameters() + t.backbone.critic_parameters())


PHASES = [
    ('optimizer', 'step', 3),
    ('optimizer', 'step', 6),
    (None, 'grade', 1),
    (None, 'score', 2),
    (None, 'evaluate', 2),
    (None, 'save', 2),
    (None, '_log', 2),
]


@pytest.mark.parametrize('owner, name, at', PHASES)
def test_interrupted_anywhere_it_is_the_uninterrupted_run(owner, name, at, tmp_path):
    whole = drawing(tmp_path / 'a', curriculum=True)
    _, want = finish(whole)
    t = drawing(tmp_path / 'b', curriculum=True)
    call = Interrupted(getattr(t, owner) if owner else t, name, at)
    _, got = finish(t)
    assert call.calls > at and torch.equal(got, want)
    logs = [[timeless(r) for r in read_jsonl(tmp_path / run / 'metrics.jsonl')] for run in 'ab']
    assert logs[0] == logs[1] and len(logs[0]) == 3
    assert t.history == whole.history and t.curriculum.state_dict() == whole.curriculum.state_dict()


@pytest.mark.parametrize(
    'settings',
    [dict(critic='head', critic_epochs=2), dict(kl_target=1e-4, kl_horizon=1.0), dict(lr_scheduler_type='linear')],
    ids=str,
)
def test_every_kind_of_critic_and_controller_is_undone(settings):
    _, want = finish(trainer(**settings))
    t = trainer(**settings)
    Interrupted(t.optimizer, 'step', 3)
    _, got = finish(t)
    assert torch.equal(got, want)


def test_an_error_of_a_reward_function_undoes_the_step_too():
    t = trainer()
    before = flat(t.backbone.policy_parameters())
    t.reward_funcs = [constant(float('nan'))]
    with pytest.raises(ValueError, match='returned nan'):
        t.step()
    assert t.n_updates == 0 and torch.equal(before, flat(t.backbone.policy_parameters()))
    t.reward_funcs = []
    assert t.step()['update'] == 1


def test_an_update_of_given_episodes_is_undone_as_well():
    t, other = trainer(), trainer()
    Interrupted(t.optimizer, 'step', 2)
    with pytest.raises(KeyboardInterrupt):
        t.update(episodes())
    assert timeless(t.update(episodes())) == timeless(other.update(episodes()))


def test_without_adapters_half_an_update_is_not_made_again(tmp_path):
    def whole():
        return trainer(peft_config=None, critic='head', output_dir=str(tmp_path), save_every=1)

    t = whole()
    t.step()
    Interrupted(t.optimizer, 'step', 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        t.step()
    assert 'cannot be undone' in caught.value.__notes__[0]
    for go_on in (t.step, t.save, lambda: t.update(episodes())):
        with pytest.raises(RuntimeError, match='`resume` from a checkpoint'):
            go_on()
    assert t.resume().n_updates == 1 and len(list(t.steps())) == 2
    want = list(trainer(peft_config=None, critic='head').steps())
    assert [timeless(r) for r in read_jsonl(tmp_path / 'metrics.jsonl')] == [timeless(r) for r in want]


def test_without_adapters_an_interrupted_rollout_is_harmless():
    t = trainer(peft_config=None, critic='head')
    Interrupted(t, 'grade', 1)
    with pytest.raises(KeyboardInterrupt):
        t.step()
    want = trainer(peft_config=None, critic='head')
    assert [timeless(r) for r in t.steps()] == [timeless(r) for r in want.steps()]


def test_a_run_that_is_measured_is_the_run_that_is_not(tmp_path):
    want = [r['reward'] for r in drawing().steps()]
    measured = drawing(tmp_path)
    assert [r['reward'] for r in measured.steps()] == want
    before = random.getstate(), torch.get_rng_state()
    measured.evaluate()
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


def heard(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        run()
    return [str(w.message) for w in caught]


def test_equal_rewards_and_cut_episodes_are_heard_at_every_update():
    class Cut(Offline):
        def collect(self, rows):
            return episodes(8, self.n_updates, terminated=False, truncated=True, stop_reason='turns')

    t = trainer(num_updates=3, on_no_signal='warn')
    t.__class__ = Cut
    said = heard(lambda: list(t.steps()))
    assert [text[:9] for text in said if 'were cut' in text] == ['update 1:', 'update 2:', 'update 3:']

    class Equal(Offline):
        def collect(self, rows):
            played = episodes(8, self.n_updates)
            for one in played:
                one.turn_rewards = [0.0] * (len(one.turn_rewards) - 1) + [0.5]
            return played

    t = trainer(num_updates=3)
    t.__class__ = Equal
    assert sum('have reward 0.5' in text for text in heard(lambda: list(t.steps()))) == 3


def test_on_no_signal_raises_before_anything_is_trained():
    class Equal(Offline):
        def collect(self, rows):
            return self.grade(episodes(8, turns=1, seed=5)[:1] * 8)

    t = trainer(on_no_signal='raise')
    t.__class__ = Equal
    before = flat(t.backbone.policy_parameters())
    with pytest.raises(RuntimeError, match='update 1: all 8 episodes .* little to learn'):
        t.step()
    assert torch.equal(before, flat(t.backbone.policy_parameters())) and t.n_updates == 0


def test_numpy_settings_make_the_run_of_plain_ones():
    def run(kind):
        numbers = dict(seed=kind(3), num_updates=kind(2), episodes_per_update=kind(8))
        args = PPOConfig(max_total_tokens=64, micro_batch_tokens=128, **numbers)
        return [timeless(r) for r in Offline(tiny(), args, train_dataset=[{}], peft_config=lora()).steps()]

    assert run(np.int64) == run(int) == run(lambda x: np.array(x))


def test_the_state_that_callbacks_see_is_undone_too(tmp_path):
    t = drawing(tmp_path)
    t.step()
    Interrupted(t, 'save', 1)
    with pytest.raises(KeyboardInterrupt):
        t.step()
    assert [r['step'] for r in t.state.log_history] == [1]
    t.step()
    assert t.state.global_step == 2 and [r['step'] for r in t.state.log_history] == [1, 2]
