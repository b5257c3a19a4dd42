"Run by test_verifiers.py in an environment that has verifiers: prints one line for each check that held."

import copy
import sys
import tempfile
from pathlib import Path

import verifiers.v1 as vf
from verifiers.v1.utils.loaders import load_taskset

from rlops_lab.environments.check_env import check_environment
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import oracle, oracle_step, scenarios
from rlops_lab.environments.verifiers import from_verifiers

assert 'torch' not in sys.modules


class SumData(vf.TaskData):
    answer: str


class SumTask(vf.Task[SumData, vf.State, vf.TaskConfig]):
    @vf.reward(weight=0.8)
    async def exact(self, trace):
        return float(trace.last_reply.strip() == self.data.answer)

    @vf.reward(weight=0.2)
    async def brief(self, trace):
        return float(len(trace.last_reply) < 9)

    @vf.metric
    async def turns(self, trace):
        return float(trace.num_turns)


class Sums(vf.Taskset[SumTask, vf.TasksetConfig]):
    def load(self):
        for a in range(6):
            yield SumTask(
                SumData(prompt=f'{a}+{a}=?', system_prompt='Add.', answer=str(2 * a)), self.config.task
            )


class GuessConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig()


class Guess(vf.Env[GuessConfig]):
    "As verifiers' own games do it: the engine is the user, and the reward is recorded after the exchange"

    def __init__(self):
        pass

    async def run(self, task, agents):
        async with agents.player.interaction(task) as talk:
            segment, won = await talk.turn(), 0.0
            for _ in range(4):
                number, goal = int(segment.last_reply), int(task.data.answer)
                if number == goal:
                    won = 1.0
                    break
                segment = await talk.turn('higher' if number < goal else 'lower')
        talk.trace.record_reward('game', won)


class Two(Guess):
    async def run(self, task, agents):
        agents.player.interaction(task)
        agents.judge.interaction(task)


class NeedsABox(SumTask):
    @vf.reward
    async def built(self, trace, runtime):
        return 1.0


class Boxes(vf.Taskset[NeedsABox, vf.TasksetConfig]):
    def load(self):
        yield NeedsABox(SumData(prompt='?', answer='1'), self.config.task)


class Served(SumTask):
    @classmethod
    def toolsets(cls, config):
        return [object()]


class Servers(vf.Taskset[Served, vf.TasksetConfig]):
    def load(self):
        yield Served(SumData(prompt='?', answer='1'), self.config.task)


def refused(make, words):
    try:
        make()
    except ValueError as e:
        assert words in str(e), e
    else:
        raise AssertionError(words)


def asked_and_answered():
    env = from_verifiers(Sums(vf.TasksetConfig()))()
    assert env.reset(2) == 'Add.\n\n2+2=?' and env.user('4') is None and env.done
    assert abs(env.get_reward() - 1) < 1e-9 and env.kpis == dict(turns=1.0)
    env.reset(2)
    env.say('It is five, I believe.')
    assert env.get_reward() == 0
    found = check_environment(
        type(env),
        [dict(index=i) for i in range(6)],
        lambda e: ('say', dict(text=e.tasks[e.index].data.answer)),
        progress=False,
    )
    assert not found, found


def a_game_with_turns():
    env = from_verifiers(Sums(vf.TasksetConfig()).take(5), Guess())()
    assert len(env.tasks) == 5
    env.reset(4)
    assert env.user('2') == 'higher'
    other = copy.deepcopy(env)
    assert env.user('9') == 'lower' and env.user('8') is None
    assert other.user('3') == 'higher' and not other.done
    roles = [(n.message.role, n.sampled) for n in env.seat.trace.nodes]
    assert (
        roles
        == [('system', False), ('user', False), ('assistant', True)]
        + [('user', False), ('assistant', True)] * 2
    )
    assert env.seat.trace.rewards['game'].value == 1


def what_a_seat_cannot_give_is_refused():
    refused(lambda: from_verifiers(Boxes(vf.TasksetConfig())), 'looks into a container')
    refused(lambda: from_verifiers(Servers(vf.TasksetConfig())), 'tools in a server of their own')
    refused(lambda: from_verifiers(Sums(vf.TasksetConfig()), Two())().reset(0), 'seats several agents')


def ours_as_a_package_of_verifiers():
    "Loaded by verifiers' loader under the module's name, conducted by its Env, recorded in its Trace, played from here"
    rows = scenarios(18, seed=4)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / 'desk_for_test.py').write_text(
            'import ast\nfrom rlops_lab.environments.verifiers import to_verifiers\nfrom '
            'rlops_lab.environments.support_desk.desk import SupportDesk\n'
            'from rlops_lab.environments.support_desk.scenarios import scenarios\n'
            'def read(text):\n    if "(" not in text: return None\n    call = ast.parse(text, mode="eval").body\n'
            '    return call.func.id, {k.arg: ast.literal_eval(k.value) for k in call.keywords}\n'
            'Desk, Play = to_verifiers(SupportDesk, scenarios(18, seed=4), read=read)\n__all__ = ["Desk", "Play"]\n'
        )
        sys.path.insert(0, folder)
        import desk_for_test

        taskset = load_taskset(vf.TasksetConfig(id='desk_for_test'))
        env = desk_for_test.Play(
            desk_for_test.Play.__orig_bases__[0].__args__[0](taskset=vf.TasksetConfig(id='desk_for_test'))
        )
        assert isinstance(taskset, desk_for_test.Desk) and isinstance(env.taskset, desk_for_test.Desk)
        seat = from_verifiers(taskset, env)()
        for i, row in enumerate(rows):
            ours = SupportDesk()
            first = ours.reset(**row)
            assert seat.reset(i).endswith(first) and 'refund(order_id: str, amount: float)' in seat.reset(i)
            while not ours.done:
                (name, arguments), text = oracle_step(ours), oracle(ours)
                heard, theirs = getattr(ours, name)(**arguments), seat.user(text)
                assert ours.done or theirs == heard
            assert (
                seat.done
                and seat.get_reward() == ours.get_reward() == 1
                and seat.kpis.items() >= ours.kpis.items()
            )
        seat.reset(0)
        for _ in range(30):
            seat.user('Hello.')
        assert seat.done and seat.get_reward() == 0


for check in (
    asked_and_answered,
    a_game_with_turns,
    what_a_seat_cannot_give_is_refused,
    ours_as_a_package_of_verifiers,
):
    check()
    print(check.__name__, flush=True)
