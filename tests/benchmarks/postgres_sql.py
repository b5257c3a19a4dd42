"""Does a translated query give in SQLite what it gives on a real PostgreSQL?

Each script is loaded into a server and into SQLite, and so are two dumps of it, as rows to copy and as INSERTs.
Each gold query runs on the server and, translated, in SQLite: the results are equal, or the translation was
refused, or they differ without a word.

    make bench BENCH=postgres_sql ARGS="--data FOLDER"

FOLDER has `questions.csv` (columns db_name, query) and `DB_NAME.sql` for each database. Needs PostgreSQL's programs."""

import argparse
import csv
import json
import math
import sys
import warnings
from collections import Counter
from decimal import Decimal
from pathlib import Path

import psycopg
from _machine import processor

from rlops_lab.core import git_state
from rlops_lab.environments.text_to_sql.database import database
from rlops_lab.environments.text_to_sql.results import gold_results, sql_statements
from rlops_lab.stats import wilson

sys.path.insert(0, str(Path(__file__).parents[1]))
from postgres_server import missing, postgres_server


def plain(value):
    "A value that can be compared: a number, a text or None"
    if isinstance(value, (bool, int, float, Decimal)):
        return float(value)
    return value if value is None else str(value)


def sort_key(row):
    return [(value is not None, isinstance(value, str), value if value is not None else 0) for value in row]


def same(rows, others):
    "The same rows in any order, numbers to six digits (a `real` has seven)"
    pairs = zip(sorted(rows, key=sort_key), sorted(others, key=sort_key))
    return len(rows) == len(others) and all(map(same_row, *zip(*pairs))) if rows else not others


def same_row(row, other):
    def close(one, two):
        both = isinstance(one, float) and isinstance(two, float)
        return math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-9) if both else one == two

    return len(row) == len(other) and all(map(close, row, other))


def native(db, query):
    "Rows of the server, or None where it turns the query down"
    for name in ('json', 'jsonb', 'date', 'timestamp', 'timestamptz', 'time', 'interval', 'uuid'):
        db.adapters.register_loader(name, psycopg.types.string.TextLoader)
    try:
        return [tuple(map(plain, row)) for row in db.execute(query).fetchall()]
    except psycopg.Error as error:
        print(f'PostgreSQL turns down: {query[:200]}\n   {str(error).splitlines()[0]}')
        return None


def verdict(db, rows, query):
    "What the translation came to: equal, different or refused, with the reason"
    try:
        ours = [tuple(map(plain, row)) for row in gold_results(db, query, 'postgres')[0].rows]
    except ValueError as error:
        return 'refused', str(error).splitlines()[0]
    return ('equal' if same(rows, ours) else 'different'), f'{rows[:3]} there, {ours[:3]} here'


def sources(server, name, script):
    "A script, and what pg_dump writes of it"
    return dict(script=script, copied=server.dump(name), inserted=server.dump(name, '--inserts'))


def table_counts(db):
    return {table: db.run(f'SELECT count(*) FROM "{table}"').rows for table in db.columns}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', required=True, help='folder with questions.csv and a script for each database')
    args = parser.parse_args()
    if why := missing():
        sys.exit(why)
    warnings.simplefilter('ignore')
    folder, counts, faults = Path(args.data), Counter(), []
    by_name = {}
    for row in csv.DictReader(open(folder / 'questions.csv', encoding='utf-8')):
        by_name.setdefault(row['db_name'], []).extend(sql_statements(row['query']))
    with postgres_server() as server:
        for name, queries in by_name.items():
            script = (folder / f'{name}.sql').read_text(encoding='utf-8')
            server.load(name, script)
            with psycopg.connect(server.address(name, 'owner'), autocommit=True, options='-c timezone=UTC') as there:
                for source, text in sources(server, name, script).items():
                    here = database(text, 'postgres')
                    for table, rows in table_counts(here).items():
                        counts['tables'] += 1
                        if native(there, f'SELECT count(*) FROM public."{table}"') != [tuple(map(float, rows[0]))]:
                            faults.append(dict(database=name, source=source, table=table))
                    for query in queries:
                        if (rows := native(there, query)) is None:
                            counts['turned down by PostgreSQL'] += 1
                            continue
                        found, why = verdict(here, rows, query)
                        counts[found] += 1
                        if found == 'different':
                            faults.append(dict(database=name, source=source, query=query, why=why))
                        if found == 'refused' and source == 'script':
                            print(f'refused: {query[:160]}\n   {why[:200]}')
    for fault in faults[:20]:
        print(json.dumps(fault, indent=1, ensure_ascii=False))
    ran = counts['equal'] + counts['refused'] + counts['different']
    equal = wilson(counts['equal'], ran)
    figures = dict(
        databases=len(by_name),
        sources='script, pg_dump, pg_dump --inserts',
        tables=counts['tables'],
        queries=ran,
        equal=counts['equal'],
        equal_ci95=[round(bound, 3) for bound in equal],
        refused=counts['refused'],
        different=counts['different'],
        turned_down_by_postgres=counts['turned down by PostgreSQL'],
    )
    commit, dirty = git_state(Path(__file__).parent)
    goal = 'scripts and dumps load; each gold query is equal to the server or refused, none silently different'
    where = dict(machine=processor(), commit=commit[:7] + '+' * dirty)
    print(json.dumps(dict(name='postgres_sql', figures=figures, goal=goal, holds=not faults) | where))


if __name__ == '__main__':
    main()
