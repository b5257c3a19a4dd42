"Text-to-SQL on a real PostgreSQL: nothing is written or runs for long, and a translation gives what the server gives."

import math
import time
import warnings
from decimal import Decimal
from pathlib import Path

import pytest

from rlops_lab.environments.text_to_sql.database import QueryLimits, database
from rlops_lab.environments.text_to_sql.kinds import Untranslatable
from rlops_lab.environments.text_to_sql.results import gold_results
from rlops_lab.environments.text_to_sql.task import TextToPostgres, TextToSQL, describe, schema

HERE = Path(__file__).parent
TABLES = (HERE / 'postgres_tables.sql').read_text(encoding='utf-8')
QUERIES = [
    query.strip()
    for query in (HERE / 'postgres_queries.sql').read_text(encoding='utf-8').split(';\n')
    if query.strip()
]


@pytest.fixture(scope='module')
def here():
    "The same tables in SQLite"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return database(TABLES, 'postgres')


@pytest.fixture
def owner(postgres):
    "A connection that may do anything"
    import psycopg

    with psycopg.connect(
        postgres.address('people', 'owner'), autocommit=True, options='-c timezone=UTC'
    ) as db:
        for name in ('json', 'jsonb', 1009, 'interval'):  # 1009: text[]
            db.adapters.register_loader(name, psycopg.types.string.TextLoader)
        yield db


# ---- a query of the server and its translation


def plain(value):
    if isinstance(value, (bool, int, float, Decimal)):
        return float(value)
    return value if value is None else str(value)


def order(row):
    return [(value is not None, isinstance(value, str), value or 0) for value in row]


def agree(rows, others):
    "The same rows in any order; a `real` has seven digits"

    def close(one, two):
        if isinstance(one, float) and isinstance(two, float):
            return math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-9)
        return one == two

    def alike(row, other):
        return len(row) == len(other) and all(map(close, row, other))

    return len(rows) == len(others) and all(map(alike, sorted(rows, key=order), sorted(others, key=order)))


def rows_of(found):
    return [tuple(map(plain, row)) for row in found]


def test_each_translation_gives_what_the_server_gives_or_is_refused(owner, here):
    equal, refused, different = [], [], []
    for query in QUERIES:
        try:
            ours = rows_of(gold_results(here, query, 'postgres')[0].rows)
        except Untranslatable as error:
            assert "dialect='sqlite'" in str(error), 'a refusal names its cure'
            refused.append(query)
            continue
        (equal if agree(rows_of(owner.execute(query).fetchall()), ours) else different).append(query)
    assert not different
    assert len(equal) > 2 * len(refused) > 200


MEANS_ANOTHER_THING = """j->>'a'|info->>'a'
regular expression|name ~ '^A'
text order|max(name)
half to even|score::int
single precision|sum(rating)
month names|to_char(born, 'Mon')
interval|joined - seen
decimals as text|salary::text
truth as text|active::text
other letters|lower(c.name)""".splitlines()


@pytest.mark.parametrize('line', MEANS_ANOTHER_THING)
def test_what_sqlite_cannot_keep_is_refused_by_name(here, line):
    _, _, expression = line.partition('|')
    with pytest.raises(Untranslatable, match='(?s).+: .*dialect='):
        gold_results(here, f'SELECT {expression} FROM person p, city c', 'postgres')


# ---- dumps


@pytest.mark.parametrize(
    'options',
    [(), ('--inserts',), ('--column-inserts',), ('--clean', '--if-exists'), ('-C',), ('--rows-per-insert=3',)],
)
def test_a_dump_makes_the_same_tables_as_its_script(postgres, here, options):
    dump = postgres.dump('people', *options)
    with pytest.warns(UserWarning, match='left out statements'):
        made = database(dump, 'postgres')
    assert made.types == here.types
    for table in here.columns:
        query = f'SELECT * FROM {table}'
        assert sorted(map(str, made.run(query, 99).rows)) == sorted(map(str, here.run(query, 99).rows))


# ---- what no query may do

HARM = {
    'write': [
        'DELETE FROM orders',
        '/* a query */ UPDATE person SET n = 0',
        'WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone',
        'SELECT * INTO copy FROM orders',
        'SELECT * FROM orders FOR UPDATE',
        'CREATE TEMP TABLE x(y int)',
        'DO $$ BEGIN DELETE FROM orders; END $$',
        'BEGIN',
        'EXPLAIN ANALYZE DELETE FROM orders',
        'LISTEN x',
    ],
    'attach': ["COPY orders TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'"],
    'pragma': ['SET transaction_read_only = off', 'SHOW data_directory', 'RESET ALL'],
    'extension': ["LOAD 'x'"],
    'statements': [
        'SELECT 1; DROP TABLE orders',
        'SELECT 1; COMMIT; DELETE FROM orders',
        'SELECT 1 -- ;\n; ROLLBACK',
    ],
    'runaway': ['SELECT count(*) FROM generate_series(1, 1000000000)', 'SELECT 1' + ' ' * 20_000],
    '': [
        'SELECT pg_sleep(60)',
        'SELECT random()',
        'SELECT "pg_sleep"(60)',
        'SELECT U&"\\0070g_sleep"(60)',
        "SELECT set_config('statement_timeout', '0', false)",
        'SELECT pg_advisory_lock(1)',
        'SELECT pg_terminate_backend(1)',
        "SELECT nextval('city_id_seq')",
        "SELECT query_to_xml('DELETE FROM orders', true, true, '')",
        'SELECT nme FROM person',
        "SELECT 'open",
        '',
        'SELECT \0',
        'SELECT 1/0',
        'SELECT %s',
    ],
}


