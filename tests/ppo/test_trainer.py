"A run: its order, its early ends, held-out measurements, several environments"

import pytest
from policies import Offline, episodes, lora, timeless, tiny, trainer

from rlops_lab.core import Trajectory
from rlops_lab.models.load import load
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.trainer import PPOTrainer


def test_two_runs_with_one_seed_are_one_run():
    runs = [[timeless(r) for r in trainer().steps()] for _ in range(2)]
    assert runs[0] == runs[1] and runs[0] != [timeless(r) for r in trainer(seed=1).steps()]


def test_rows_may_be_given_to_a_step():
    seen = []

    class Told(Offline):
        def collect(self, rows):
            seen.extend(rows)
            return super().collect(rows)

    t = trainer(rows=[dict(a=1)])
    t.__class__ = Told
    t.step([dict(a=5)])
    t.step()
    assert seen == [dict(a=5)] + [dict(a=1)] * 8


def test_the_kl_price_follows_its_target_and_a_checkpoint_remembers_it(tmp_path):
    free = trainer(
        kl_target=1e-6,
        kl_horizon=1.0,
        kl_coef=0.1,
        learning_rate=3e-2,
        num_updates=4,
        output_dir=str(tmp_path),
        save_every=2,
    )
    prices = [r['kl_coef'] for r in free.steps()]
    assert prices[0] == 0.1 and prices[-1] != 0.1
    again = trainer(
        kl_target=1e-6,
        kl_horizon=1.0,
        kl_coef=0.1,
        learning_rate=3e-2,
        num_updates=4,
        output_dir=str(tmp_path),
        save_every=2,
    ).resume()
    assert again.args.kl_coef == pytest.approx(free.args.kl_coef) and again.n_updates == 4


def test_a_run_that_leaves_its_reference_ends():
    t = trainer(stop_kl=1e-7, learning_rate=5e-2, num_updates=6)
    records = list(t.steps())
    assert len(records) < 6 and 'stop_kl=1e-07' in t.stopped


def test_a_run_that_ends_early_keeps_its_last_state(tmp_path):
    t = trainer(stop_kl=1e-7, learning_rate=5e-2, num_updates=6, output_dir=str(tmp_path), save_every=6)
    t.train()
    assert [p.name for p in tmp_path.glob('checkpoint-*')] == [
        f'checkpoint-{t.n_updates:05d}'
    ] and t.n_updates < 6


class Measured(Offline):
    "held-out episodes whose figure is given"

    def evaluate(self, rows=None):
        return [
            Trajectory(
                {},
                [],
                [1, 2],
                [0, 1],
                [0.0, 0.0],
                [-1, 0],
                [0.0],
                kpis=dict(verified_resolution=float(i < self.passed[self.n_updates - 1])),
                terminated=True,
            )
            for i in range(200)
        ]

    def collect(self, rows):
        paid = episodes(16, seed=self.n_updates)
        for i, t in enumerate(paid):
            t.turn_rewards[-1] += 5 * self.n_updates
        return paid


def measured(path, passed, **kw):
    args = PPOConfig(
        num_updates=len(passed),
        episodes_per_update=8,
        max_total_tokens=64,
        micro_batch_tokens=128,
        output_dir=str(path),
        eval_every=1,
        **kw,
    )
    t = Measured(tiny(), args, train_dataset=[{}], eval_dataset=[{}], peft_config=lora())
    t.passed = passed
    return t


def test_the_best_measurement_is_kept_and_hacking_is_said_aloud(tmp_path):
    t = measured(tmp_path, [120, 160, 90])
    with pytest.warns(UserWarning, match='rose from .* fell from 80% of 200 to 45% of 200'):
        records = list(t.steps())
    assert [round(r['eval/kpi/verified_resolution'], 2) for r in records] == [0.6, 0.8, 0.45]
    assert measured(tmp_path, [120, 160, 90]).resume(tmp_path / 'best').n_updates == 2


def test_a_figure_that_is_no_share_raises_the_alarm_too(tmp_path):
    t = measured(tmp_path, [1, 2, 3], metric_for_best='kpi/stars')
    plain = t.evaluate

    def stars(rows=None):
        played = plain()
        for i, e in enumerate(played):
            e.kpis['stars'] = [3.0, 4.5, 2.0][t.n_updates - 1] + i % 2
        return played

    t.evaluate = stars
    with pytest.warns(UserWarning, match='rose from .* mean fell from 5 of 200 to 2.5 of 200'):
        list(t.steps())


def test_a_metric_that_nobody_measures_is_an_error_with_those_there_are(tmp_path):
    with (
        pytest.warns(UserWarning, match='none of the first update'),
        pytest.raises(ValueError, match='kpi/verified_resolution, reward'),
    ):
        list(measured(tmp_path / 'a', [1], metric_for_best='kpi/happiness').steps())
    with pytest.raises(ValueError, match='give an eval_dataset'):
        trainer(eval_every=1, output_dir=str(tmp_path))


def test_a_metric_that_abstains_everywhere_is_said_and_not_compared(tmp_path):
    t = measured(tmp_path, [1, 2], metric_for_best='reward/judge')
    plain = t.evaluate

    def silent(rows=None):
        played = plain()
        for e in played:
            e.scores['judge'] = None
        return played

    t.evaluate = silent
    with pytest.warns(UserWarning, match='update 2: reward/judge abstained on all 200'):
        records = list(t.steps())
    assert (
        'eval/kpi/verified_resolution' in records[-1]
        and 'eval/reward/judge' not in records[-1]
        and not t.history
        and not (tmp_path / 'best').exists()
    )


class Desk:
    "One reply"

    def reset(self, word):
        self.done, self.user = False, self._hear
        return word

    def _hear(self, text):
        self.done = True

    def get_reward(self) -> float:
        return 1.0


class Bank(Desk):
    def get_reward(self) -> float:
        return 3.0


class Harder:
    "Makes an environment that is one harder than the last"

    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return Bank()

    def state_dict(self):
        return dict(made=self.made)

    def load_state_dict(self, state):
        self.made = state['made']


def mixed(folder, harder):

    model, tokenizer = load('tiny')
    rows = [
        dict(word=w, environment='desk' if i % 3 else 'bank')
        for i, w in enumerate('one two three four five six'.split())
    ]
    args = PPOConfig(
        output_dir=str(folder),
        num_updates=2,
        episodes_per_update=6,
        max_turns=1,
        max_tokens_per_turn=8,
        max_total_tokens=64,
        save_every=1,
    )
    return PPOTrainer(
        model,
        args,
        dict(desk=Desk, bank=harder),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora(),
    )


def test_a_batch_of_several_environments_and_a_factory_that_remembers(tmp_path):
    harder = Harder()
    t = mixed(tmp_path, harder)
    r = t.step()
    assert (r['reward/desk'], r['reward/bank'], r['reward']) == (1, 3, pytest.approx((4 * 1 + 2 * 3) / 6))
    assert {x.lineage.environment for x in t.trajectories} == {'Desk', 'Bank'}
    made = harder.made
    assert made >= 2
    t.step()
    fresh = Harder()
    again = mixed(tmp_path, fresh).resume(tmp_path / 'checkpoint-00001')
    assert fresh.made == made and again.n_updates == 1
    with pytest.raises(ValueError, match="environment=None"):
        PPOTrainer(
            'tiny',
            PPOConfig(),
            dict(desk=Desk),
            train_dataset=[dict(word='x')],
            processing_class=again.tokenizer,
            peft_config=lora(),
        )
