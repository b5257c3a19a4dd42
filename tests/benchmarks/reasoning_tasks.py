"""Every data set of reasoning-gym through the adapter: does it load, and does its own answer score 1?

make bench BENCH=reasoning_tasks [ARGS='--n 3']
"""

import argparse
import json
import os
import time
from importlib.metadata import version

from _machine import processor
from reasoning_gym.factory import DATASETS

from rlops_lab.core import git_state
from rlops_lab.environments.reasoning_gym import ReasoningGym, reasoning_gym_answer, reasoning_gym_rows

PARTS = dict(
    datasets=[dict(name='chain_sum', weight=1), dict(name='leg_counting', weight=1)]
)  # `composite` mixes others, and must be told which


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--n', type=int, default=3, help='tasks of each data set')
    parser.add_argument('--only', nargs='*', help='names of data sets; default: all')
    args = parser.parse_args()
    names = args.only or sorted(DATASETS)
    table, began = [], time.perf_counter()
    for name in names:
        scores, own, fault, start = [], 0, '', time.perf_counter()
        try:
            for row in reasoning_gym_rows(name, args.n, seed=1, **(PARTS if name == 'composite' else {})):
                env = ReasoningGym()
                assert isinstance(env.reset(**row), str)
                answer = reasoning_gym_answer(env)
                if answer is None:
                    continue
                own += 1
                env.answer(answer)
                scores.append(env.get_reward())
        except Exception as e:
            fault = f'{type(e).__name__}: {e}'[:120]
        table.append(
            dict(name=name, scores=scores, answers=own, fault=fault, seconds=time.perf_counter() - start)
        )
        found = ' '.join(f'{score:.2f}' for score in scores) if own else 'no answer given'
        if fault:
            found = f'fault: {fault}'
        print(f"{name:32} {found:24} {table[-1]['seconds']:6.1f} s", flush=True)
    loaded = [t for t in table if not t['fault']]
    right = [t for t in loaded if t['answers'] == args.n and all(s == 1 for s in t['scores'])]
    silent = [t['name'] for t in loaded if not t['answers']]
    wrong = {t['name']: t['scores'] for t in loaded if t['answers'] and t not in right}
    print(
        json.dumps(
            dict(
                name='reasoning_tasks',
                figures=dict(
                    data_sets=len(names),
                    loaded=len(loaded),
                    n=args.n,
                    own_answers_score_1=len(right),
                    give_no_answer=silent,
                    below_1=wrong,
                    faults={t['name']: t['fault'] for t in table if t['fault']},
                    seconds=round(time.perf_counter() - began),
                    slowest=[t['name'] for t in sorted(table, key=lambda t: -t['seconds'])[:5]],
                    reasoning_gym=version('reasoning-gym'),
                ),
                goal='every data set loads, and each answer that a data set gives scores 1',
                holds=len(loaded) == len(names) and not wrong,
                machine=f'{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}',
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
