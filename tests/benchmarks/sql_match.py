"""Does the reward of text-to-SQL tell right queries from wrong ones?

Each gold query of a set against itself, against rewrites that mean the same, and against mutants.

    make bench BENCH=sql_match ARGS="--data FOLDER"

FOLDER has `questions.csv` (columns db_name, query, question) and `DB_NAME.sql` for each database, in `--dialect`
(default: postgres). What a right verdict would be is decided by a second comparison that shares no code with the
environment's: all permutations of columns, rows sorted, numbers to nine digits."""

import argparse
import csv
import itertools
import json
import sqlite3
from collections import Counter
from pathlib import Path

import sqlglot
from _machine import processor
from sqlglot import exp
from sqlglot.optimizer import optimize

from rlops_lab.core import git_state
from rlops_lab.environments.text_to_sql.sources import connect
from rlops_lab.environments.text_to_sql.database import database
from rlops_lab.environments.text_to_sql.task import TextToSQL
from rlops_lab.environments.text_to_sql.results import gold_results
from rlops_lab.stats import wilson

OTHER = {exp.Count: exp.Sum, exp.Sum: exp.Count, exp.Avg: exp.Max, exp.Max: exp.Min, exp.Min: exp.Max}


def rewrites(query, columns):
    "(name, query) pairs that mean the same"
    tree = sqlglot.parse_one(query, read='sqlite')
    width = len(tree.selects)
    names = [f'c{i}' for i in range(width)]
    yield (
        'inside a WITH part, columns reversed',
        f"WITH q({', '.join(names)}) AS ({query}) SELECT {', '.join(reversed(names))} FROM q",
    )
    yield 'inside a subquery', f'SELECT * FROM ({query}) AS q'
    yield 'UNION ALL with nothing', f'SELECT * FROM ({query}) UNION ALL SELECT * FROM ({query}) WHERE 0'
    try:
        yield (
            "sqlglot's optimizer",
            optimize(tree.copy(), schema=columns, dialect='sqlite').sql(dialect='sqlite'),
        )
    except sqlglot.errors.SqlglotError:
        pass  # it does not know some query; the others stand
    other = tree.copy()
    for x in list(other.find_all(exp.EQ)):
        if x.find_ancestor(exp.Where) and isinstance(x.expression, exp.Literal):
            x.replace(exp.In(this=x.this, expressions=[x.expression]))
    if other != tree:
        yield '= as IN', other.sql(dialect='sqlite')


def mutants(query):
    "(name, query) pairs that mean something else"
    tree = sqlglot.parse_one(query, read='sqlite')

    def each(kind, change, name):
        for i, _ in enumerate(tree.find_all(kind)):
            t = tree.copy()
            node = list(t.find_all(kind))[i]
            if change(node) is not False:
                yield name, t.sql(dialect='sqlite')

    yield from each(exp.Where, lambda n: n.pop() and None, 'dropped filter')
    yield from each(exp.Having, lambda n: n.pop() and None, 'dropped filter')

    def half(n):
        if not n.find_ancestor(exp.Where):
            return False
        n.replace(n.left.copy())

    yield from each(exp.And, half, 'dropped half of a filter')
    for kind in OTHER:
        yield from each(
            kind,
            lambda n: (
                n.replace(
                    OTHER[kind](
                        this=exp.Literal.number(1)
                        if isinstance(n.this, exp.Star)
                        else (n.this.expressions[0] if isinstance(n.this, exp.Distinct) else n.this).copy()
                    )
                )
                and None
            ),
            'wrong aggregate',
        )
    yield from each(
        exp.Distinct,
        lambda n: (
            n.replace(n.expressions[0].copy()) and None
            if isinstance(n.parent, exp.Count)
            else n.pop() and None
        ),
        'dropped DISTINCT',
    )

    def no_condition(n):
        if not n.args.get('on'):
            return False
        n.set('on', exp.true())

    yield from each(exp.Join, no_condition, 'wrong join: no condition')

    def outer(n):
        if n.side or not n.args.get('on'):
            return False
        n.set('side', 'LEFT')

    yield from each(exp.Join, outer, 'wrong join: left for inner')

    def flipped(n):
        n.replace(
            {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LT, exp.LTE: exp.GT}[type(n)](
                this=n.this, expression=n.expression
            )
        )

    for kind in (exp.GT, exp.LT, exp.GTE, exp.LTE):
        yield from each(kind, flipped, 'flipped comparison')
    yield from each(exp.Limit, lambda n: n.pop() and None, 'dropped LIMIT')
    yield from each(
        exp.Literal,
        lambda n: (
            n.replace(exp.Literal.string(n.this + 'x') if n.is_string else exp.Literal.number(n.this + '1'))
            and None
        ),
        'another constant',
    )


