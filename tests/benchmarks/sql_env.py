"""Steps a second of the text-to-SQL environment on one core, beside SQLite alone.

    make bench BENCH=sql_env

A step is one call of a tool by `call_tool`, as rollouts make it, with the arguments that a policy wrote. An
episode resets, lists the tables, describes one, runs the gold query, runs one that fails, and answers, on 19
families of questions; every question is a new one, and what drawing it takes is counted apart. The peer is the
bare `sqlite3` module running the same gold query as often as the environment runs it, without a guard or a
comparison."""

import argparse
import json
import os
import sqlite3
import statistics
import time
from pathlib import Path

from _machine import processor

from rlops_lab.core import git_state
from rlops_lab.environments.contract import call_tool
from rlops_lab.environments.text_to_sql.clinic import (
    QUERY_FAMILIES, VARIANTS, ClinicSQL, clinic, draw_question, questions,
)


def ours(rows):
    "Steps a second, and the mean reward, which must be 1"
    steps, reward, began = 0, 0.0, time.process_time()
    for row in rows:
        env = ClinicSQL()
        env.reset(**row)
        query = draw_question(row['family'], row['seed'], row['split']).query
        for call in (
            ('list_tables', {}),
            ('describe', dict(table='doctor')),
            ('run', dict(query=query)),
            ('run', dict(query='SELECT nme FROM doctor')),
            ('answer', dict(query=query)),
        ):
            text, failed = call_tool(env, *call)
            steps += 1
            assert not failed, text
            _ = env.turn_reward  # what a rollout reads after each step
        _ = env.kpis
        reward += env.get_reward()
    return steps / (time.process_time() - began), reward / len(rows)


def bare(rows, worlds):
    "The same number of steps a second, if a step were nothing but SQLite's part in it"
    began = time.process_time()
    for row in rows:
        query = draw_question(row['family'], row['seed'], row['split']).query
        for db in [worlds[0], *worlds, *worlds]:
            db.execute(query).fetchall()  # run; answer and gold on each world
    return 5 * len(rows) / (time.process_time() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--episodes', type=int, default=1900)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    worlds = []
    for v in range(VARIANTS + 1):
        worlds.append(sqlite3.connect(':memory:'))
        worlds[-1].executescript(clinic('train', v))
    a, b, drawing = [], [], []
    ours(questions(len(QUERY_FAMILIES), 'train', 'warm'))  # imports, and the databases opened
    for i in range(args.repeats):
        rows = questions(args.episodes, 'train', f'bench {i}')
        began = time.process_time()
        for r in rows:
            draw_question(r['family'], r['seed'], r['split'])
        drawing.append((time.process_time() - began) / len(rows) * 1000)
        speed, reward = ours(rows)
        a.append(speed)
        assert reward == 1, reward
        b.append(bare(rows, worlds))
        print(
            f'{i + 1}: {a[-1]:,.0f} steps/s, bare SQLite {b[-1]:,.0f}, drawing {drawing[-1]:.2f} ms a question',
            flush=True,
        )
    figures = dict(
        steps_per_s=round(statistics.median(a)),
        range=[round(min(a)), round(max(a))],
        bare_sqlite_steps_per_s=round(statistics.median(b)),
        drawing_ms=round(statistics.median(drawing), 2),
        n=args.repeats,
        episodes=args.episodes,
        seconds='of processor time',
    )
    commit, dirty = git_state(Path(__file__).parent)
    print(
        json.dumps(
            dict(
                name='sql_env',
                figures=figures,
                goal='2,000 steps a second on one core',
                holds=min(a) >= 2000,
                machine=processor(),
                commit=commit[:7] + '+' * dirty,
            )
        )
    )


if __name__ == '__main__':
    main()
