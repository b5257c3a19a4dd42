"Games and reasoning-gym through the adapters: a real gymnasium, a sample of the data sets, limits of time in a rollout, a step of TRL."

import random, re
import pytest
from rlops_lab.environments.adapters import ReasoningGym, reasoning_gym_answer, reasoning_gym_rows, text_game
from rlops_lab.environments.check_env import check_environment
from rlops_lab.environments.contract import fork

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
    from rlops_lab.models.load import load
    from rlops_lab.rollouts.engine import rollout
    from scripted_rollouts import Scripted

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


SAMPLE = [
    'chain_sum',
    'spell_backward',
    'list_functions',
    'basic_arithmetic',
    'simple_equations',
    'syllogism',
    'graph_color',
    'propositional_logic',
    'mini_sudoku',
    'gcd',
    'caesar_cipher',
    'binary_matrix',
    'knights_knaves',
    'shortest_path',
    'color_cube_rotation',
]


@pytest.mark.parametrize('name', SAMPLE)
def test_own_answers_of_reasoning_gym_score_1(name):
    "A sample; `make bench BENCH=reasoning_tasks` plays all 106"
    pytest.importorskip('reasoning_gym')
    for row in reasoning_gym_rows(name, 3, seed=2):
        env = ReasoningGym()
        env.reset(**row)
        env.answer(reasoning_gym_answer(env))
        assert env.get_reward() == 1 and env.done


def test_a_row_names_its_task_whatever_was_drawn_before():
    pytest.importorskip('reasoning_gym')
    from rlops_lab.environments import adapters

    row = reasoning_gym_rows('list_functions', 1, seed=5)[0]  # draws from the global generator
    seen = set()
    for seed in range(4):
        adapters._entry.cache_clear()
        adapters._dataset.cache_clear()
        random.seed(seed)
        state = random.getstate()
        seen.add(ReasoningGym().reset(**row))
        assert random.getstate() == state
    assert len(seen) == 1


def test_what_reasoning_gym_lacks_is_said():
    pytest.importorskip('reasoning_gym')
    with pytest.raises(ValueError, match="no data set 'sums'; it has .*chain_sum"):
        ReasoningGym().reset('sums')
    env = ReasoningGym()
    env.reset('rush_hour')
    assert (
        reasoning_gym_answer(env) is None
        and env.answer('nonsense') == 'not right'
        and env.get_reward() <= 0.01
    )


def test_a_mix_of_data_sets_is_one_task():
    pytest.importorskip('reasoning_gym')
    (row,) = reasoning_gym_rows(
        'composite', 1, datasets=[dict(name='chain_sum', weight=1), dict(name='gcd', weight=1)]
    )
    env = ReasoningGym()
    env.reset(**row)
    env.user(f'<answer>{reasoning_gym_answer(env)}</answer>')
    assert env.get_reward() == 1 and env.done


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.parametrize('game', [True, False], ids=['game', 'reasoning-gym'])
def test_adapted_environments_train_a_step_under_grpo(tmp_path, monkeypatch, game):
    trl = pytest.importorskip('trl')
    if not game:
        pytest.importorskip('reasoning_gym')
    from datasets import Dataset
    from rlops_lab.models.load import load

    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')
    rows = [dict(seed=s) for s in range(2)] if game else reasoning_gym_rows('chain_sum', 2)
    rows = [dict(row, prompt=[dict(role='user', content='')]) for row in rows]
    factory = text_game(Corridor, ['left', 'right']) if game else ReasoningGym
    model, tokenizer = load('tiny')
    args = trl.GRPOConfig(
        output_dir=str(tmp_path),
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
    t = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=args,
        train_dataset=Dataset.from_list(rows),
        environment_factory=factory,
    )
    t.train()
    assert t.state.global_step == 1 and {type(e) for e in t.environments} == {factory}
