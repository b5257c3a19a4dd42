"Engine: batches and refill, async environments, interruptions, and what a real sampler makes of it"

import asyncio

import pytest
import torch
from scripted_rollouts import END, TOKENIZER, Scripted, Talk, Till, run

from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import demonstrate, scenarios
from rlops_lab.models.load import load
from rlops_lab.rollouts.cases import EpisodeLimits, resolve_cases
from rlops_lab.rollouts.encoding import encoded
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.engine import EpisodesFailed, RolloutEngine, rollout
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.sampling import Completion, SamplingParams

# ------------------------------------------------------------------ batches


def test_refill_keeps_the_batch_full():
    sampler = Scripted({i: ['put(amount=1)'] * (1 + 5 * (i % 4 == 0)) for i in range(12)})
    ts = run(
        [0] * 12, sampler=sampler, rows=[dict(goal=1 + 5 * (i % 4 == 0)) for i in range(12)], batch_size=4
    )
    sizes = [len(keys) for keys in sampler.batches]
    assert all(t.reward == 1 for t in ts) and sum(sizes) == 3 * 6 + 9 and sizes[:6] == [4] * 6
    assert len(sizes) < 18  # three waves of the longest: 6 turns each


def test_a_row_is_released_when_its_episode_ends_and_not_before():
    class Strict(Scripted):
        def sample(self, prompts, params, keys):
            assert not set(keys) & set(self.released)
            return super().sample(prompts, params, keys)

    sampler = Strict({i: ['put(amount=1)'] * i + ['put(amount=9)'] for i in range(6)})
    run([0] * 6, sampler=sampler, rows=[dict(goal=9)] * 6, batch_size=2)
    assert sorted(sampler.released) == [('', i) for i in range(6)]


def test_a_sampler_without_a_cache_needs_no_release():
    ids = encoded(TOKENIZER, 'put(amount=10)' + END)

    class Plain:
        def sample(self, prompts, params, keys):
            return [Completion(ids, [-0.1] * len(ids), 'stop') for _ in prompts]

    assert [t.reward for t in run([0] * 3, sampler=Plain())] == [1.0] * 3


def test_environments_are_kept_on_request_only():
    assert run([['put(amount=10)']], keep_environments=True)[0].environment.sum == 10
    assert not hasattr(run([['put(amount=10)']])[0], 'environment')


def test_an_engine_runs_again_after_an_interruption():
    sampler = Scripted({i: ['put(amount=10)'] * 2 for i in range(4)})
    chat = chat_format(TOKENIZER)
    engine = RolloutEngine(sampler, chat, EpisodeLimits(), SamplingParams(max_tokens=48), batch_size=1)
    cases = resolve_cases(Till, [dict(goal=10)] * 4)

    def stop(trajectory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        engine.run_episodes(cases, stop)
    assert len(caught.value.trajectories) == 1 and sampler.released == [('', 0)]
    assert [trajectory.reward for trajectory in engine.run_episodes(cases)] == [1.0] * 4


# ------------------------------------------------------------------ interruptions


def interrupted(error, after, **options):
    "Rollout of eight episodes in which `error` is raised when some have ended"
    sampler, seen = Scripted({i: ['put(amount=1)'] * (i % 3) + ['put(amount=10)'] for i in range(8)}), []

    def watch(t):
        seen.append(t)
        if len(seen) == after:
            raise error

    with pytest.raises(type(error)) as caught:
        run([0] * 8, sampler=sampler, on_episode=watch, batch_size=4, **options)
    return sampler, seen, caught.value


@pytest.mark.parametrize('error', [KeyboardInterrupt(), RuntimeError('disk full')])
def test_an_interruption_keeps_what_had_ended_and_frees_the_sampler(error):
    sampler, seen, error = interrupted(error, 3)
    assert len(error.trajectories) == 3 and all(any(t is s for s in seen) for t in error.trajectories)
    assert '3 of 8 episodes' in error.__notes__[0]
    started = {k for keys in sampler.batches for k in keys}
    assert started <= set(sampler.released)


def test_a_sampler_or_environment_that_dies_does_the_same():
    class Dying(Scripted):
        def sample(self, prompts, params, keys):
            if len(self.batches) == 2:
                raise ConnectionError('server gone')
            return super().sample(prompts, params, keys)

    sampler = Dying({i: ['put(amount=1)'] * (i + 1) for i in range(4)})
    with pytest.raises(ConnectionError) as caught:
        run([0] * 4, sampler=sampler, rows=[dict(goal=i + 1) for i in range(4)])
    assert [t.task['goal'] for t in caught.value.trajectories] == [1, 2] and set(sampler.released) == {
        ('', i) for i in range(4)
    }

    class Rude(Talk):
        @property
        def user(self):
            raise OSError('phone is dead')

    with pytest.raises(EpisodesFailed, match='1 of 1 episodes failed.*phone') as caught:
        run([['Hello?']], Rude)
    assert isinstance(caught.value.__cause__, OSError)


def test_on_episode_sees_each_episode_as_it_ends():
    order = []
    run(
        [['put(amount=1)'] * 2 + ['put(amount=8)'], ['put(amount=10)'], ['put(amount=2)', 'put(amount=8)']],
        on_episode=lambda t: order.append(t.n_turns),
    )
    assert order == [1, 2, 3]


# ------------------------------------------------------------------ async


class Slow(Till):
    "A till behind a network: a call is answered when all of its neighbours have called."

    def __init__(self):
        self.together = self.meeting

    async def put(self, amount: int) -> str:
        """Put money in.

        Args:
            amount: How much.
        """
        await asyncio.wait_for(self.together.wait(), 30)
        return Till.put(self, amount)

    async def get_reward(self) -> float:
        await asyncio.wait_for(self.together.wait(), 30)
        return 1.0


def test_async_tools_and_rewards_of_a_batch_wait_together():
    class Many(Slow):
        meeting = asyncio.Barrier(40)

    assert [t.reward for t in run([['put(amount=10)']] * 40, Many)] == [1.0] * 40


def test_async_works_inside_a_running_event_loop():
    class One(Slow):
        meeting = asyncio.Barrier(1)

    class Phone(Talk):
        @property
        def user(self):
            return self._answer

        async def _answer(self, text):
            return None if text == 'bye' else 'yes?'

    async def cell():
        return run([['put(amount=10)']], One)[0], run([['Hello?', 'bye']], Phone)[0]

    one, phone = asyncio.run(cell())
    assert one.reward == 1 and [m['content'] for m in phone.messages[1:]] == ['Hello?', 'yes?', 'bye']


# ------------------------------------------------------------------ with a model


def brief():
    "The tiny model with a bias towards its end token"
    model, tokenizer = load('tiny')
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size), requires_grad=False)
    model.lm_head.bias[tokenizer.eos_token_id] = 4.0
    return model, tokenizer