@pytest.mark.parametrize('offence', HARM)
def test_no_query_does_harm(postgres, owner, people, offence):
    env = TextToPostgres(QueryLimits(seconds=0.5))
    env.reset('?', people, 'SELECT count(*) FROM orders')
    for query in HARM[offence]:
        began = time.monotonic()
        result = env._database().run(query)
        assert (result.refused, bool(result.error), result.rows) == (offence, True, ()), (query, result)
        assert time.monotonic() - began < 5
    assert owner.execute('SELECT count(*) FROM orders').fetchone() == (9,)
    assert env._database().run('SELECT count(*) FROM orders').rows == [(9,)]


def test_a_role_that_could_write_is_turned_away(postgres, owner):
    with pytest.raises(ValueError, match='is a superuser.*(?s:.*)GRANT SELECT'):
        database(postgres.address('people', 'owner'))
    owner.execute('DROP ROLE IF EXISTS writer')
    owner.execute('CREATE ROLE writer LOGIN')
    owner.execute('GRANT SELECT, INSERT ON orders TO writer')
    with pytest.raises(ValueError, match='can change table orders'):
        database(postgres.address('people', 'writer'))
    owner.execute('REVOKE ALL ON orders FROM writer')
    with pytest.raises(ValueError, match='can read no table'):
        database(postgres.address('people', 'writer'))


def test_a_server_that_is_not_there_is_named_without_the_password(postgres):
    with pytest.raises(ValueError, match='no PostgreSQL server at postgresql://reader@/nowhere') as caught:
        database(f'postgresql://reader:secret@/nowhere?host={postgres.folder}')
    assert 'secret' not in str(caught.value)


# ---- episodes


def test_an_episode_in_the_servers_own_words(people):
    gold = "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) FROM orders WHERE status ~ '^[dn]'"
    env = TextToPostgres()
    env.reset('What is the median of the orders?', people, gold)
    assert 'person' in env.list_tables()
    assert '"Nick" text' in env.describe('person') and 'city_id -> city.id' in env.describe('person')
    assert env.run('SELECT nme FROM person').startswith('error: column "nme" does not exist')
    assert env.run("SELECT info->>'a' FROM person WHERE id = 1").splitlines()[1] == '1'
    places = 'row_number() OVER (ORDER BY amount) r, count(*) OVER () n'
    other = f'SELECT avg(amount) FROM (SELECT amount, {places} FROM orders '
    env.answer(other + "WHERE status IN ('done', 'new')) x WHERE r IN ((n + 1) / 2, (n + 2) / 2);")
    assert env.kpis['verified_resolution'] == 1 and env.kpis['expected_tables'] == 1


def test_each_environment_says_which_databases_it_reads(people):
    with pytest.raises(ValueError, match="TextToSQL cannot read 'postgresql.*use TextToPostgres"):
        TextToSQL().reset('?', people, 'SELECT 1')
    with pytest.raises(ValueError, match='TextToPostgres cannot read'):
        TextToPostgres().reset('?', 'CREATE TABLE a(b)', 'SELECT 1')


def test_gold_follows_rows_that_change(owner, people):
    env = TextToPostgres()
    env.reset('How many cities?', people, 'SELECT count(*) FROM city')
    owner.execute("INSERT INTO city (name) VALUES ('Oslo')")
    try:
        env.answer('SELECT count(id) FROM city')
        assert env.kpis['verified_resolution'] == 1
    finally:
        owner.execute("DELETE FROM city WHERE name = 'Oslo'")


def test_a_lost_connection_is_no_answer_and_is_made_anew(owner, people):
    there = database(people, limits=QueryLimits(rows=3))
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'reader'"
    assert owner.execute(ended).fetchone()[0] > 0
    with pytest.raises(ConnectionError, match='is gone'):
        there.run('SELECT 1')
    assert there.run('SELECT 1').rows == [(1,)]


def test_results_are_plain_values_and_cut(people):
    there = database(people, limits=QueryLimits(rows=2, value=50))
    found = there.run('SELECT id, salary, active, born, tags, info FROM person ORDER BY id')
    assert found.rows[0] == (1, 1000.1, True, '1980-02-29', '["a", "b"]', '{"a": 1, "b": "x"}') and found.more
    assert there.run("SELECT repeat('x', 99)").refused == 'runaway'
    assert describe(there, 'city').count('\n') == 4 and '"Nick"' in schema(there)
    assert there.run("SELECT name FROM city WHERE name LIKE '%New%' ORDER BY 1", 9).rows == [('New York',), ('Newark',)]
