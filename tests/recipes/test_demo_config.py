"Settings of the demo that cannot work are refused when they are made"

import pytest

from rlops_lab.recipes.demo_config import DemoConfig


@pytest.mark.parametrize(
    'bad',
    [
        dict(n_eval=0),
        dict(n_eval=13),
        dict(ppo_episodes=16),
        dict(n_latency=0),
        dict(ppo_updates=0),
        dict(max_turns=0),
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DemoConfig(**bad)


def test_lists_from_json_become_tuples():
    config = DemoConfig(families=['vague'], undemonstrated=['wrong_number'])
    assert config.all_families == ('vague', 'wrong_number')
