"Batches, whatever is behind them: in a running loop, with a bar, as a reward, and with items that are not items"

import asyncio
import threading

import pytest
from fake_judges import RUBRIC, honest, items, verdict

from rlops_lab.core import Trajectory
from rlops_lab.judges.endpoints import JudgeReply
from rlops_lab.judges.grading import run_in_background
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.pairwise import Panel
from rlops_lab.rewards.compose import Gate, Sequential, WeightedSum
from rlops_lab.rewards.grading import grade


def test_in_a_running_loop_and_from_it():
    async def cell():
        judge = Judge(honest, RUBRIC)
        a = judge.grade(items(3))  # as in a notebook's cell
        b = await judge.grade_async(items(3))
        return a, b

    a, b = asyncio.run(cell())
    assert [v.score for v in a + b] == [1.0] * 6 and all(v.cached for v in b)

    async def inside():
        return Judge(honest, RUBRIC).grade(items(1))

    with pytest.raises(RuntimeError, match='use `await judge.grade_async'):
        run_in_background(inside())


@pytest.fixture
def bars(monkeypatch):
    "What progress bars show; two seconds are a tenth of one"
    from rlops_lab.judges import grading as module

    shown, wait = [], module.wait

    class FakeBar:
        def __init__(self, total, desc, unit):
            self.n, self.total = 0, total
            shown.append(self)

        def update(self, n):
            self.n += n

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(module, 'tqdm', FakeBar)
    monkeypatch.setattr(module, 'wait', lambda futures, seconds: wait(futures, seconds / 20))
    return shown


async def unhurried(messages, **how):
    await asyncio.sleep(0.15)
    return JudgeReply(verdict())


def test_a_long_run_shows_how_far_it_is(bars):
    judge = Judge(unhurried, RUBRIC, concurrency=2)
    judge.grade(items(6))
    judge.grade(items(6))  # all in memory: no bar
    assert [(bar.n, bar.total) for bar in bars] == [(6, 6)]
    judge.grade(items(9))  # counts this run alone
    assert (bars[-1].n, bars[-1].total) == (9, 9)
    Panel([Judge(unhurried, RUBRIC, concurrency=2, seed=s) for s in (0, 1)]).grade(items(4))
    assert (bars[-1].n, bars[-1].total, len(bars)) == (4, 4, 3)


def test_a_bar_belongs_to_a_cell_and_not_to_a_thread(bars):
    thread = threading.Thread(target=lambda: Judge(unhurried, RUBRIC).grade(items(2)))
    thread.start()
    thread.join()
    quiet = Judge(unhurried, RUBRIC)
    quiet.progress = False
    quiet.grade(items(2))
    assert not bars


def test_an_error_in_a_long_run_is_its_own(bars):
    class Breaks(Judge):
        async def _grade_all(self, items):
            await asyncio.sleep(0.2)
            raise TimeoutError('mine')

    with pytest.raises(TimeoutError, match='mine'):
        Breaks(honest, RUBRIC).grade(items(1))
    assert len(bars) == 1


@pytest.mark.parametrize(
    'bad',
    [
        ['a', 'b'],
        [
            dict(
                role='assistant',
                content='',
                tool_calls=[dict(function=dict(name='f', arguments=dict(a={1})))],
            )
        ],
        [None],
    ],
)
def test_texts_that_cannot_be_written_out_cost_nothing(bad):
    honest.asked = 0
    with pytest.raises(TypeError, match="item 50: 'completion' cannot be written out"):
        Judge(honest, RUBRIC).grade([*items(50), dict(prompt='?', completion=bad)])
    assert honest.asked == 0


def test_items_are_a_list_of_dicts():
    for wrong in (items(1)[0], ['text'], [items(1)]):
        with pytest.raises(TypeError, match='item 0 is a (str|list). Give a list of dicts'):
            Judge(honest, RUBRIC).grade(wrong)


def test_as_a_reward_it_composes_and_abstains():
    async def shy(messages, **how):
        return JudgeReply(verdict() if 'text 0' in messages[-1]['content'] else 'hm')

    judge = Judge(shy, RUBRIC, attempts=1)
    reward = Sequential(
        [Gate(lambda prompts, completions, **c: [1.0] * len(completions), name='open'), judge]
    )
    with pytest.warns(UserWarning, match='2 of 3 items are unscored'):
        assert reward(['?'] * 3, [f'text {i}.' for i in range(3)], other=[1, 2, 3]) == [1.0, None, None]
    assert judge.scores == {'helps': [1.0, None, None]} and judge.__name__ == 'helpful'
    chat = [
        [dict(role='assistant', content='text 0.', tool_calls=[dict(function=dict(name='f', arguments={}))])]
    ]
    assert WeightedSum([judge])([[dict(role='user', content='?')]], chat) == [1.0]


def test_episodes_are_graded_as_they_are():
    "As by PPO and evals: the judge reads the conversation, and its grade and its criteria's stand in the episode"

    def episode(i):
        talk = [
            dict(role='system', content='You help.'),
            dict(role='user', content='?'),
            dict(role='assistant', content=f'text {i}.'),
        ]
        return Trajectory(dict(source='x'), talk, [1, 2], [0, 1], [0.0, -0.1], [-1, 0])

    async def ask(messages, **how):
        return JudgeReply(verdict('yes' if 'text 0' in messages[-1]['content'] else 'no'))

    episodes = [episode(i) for i in range(2)]
    assert grade(episodes, Judge(ask, RUBRIC)) == [1.0, 0.0] and [e.scores for e in episodes] == [
        {'helpful': x, 'helpful/helps': x} for x in (1.0, 0.0)
    ]
