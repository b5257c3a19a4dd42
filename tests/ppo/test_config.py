"Settings: what means nothing is refused by name, edges are taken"

import math

import pytest
from policies import lora, tiny

from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.trainer import PPOTrainer


@pytest.mark.parametrize(
    'kw',
    [
        dict(gamma='length'),
        dict(gamma=None),
        dict(lam=None),
        dict(critic_lam='length'),
        dict(vf_coef=-1.0),
        dict(cliprange_value=0.0),
        dict(cliprange_value=-1.0),
        dict(save_every=-1, output_dir='x'),
        dict(learning_rate=math.inf),
        dict(kl_coef=math.inf),
        dict(num_updates=2.5),
        dict(episodes_per_update=8.5),
        dict(critic_warmup_updates=-1),
        dict(critic_epochs=-1, critic='head'),
        dict(rejection_bounds=(0,)),
        dict(rejection_bounds=0.5),
        dict(rejection_bounds=()),
        dict(reward_weights=[math.nan]),
        dict(clip_range=(0.2, math.nan)),
        dict(temperature=math.inf),
        dict(entropy_coef=-1.0),
        dict(critic_warmup_updates=10),
        dict(save_every=5),
        dict(stop_kl=0.1, kl_coef=0.0),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused_by_name(kw):
    with pytest.raises(ValueError, match=next(iter(kw))):
        PPOConfig(**kw)


def test_settings_at_their_edges_are_taken():
    for kw in (
        dict(gamma=0),
        dict(lam=1),
        dict(lam='length'),
        dict(critic_lam=None),
        dict(rejection_bounds=[0.0, 3.0]),
        dict(clip_range=[0.2, 0.28]),
        dict(vf_coef=0.0),
        dict(output_dir='x', save_every=1),
        dict(max_grad_norm=math.inf),
    ):
        PPOConfig(**kw)


def test_what_the_trainer_sets_is_no_rollout_option():
    for name in ('temperature', 'seed', 'max_turns'):
        with pytest.raises(ValueError, match=f'rollout_options has {name}'):
            PPOTrainer(
                tiny(),
                PPOConfig(max_total_tokens=64),
                train_dataset=[{}],
                peft_config=lora(),
                rollout_options={name: 1},
            )
