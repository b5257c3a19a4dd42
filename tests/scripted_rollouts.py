"A scripted sampler and a till: what the tests of rollouts play with"

import sqlite3
from collections import Counter

from rlops_lab.core import Usage
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import decoded, encoded
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.sampling import Completion

END = '<|im_end|>'
TOKENIZER = load('tiny')[1]


class Scripted:
    "A sampler that replays {row: replies}"

    context = 2048

    def __init__(self, replies):
        self.replies, self.turn, self.batches, self.prompts, self.released = replies, Counter(), [], {}, []

    def sample(self, prompts, params, keys):
        self.batches.append(list(keys))
        out = []
        for key, prompt in zip(keys, prompts):
            self.prompts.setdefault(key, []).append(list(prompt))
            reply = self.replies[key[1]][self.turn[key]]
            self.turn[key] += 1
            ids = reply if isinstance(reply, list) else encoded(TOKENIZER, reply + END)
            ids = ids[: params.max_tokens]
            stopped = ids[-1] == TOKENIZER.eos_token_id
            out.append(
                Completion(
                    ids,
                    [-0.5] * len(ids),
                    'stop' if stopped else 'length',
                    Usage(len(prompt), 0, len(ids), 0.25, 1),
                )
            )
        return out

    def release(self, keys):
        self.released += keys
        for key in keys:  # an episode that is played once more says the same
            self.turn.pop(key, None)


class Till:
    "A till: put money in until the goal is reached."

    version = '3'

    def reset(self, goal: int, **_) -> str:
        self.goal, self.sum, self.done, self.asked = goal, 0, False, 0
        return f'Collect {goal}.'

    def put(self, amount: int) -> str:
        """Put money in.

        Args:
            amount: How much.
        """
        if amount < 0:
            raise sqlite3.OperationalError('no such money')
        self.sum += amount
        self.done = self.sum >= self.goal
        return f'{self.sum} in the till'

    def get_reward(self) -> float:
        self.asked += 1
        return self.sum / self.goal

    @property
    def kpis(self):
        return dict(sum=float(self.sum))


class Talk(Till):
    "A till with somebody beside it."

    @property
    def user(self):
        return lambda text: None if 'bye' in text else f'You said: {text}'


def run(replies, environment=Till, rows=None, **options):
    sampler = options.pop('sampler', None) or Scripted({i: r for i, r in enumerate(replies)})
    rows = rows or [dict(goal=10)] * len(replies)
    return rollout(sampler, TOKENIZER, environment, rows, progress=False, **options)


def actions(t, turn):
    return decoded(TOKENIZER, [x for x, k in zip(t.token_ids, t.turn_ids) if k == turn])