def same(a, b):
    "Are two results equal, decided the slow way?"
    norm = lambda v: (
        (1, f'{v:.9g}')
        if isinstance(v, float) and not v.is_integer()
        else (1, f'{int(v)}')
        if isinstance(v, (int, float))
        else (2, v)
        if isinstance(v, str)
        else (0, '')
    )
    if len(a) != len(b):
        return False
    rows = sorted(tuple(map(norm, r)) for r in b)
    if not rows:
        return True
    return len(a[0]) == len(b[0]) and any(
        sorted(tuple(norm(r[i]) for i in p) for r in a) == rows
        for p in itertools.permutations(range(len(b[0])))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--data', required=True, help='folder with questions.csv and a script for each database'
    )
    parser.add_argument('--dialect', default='postgres')
    args = parser.parse_args()
    folder, counts, faults, golds = Path(args.data), {}, [], 0
    questions = list(csv.DictReader(open(folder / 'questions.csv', encoding='utf-8')))
    plain = {
        name: connect(folder / f'{name}.sql', args.dialect) for name in {r['db_name'] for r in questions}
    }  # for the second comparison: no guard, no limits

    def result(name, query):
        cursor = plain[name].execute(query)
        return len(cursor.description), cursor.fetchall()

    for row in questions:
        name, source, env = row['db_name'], str(folder / f"{row['db_name']}.sql"), TextToSQL()
        db = database(source, args.dialect)
        right = gold_results(db, row['query'], args.dialect)
        wanted = [result(name, g.query) for g in right]
        columns = {t: {c: kind for c, kind, _ in cs} for t, cs in db.columns.items()}
        for g in right:
            golds += 1
            variants = [
                ('itself', 'itself', g.query),
                *(('rewrite', *v) for v in rewrites(g.query, columns)),
                *(('mutant', *v) for v in mutants(g.query) if v[1] != g.query),
            ]
            for kind, how, query in variants:
                c = counts.setdefault(kind, {}).setdefault(how, Counter())
                try:
                    width, rows = result(name, query)
                except sqlite3.Error:
                    c['cannot be run'] += 1
                    continue
                equal = any(width == w and same(rows, r) for w, r in wanted)
                env.reset(row['question'], source, row['query'], args.dialect)
                env.answer(query)
                one = env.kpis['verified_resolution'] == 1
                c['n'] += 1
                c['truly equal'] += equal
                c['scored 1'] += one
                c['wrong verdict'] += one != equal
                if one != equal:
                    faults.append(
                        dict(kind=kind, how=how, gold=g.query, query=query, scored_1=one, truly_equal=equal)
                    )
    for f in faults[:20]:
        print(json.dumps(f, indent=1))
    for kind, by in counts.items():
        for how, c in by.items():
            print(f"{kind:8} {how:36} " + ', '.join(f'{k} {v}' for k, v in c.items()))
    total = {kind: sum(by.values(), Counter()) for kind, by in counts.items()}

    def share(k, n):
        return dict(share=round(k / n, 4), ci95=[round(x, 4) for x in wilson(k, n)], n=n)

    unequal = total['mutant']['n'] - total['mutant']['truly equal']
    figures = dict(
        questions=len(questions),
        golds=golds,
        itself_scores_1=share(total['itself']['scored 1'], golds),
        equal_rewrites_score_1=share(total['rewrite']['scored 1'], total['rewrite']['truly equal']),
        rewrites_with_another_result=total['rewrite']['n'] - total['rewrite']['truly equal'],
        mutants_with_another_result_score_0=share(
            total['mutant']['n'] - total['mutant']['scored 1'], unequal
        ),
        mutants_with_the_same_result=total['mutant']['truly equal'],
        wrong_verdicts=len(faults),
    )
    commit, dirty = git_state(Path(__file__).parent)
    print(
        json.dumps(
            dict(
                name='sql_match',
                figures=figures,
                goal='every gold query and every equal rewrite scores 1, every mutant with another result 0',
                holds=not faults and total['itself']['scored 1'] == golds,
                machine=processor(),
                commit=commit[:7] + '+' * dirty,
            )
        )
    )


if __name__ == '__main__':
    main()
