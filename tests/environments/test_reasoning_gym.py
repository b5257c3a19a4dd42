"reasoning-gym through its adapter: a sample of the data sets, repeatable tasks, a step of TRL."

import random

import pytest
from grpo_step import train_a_step

from rlops_lab.environments.reasoning_gym import ReasoningGym, reasoning_gym_answer, reasoning_gym_rows

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
    from rlops_lab.environments import reasoning_gym

    row = reasoning_gym_rows('list_functions', 1, seed=5)[0]  # draws from the global generator
    seen = set()
    for seed in range(4):
        reasoning_gym._entry.cache_clear()
        reasoning_gym._dataset.cache_clear()
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
def test_questions_train_a_step_under_grpo(tmp_path, monkeypatch):
    pytest.importorskip('reasoning_gym')
    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')
    trainer = train_a_step(ReasoningGym, reasoning_gym_rows('chain_sum', 2), tmp_path)
    assert trainer.state.global_step == 1 and {type(env) for env in trainer.environments} == {ReasoningGym}
