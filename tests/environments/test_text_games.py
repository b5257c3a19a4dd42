"Games through `text_game`: a real gymnasium, limits of time in a rollout, a step of TRL."

import re

import pytest
from grpo_step import train_a_step

from rlops_lab.environments.check_env import check_environment
from rlops_lab.environments.contract import fork
from rlops_lab.environments.text_games import text_game

MOVES = ['left', 'down', 'right', 'up']


class Corridor:
    "Walk right three times, within five moves"

    def reset(self, seed=None, options=None):
        self.at, self.left = 0, (options or {}).get('moves', 5)
        return 'At 0.', {}

    def step(self, move):
        self.at = max(0, self.at + (-1, 1)[move])
        self.left -= 1
        return f'At {self.at}.', float(self.at == 3), self.at == 3, self.left == 0, {}


def letters(game, obs, info):
    return re.sub('\x1b\\[41m(.)\x1b\\[0m', r'[\1]', game.render())


def lake(**options):
    gymnasium = pytest.importorskip('gymnasium')
    return text_game(
        lambda: gymnasium.make('FrozenLake-v1', render_mode='ansi', **options), MOVES, letters, 'Lake'
    )


def test_frozen_lake_is_played_and_copied_and_nothing_is_wrong_with_it():
    Lake = lake(is_slippery=False)
    way = dict(zip([0, 4, 8, 9, 13, 14], ['down', 'down', 'right', 'down', 'right', 'right']))

    def oracle(env):
        return 'act', dict(action=way[env.game.unwrapped.s])

    env = Lake()
    first = env.reset(seed=1)
    assert '[S]FFF' in first
    while not env.done:
        other = fork(env)
        env.act(oracle(env)[1]['action'])
    assert env.get_reward() == 1 and env.kpis == dict(moves=6.0, bad_moves=0.0) and not env.truncated
    assert not other.done and other.act('right') and other.get_reward() == 1
    found = check_environment(Lake, [dict(seed=1)], oracle, bounds=(0.0, 1.0), progress=False)
    assert not found, found


def test_a_slippery_lake_names_its_episode_by_the_seed():
    found = check_environment(
        lake(is_slippery=True), [dict(seed=s) for s in range(3)], bounds=(0.0, 1.0), progress=False
    )
    assert not found, found


def test_gymnasiums_own_time_limit_is_a_truncation():
    env = lake(is_slippery=False, max_episode_steps=3)()
    env.reset(seed=0)
    for _ in range(3):
        env.act('up')
    assert env.done and env.truncated and env.act('up') == 'The episode is over.'


def test_a_game_cut_by_its_limit_is_truncated_in_a_rollout():
    from scripted_rollouts import Scripted

    from rlops_lab.models.load import load
    from rlops_lab.rollouts.engine import rollout

    rows, replies = (
        [dict(seed=0), dict(seed=0), dict(seed=0, options=dict(moves=3))],
        [['right'] * 3, ['left'] * 5, ['act(action="right")'] * 3],
    )
    ended = rollout(
        Scripted(dict(enumerate(replies))),
        load('tiny')[1],
        text_game(Corridor, ['left', 'right']),
        rows,
        max_turns=9,
        progress=False,
    )
    assert [(t.stop_reason, t.terminated, t.truncated, t.reward) for t in ended] == [
        ('done', True, False, 1.0),
        ('limit', False, True, 0.0),
        ('done', True, False, 1.0),
    ]
    assert (
        ended[1].messages[-1]['content'] == 'At 0.' and ended[1].action_mask[-1] == 0
    )  # the state whose value stands for the rest


@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_a_game_trains_a_step_under_grpo(tmp_path, monkeypatch):
    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')
    game = text_game(Corridor, ['left', 'right'])
    trainer = train_a_step(game, [dict(seed=s) for s in range(2)], tmp_path)
    assert trainer.state.global_step == 1 and {type(env) for env in trainer.environments} == {game}
