"""What the rollout engine costs per step of an environment: everything but the model and the environment's own tool.

make bench BENCH=environment_step
"""

import argparse
import cProfile
import json
import os
import pstats
import statistics
import time

from _machine import processor

from rlops_lab.core import Usage, git_state
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import demonstrate, scenarios
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import encoded
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.sampling import Completion


class Counter:
    "The cheapest environment: what a step costs here is the engine's"

    def reset(self, steps: int, **_) -> str:
        self.left, self.done = steps, False
        return 'Count down.'

    def tick(self, by: int) -> str:
        """Count down.

        Args:
            by: How far.
        """
        self.left -= by
        self.done = self.left <= 0
        return f'{self.left} left'

    def get_reward(self) -> float:
        return float(self.done)


class FakeSampler:
    "Says at once what it is told, {row: token ids of each reply}"

    def __init__(self, replies):
        self.replies, self.turn, self.seconds = replies, {}, 0.0

    def sample(self, prompts, params, keys):
        began, out = time.process_time(), []
        for k in keys:
            turn = self.turn[k] = self.turn.get(k, -1) + 1
            ids = self.replies[k[1]][turn]
            out.append(
                Completion(
                    ids,
                    [-0.1] * len(ids),
                    'stop',
                    Usage(prompt_tokens=10, completion_tokens=len(ids), calls=1),
                )
            )
        self.seconds += time.process_time() - began
        return out


def timed(tokenizer, factory, rows, replies, own=0.0, **options):
    "Milliseconds of processor time a step (resets included), without the sampler's and the environment's own time"
    sampler = FakeSampler(
        [[encoded(tokenizer, text + tokenizer.eos_token) for text in texts] for texts in replies]
    )
    began = time.process_time()
    trajectories = rollout(
        sampler,
        tokenizer,
        factory,
        rows,
        max_turns=10**6,
        tools_in_prompt=False,  # a prompt of one length, whatever the schemas are
        max_tokens_per_turn=128,
        max_total_tokens=10**6,
        progress=False,
        **options,
    )
    seconds = time.process_time() - began - sampler.seconds - own
    assert all(t.reward == 1 for t in trajectories)
    return seconds / sum(t.n_turns for t in trajectories) * 1e3


def desk(n):
    "Rows, the expert's replies, and the processor seconds that the desk itself takes for them"
    rows = scenarios(n)
    replies = [[m['content'] for m in demonstrate(row) if m['role'] == 'assistant'] for row in rows]
    began = time.process_time()
    for row in rows:
        demonstrate(row)
    return rows, replies, time.process_time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--episodes', type=int, default=64)
    parser.add_argument('--steps', type=int, default=32, help='of a counter episode')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--profile', action='store_true', help='print where the time goes')
    args = parser.parse_args()
    _, tokenizer = load('tiny')

    def counter():
        return timed(
            tokenizer,
            Counter,
            [dict(steps=args.steps)] * args.episodes,
            [['tick(by=1)'] * args.steps] * args.episodes,
        )

    if args.profile:
        p = cProfile.Profile()
        p.runcall(counter)
        pstats.Stats(p).sort_stats('cumtime').print_stats(28)
        return
    counter()
    seen, whole, bare = [], [], []
    for i in range(args.repeats):
        seen.append(counter())
        rows, replies, own = desk(args.episodes)
        whole.append(timed(tokenizer, SupportDesk, rows, replies))
        bare.append(own / sum(map(len, replies)) * 1e3)
        print(
            f'round {i}: engine {seen[-1]:.3f} ms a step; support desk {whole[-1]:.2f} ms a step, reset and '
            f'tools included',
            flush=True,
        )
    figures = dict(
        engine_ms_per_step=round(statistics.median(seen), 4),
        range=[round(min(seen), 4), round(max(seen), 4)],
        n=args.repeats,
        steps=args.episodes * args.steps,
        support_desk_ms_per_step=round(statistics.median(whole), 3),
        support_desk_itself_ms=round(statistics.median(bare), 3),
    )
    print(
        json.dumps(
            dict(
                name='environment_step',
                figures=figures,
                goal='the engine costs under 0.2 ms per step',
                holds=figures['engine_ms_per_step'] < 0.2,
                machine=f'{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}',
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