def played(n=10, **options):
    model, tokenizer = brief()
    shots = demonstrate(scenarios(1, 'train', seed=9)[0])
    return model, rollout(
        HFSampler(model, tokenizer, min_prefix=16),
        tokenizer,
        SupportDesk,
        scenarios(n, 'train'),
        progress=False,
        **dict(prompt=lambda row: shots + [dict(role='user', content='')], temperature=0.8) | options,
    )


def test_logprobs_are_those_of_a_plain_forward_pass():
    model, ts = played(temperature=1.3)
    assert sum(t.n_turns for t in ts) > 2 * len(ts)
    for t in ts:
        with torch.no_grad():
            logprobs = (model(torch.tensor([t.token_ids])).logits[0].float() / 1.3).log_softmax(-1)
        at = torch.tensor(t.action_mask).nonzero()[:, 0]
        torch.testing.assert_close(
            logprobs[at - 1, torch.tensor(t.token_ids)[at]], torch.tensor(t.logprobs)[at], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize('batch_size', [1, 3, 64])
def test_episodes_do_not_depend_on_their_neighbours(batch_size):
    _, reference = played(batch_size=4)
    _, other = played(batch_size=batch_size)
    assert [t.token_ids for t in other] == [t.token_ids for t in reference] and [
        t.messages for t in other
    ] == [t.messages for t in reference]


def test_seed_and_tag_change_the_draws():
    ids = {
        name: [t.token_ids for t in played(4, **options)[1]]
        for name, options in dict(a={}, again={}, seed=dict(seed=1), tag=dict(tag=('ppo', 3))).items()
    }
    assert ids['a'] == ids['again'] and ids['seed'] != ids['a'] and ids['tag'] != ids['a']


def test_a_shared_prompt_is_encoded_once():
    _, ts = played(8)
    prompt = min(t.action_mask.index(1) for t in ts)
    fresh, read = (
        sum(f(t.usage) for t in ts)
        for f in (lambda u: u.prompt_tokens - u.cached_tokens, lambda u: u.prompt_tokens)
    )
    assert read > 8 * 2 * prompt and fresh < read / 8


def test_a_part_of_a_rollout_draws_what_the_whole_does():
    model, tokenizer = load('tiny')

    def played(rows, **options):
        return [
            t.token_ids
            for t in rollout(
                HFSampler(model, tokenizer),
                tokenizer,
                SupportDesk,
                rows,
                max_turns=2,
                max_tokens_per_turn=8,
                seed=3,
                progress=False,
                **options,
            )
        ]

    rows = scenarios(6, 'train')
    whole = played(rows)
    assert played(rows[1::2], numbers=[1, 3, 5]) == whole[1::2] != played(rows[1::2])
