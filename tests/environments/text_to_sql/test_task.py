"Text-to-SQL: what no query may do, whatever it is; and results compared with a second, slow comparison."

import itertools
import os
import random
import sqlite3
import threading
import time
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlops_lab.environments.contract import call_tool
from rlops_lab.environments.text_to_sql.clinic import (
    ClinicSQL,
    clinic,
    draw_question,
    questions,
)
from rlops_lab.environments.text_to_sql.database import (
    FUNCTIONS,
    Database,
    QueryLimits,
    copies,
    database,
)
from rlops_lab.environments.text_to_sql.results import (
    TOLERANCE,
    same_result,
    sql_statements,
    tables_in,
)
from rlops_lab.environments.text_to_sql.sources import connect, to_sqlite
from rlops_lab.environments.text_to_sql.task import TextToSQL, schema

SHOP = """CREATE TABLE product(id INTEGER PRIMARY KEY, name TEXT, price REAL);
CREATE TABLE sale(product_id, city, pieces);
CREATE VIEW cheap AS SELECT * FROM product WHERE price<5;
INSERT INTO product VALUES (1, 'lamp', 4.5), (2, 'rug', 7.25), (3, 'it''s; a bowl', NULL);
INSERT INTO sale VALUES (1, 'Dover', 2), (2, 'Leeds', 1), (1, 'Leeds', 5);"""
SMALL = QueryLimits(instructions=200_000, seconds=0.5, memory=2**26)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shop_file(here):
    with sqlite3.connect('shop.sqlite') as db:
        db.executescript(SHOP)
    db.close()
    return here / 'shop.sqlite'


# ---- no query does harm

WORDS = st.sampled_from(
    '''SELECT FROM WHERE GROUP BY ORDER LIMIT UNION ALL WITH RECURSIVE AS JOIN ON IN NOT EXISTS INSERT INTO VALUES
    UPDATE SET DELETE DROP TABLE CREATE TEMP VIEW TRIGGER INDEX ALTER RENAME ATTACH DETACH DATABASE PRAGMA
    VACUUM ANALYZE REINDEX BEGIN COMMIT SAVEPOINT REPLACE EXPLAIN product sale cheap name price pieces city
    main temp sqlite_master x y 'x.sqlite' 'lamp' 1 1000000000 * ( ) , ; = < + || -- count(*) sum(pieces)
    printf('%99999d',1) zeroblob(1e9) load_extension('x') writefile('x','y') query_only journal_mode
    pragma_table_info('sale') json_each('[1]') NULL CASE WHEN THEN END'''.split()
)
STARTS = st.sampled_from(
    [
        '',
        'SELECT',
        'SELECT * FROM',
        'WITH x AS (SELECT',
        'DELETE FROM',
        'INSERT INTO',
        'PRAGMA',
        'ATTACH',
        'VACUUM INTO',
        'CREATE TABLE',
        'SELECT count(*) FROM product, sale,',
    ]
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(STARTS, st.lists(WORDS, max_size=12))
def test_any_query_gives_a_result_and_leaves_all_as_it_was(here, start, words):
    guarded = database(SHOP, limits=SMALL)
    query = ' '.join([start, *words])
    r = guarded.run(query)
    assert bool(r.error) == (not r.columns), (query, r)
    assert not os.listdir(here), query
    counts = (
        'SELECT (SELECT count(*) FROM product), (SELECT sum(pieces) FROM sale), (SELECT count(*) FROM '
        'sqlite_master)'
    )
    assert guarded.run(counts).rows == [(3, 8, 3)], query


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_any_text_is_an_answer_that_does_not_raise(text):
    env = TextToSQL(SMALL)
    env.reset('?', SHOP, 'SELECT name FROM product')
    for name in ('run', 'answer', 'describe'):
        assert isinstance(call_tool(env, name, {'table' if name == 'describe' else 'query': text})[0], str)
    assert env.get_reward() < 1


WRITES = [
    "INSERT INTO sale VALUES (1, 1, 1)",
    "UPDATE sale SET pieces=0",
    "DELETE FROM sale",
    "DROP TABLE sale",
    "DROP VIEW cheap",
    "CREATE TABLE x(y)",
    "CREATE TEMP TABLE x(y)",
    "CREATE VIRTUAL TABLE x USING fts5(y)",
    "CREATE INDEX i ON sale(city)",
    "CREATE TRIGGER t AFTER INSERT ON sale BEGIN SELECT 1; END",
    "ALTER TABLE sale RENAME TO x",
    "ALTER TABLE sale ADD COLUMN x",
    "REPLACE INTO product VALUES (1, 'x', 0)",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ANALYZE",
    "WITH a AS (SELECT 1) DELETE FROM sale",
    "INSERT INTO sale SELECT * FROM sale RETURNING *",
    "EXPLAIN DELETE FROM sale",
    "UPDATE sqlite_master SET sql=''",
    "DELETE FROM cheap",
    "DROP TABLE sqlite_master",
    "CREATE TABLE x AS SELECT * FROM sale",
]
KINDS = [
    *(('write', q) for q in WRITES),
    *(
        ('attach', q)
        for q in [
            "ATTACH 'x.sqlite' AS x",
            "ATTACH ':memory:' AS x",
            "ATTACH 'file:x?mode=rwc' AS x",
            "DETACH main",
            "VACUUM INTO 'x.sqlite'",
            "VACUUM",
        ]
    ),
    *(
        ('pragma', q)
        for q in [
            "PRAGMA query_only=0",
            "PRAGMA writable_schema=1",
            "PRAGMA table_info(sale)",
            "PRAGMA journal_mode=WAL",
            "SELECT * FROM pragma_table_info('sale')",
        ]
    ),
    ('extension', "SELECT load_extension('x')"),
    ('extension', "SELECT name FROM product WHERE load_extension(name, 'x')"),
    ('statements', "SELECT 1; SELECT 2"),
    ('statements', "SELECT 1; DROP TABLE sale"),
]


@pytest.mark.parametrize('kind,query', KINDS)
def test_what_is_not_reading_is_refused_and_counted(shop_file, kind, query):
    before = shop_file.read_bytes()
    for source in (shop_file, SHOP):
        env = TextToSQL()
        env.reset('?', str(source), 'SELECT name FROM product')
        assert env.run(query).startswith('refused')
        assert env.kpis['refused'] == env.kpis[f'refused_{kind}'] == 1 and env.get_reward() == -0.2
        assert env.answer('SELECT name FROM product') and env.get_reward() == 0.8
    assert shop_file.read_bytes() == before and os.listdir(shop_file.parent) == ['shop.sqlite']


BOMBS = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n ORDER BY i DESC",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT group_concat(i) FROM n",
    "WITH RECURSIVE n(s) AS (SELECT 'x' UNION ALL SELECT s||s FROM n) SELECT max(length(s)) FROM n",
    f"SELECT count(*) FROM {', '.join(f'sale s{i}' for i in range(40))}",
    f"SELECT DISTINCT s1.rowid+s2.rowid*s3.rowid FROM {', '.join(f'sale s{i}' for i in range(20))}",
    "SELECT zeroblob(2000000000)",
    "SELECT randomblob(2000000000)",
    "SELECT hex(replace(printf('%9000d', 1), ' ', '123456789'))",
    "SELECT 1" + ' ' * 20_000,
    "SELECT '" + 'x' * 20_000 + "'",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) "
    "SELECT length(printf('%19000d', i)||printf('%900d', i)), printf('%15000d', i) FROM n ORDER BY 2",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 100000000) SELECT a.i FROM n a, n "
    "b, n c WHERE a.i+b.i+c.i=0",
]


@pytest.mark.parametrize('query', BOMBS, ids=range(len(BOMBS)))
def test_bombs_are_stopped(query):
    guarded, began = database(SHOP), time.process_time()
    r = guarded.run(query)
    assert r.refused == 'runaway', r
    assert time.process_time() - began < 5
    assert guarded.run('SELECT 1').rows == [(1,)]


def nested(n, form):
    return (
        'WITH c0 AS (SELECT 1 AS x)'
        + ''.join(f', c{i} AS ({form(i - 1)})' for i in range(1, n + 1))
        + f' SELECT * FROM c{n}'
    )


FORMS = [
    lambda i: f'SELECT a.x FROM c{i} a, c{i} b',
    lambda i: f'SELECT x FROM c{i} UNION ALL SELECT x FROM c{i}',
    lambda i: f'SELECT x FROM c{i} WHERE x IN c{i}',
    lambda i: f'SELECT (SELECT max(x) FROM "C{i}") AS x FROM [c{i}]',
    lambda i: f'WITH d AS (SELECT x FROM c{i}) SELECT a.x FROM d a JOIN d b',
    lambda i: f'SELECT x FROM (SELECT x FROM c{i}) WHERE EXISTS (SELECT 1 FROM `c{i}`)',
]


@pytest.mark.parametrize('form', FORMS, ids=range(len(FORMS)))
def test_parts_that_multiply_while_compiling_are_refused(form):
    guarded = database(SHOP)
    assert guarded.run(nested(2, form)).rows, 'a few are fine'
    began = time.process_time()
    assert guarded.run(nested(25, form)).refused == 'runaway'
    assert time.process_time() - began < 2


def test_parts_named_by_strings_cannot_slip_through():
    "SQLite takes a string for a name; whoever counts copies must not miss it"
    parts = ''.join(f", 'c{i}' AS (SELECT a.x FROM 'c{i - 1}' a, 'c{i - 1}' b)" for i in range(1, 26))
    assert copies(f"WITH 'c0' AS (SELECT 1 AS x){parts} SELECT * FROM 'c25'") > QueryLimits().copies


def test_every_allowed_function_gives_the_same_twice():
    names = {
        n for (n,) in sqlite3.connect(':memory:').execute('SELECT DISTINCT name FROM pragma_function_list')
    }
    assert (
        not {
            'random',
            'randomblob',
            'zeroblob',
            'load_extension',
            'changes',
            'last_insert_rowid',
            'fts3_tokenizer',
            'sqlite_compileoption_get',
        }
        & FUNCTIONS
    )
    assert {'avg', 'count', 'strftime', 'substr', 'row_number', 'json_extract', 'total'} <= FUNCTIONS & names


# ---- results

VALUES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.25, 1e6 + 0.5]),
    st.sampled_from(['', 'a', 'b', '1']),
)


@st.composite
def tables(draw, width=None):
    width = width or draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[VALUES] * width), max_size=5))


def slowly(a, b):
    "Equal under some permutation? Floats are few and far apart here, so no tolerance is needed"

    def norm(rows, p):
        return sorted(
            [[repr(float(r[i])) if isinstance(r[i], (int, float)) else repr(r[i]) for i in p] for r in rows]
        )

    if len(a) != len(b):
        return False
    if not a:
        return True
    if len(a[0]) != len(b[0]):
        return False
    identity = range(len(b[0]))
    return any(norm(a, p) == norm(b, identity) for p in itertools.permutations(identity))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_same_result_agrees_with_all_permutations(data):
    width = data.draw(st.integers(1, 4))
    a, b = data.draw(tables(width)), data.draw(tables(width))
    if data.draw(st.booleans()):  # close relatives, which differ in one cell or not at all
        p = data.draw(st.permutations(range(width)))
        b = [tuple(r[i] for i in p) for r in data.draw(st.permutations(a))]
        if b and data.draw(st.booleans()):
            b[0] = (data.draw(VALUES), *b[0][1:])
    assert same_result(a, b) == slowly(a, b)


@settings(max_examples=200, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_noise_within_the_tolerance_changes_nothing(rows, r):
    noisy = [
        tuple(v * (1 + r.uniform(-1, 1) * TOLERANCE / 2) if isinstance(v, float) else v for v in row) for row in rows
    ]
    r.shuffle(noisy)
    assert same_result(noisy, rows)


def test_many_like_columns_are_compared_in_no_time():
    "Twelve columns of zeros and ones, of which no permutation fits"
    r = random.Random(0)
    a, b = ([tuple(r.randint(0, 1) for _ in range(12)) for _ in range(40)] for _ in range(2))
    began = time.process_time()
    assert same_result([row[::-1] for row in a], a) and not same_result(b, a)
    assert time.process_time() - began < 2


# ---- databases and rows


def test_files_that_are_no_database_say_so(here):
    (here / 'a.sqlite').write_bytes(b'SQLite format 3\0' + bytes(2000))
    with pytest.raises(ValueError, match='cannot be read'):
        database('a.sqlite')
    (here / 'empty.sqlite').write_bytes(b'')
    with pytest.raises(ValueError, match='no tables'):
        database('empty.sqlite')
    with pytest.raises(FileNotFoundError, match='no database at'):
        database('none.sqlite')


def test_a_changed_file_is_opened_again(shop_file):
    assert database(shop_file).run('SELECT count(*) FROM sale').rows == [(3,)]
    shop_file.unlink()
    with sqlite3.connect(shop_file) as db:
        db.executescript(SHOP + 'DELETE FROM sale')
    db.close()
    os.utime(shop_file, (1, 1))
    assert database(shop_file).run('SELECT count(*) FROM sale').rows == [(0,)]


def test_text_that_is_not_utf8_and_values_that_are_too_long(here):
    with sqlite3.connect('odd.sqlite') as db:
        db.execute('CREATE TABLE "odd name"(a TEXT, "select" TEXT)')
        db.execute("INSERT INTO \"odd name\" VALUES (CAST(x'ff41' AS TEXT), ?)", ('x' * 30_000,))
    db.close()
    with pytest.warns(UserWarning, match='odd name.select holds values of up to 30,000 bytes.*Limits'):
        env = TextToSQL()
        env.reset('?', 'odd.sqlite', 'SELECT a FROM "odd name"')
    assert 'A' in env.run('SELECT a FROM "odd name"')
    assert 'more than 20,000 bytes' in env.run('SELECT "select" FROM "odd name"')
    env = TextToSQL(QueryLimits(value=100_000))
    env.reset('?', 'odd.sqlite', 'SELECT a FROM "odd name"')
    assert '…' in env.describe('ODD NAME')


def test_other_dialects_and_their_left_overs():
    script = """SET search_path = public;
        CREATE TABLE public.a (b bigint PRIMARY KEY, c timestamp without time zone DEFAULT now(), d varchar(3));
        INSERT INTO public.a (b, d) VALUES (1, 'x;y'); GRANT SELECT ON a TO x;"""
    with pytest.warns(UserWarning, match='GRANT, SET'):
        made = to_sqlite(script, 'postgres')
    assert Database(connect(made)).run('SELECT d FROM a').rows == [('x;y',)]
    assert (
        to_sqlite('SELECT b::text FROM public.a LIMIT 1', 'postgres', dict(a=dict(b='bigint')))
        == 'SELECT CAST(b AS TEXT) FROM a LIMIT 1'
    )


def test_each_thread_has_its_own_connection():
    found = []

    def work():
        env = ClinicSQL()
        env.reset('patients_in_city', 1)
        env.answer(draw_question('patients_in_city', 1).query)
        found.append((env.get_reward(), id(database(clinic('train')))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r for r, _ in found] == [1.0] * 4


def test_bad_rows_are_refused_before_anything_is_asked():
    for query, says in (
        ('SELECT x FROM product', 'no such column'),
        ('DELETE FROM sale', 'can only be read'),
        ([], 'give at least one'),
        (BOMBS[0], 'takes too long'),
    ):
        with pytest.raises(ValueError, match=says):
            TextToSQL().reset('?', SHOP, query)


def test_statements_and_tables():
    assert sql_statements("SELECT ';' -- a;b\n; SELECT 2;;") == ["SELECT ';' -- a;b", 'SELECT 2']
    assert tables_in(
        'SELECT * FROM a UNION SELECT * FROM (SELECT * FROM b) WHERE EXISTS (SELECT 1 FROM c)'
    ) == {'a', 'b', 'c'}


def test_questions_of_the_splits_share_nothing():
    seen = {
        split: {draw_question(r['family'], r['seed'], split).text for r in questions(380, split)}
        for split in ('train', 'eval')
    }
    assert not seen['train'] & seen['eval']
    rows = questions(38, 'train', 3)
    assert rows == questions(38, 'train', 3) != questions(38, 'train', 4)


def test_a_dump_and_a_script_in_a_transaction_make_a_database():
    made = connect(SHOP)
    dump = 'PRAGMA foreign_keys=OFF;\n' + '\n'.join(made.iterdump()) + '\n-- the end'
    assert Database(connect(dump)).run('SELECT count(*) FROM sale').rows == [(3,)]
    assert Database(connect('BEGIN; CREATE TABLE a(b); INSERT INTO a VALUES (1);')).run(
        'SELECT b FROM a'
    ).rows == [(1,)]


def test_gold_queries_that_sqlglot_cannot_read_still_count_in_order():
    env = TextToSQL()
    env.reset(
        '?',
        SHOP,
        "SELECT name FROM product NOT INDEXED WHERE name GLOB '[a-z]*' ORDER BY price",
        ordered=True,
    )
    env.answer("SELECT name FROM product WHERE name GLOB '[a-z]*' ORDER BY price")
    assert env.kpis['verified_resolution'] == 1


def test_plain_text_and_calls_reach_the_same_answer():
    from rlops_lab.models.tool_syntax import SYNTAXES
    from rlops_lab.rollouts.actions import read_action
    from rlops_lab.rollouts.episodes import step_environment

    for reply, says in (
        ("SELECT name FROM product", None),
        ('answer(query="SELECT name FROM product")', '(over)'),
        ("SELECT nme FROM product", 'error: no such column: nme'),
        ('Here it is:\n```sql\nSELECT name FROM product;\n```\nIt reads one table.', None),
    ):
        env = TextToSQL()
        env.reset('?', SHOP, 'SELECT name FROM product')
        messages, n_failed = step_environment(env, read_action(reply, SYNTAXES['python']))
        assert ([m['content'] for m in messages], n_failed) == ([says] if says else [], 0)
        assert env.done == (says in (None, '(over)')) and env.get_reward() == env.done


MEDIAN = '''WITH s AS (SELECT pieces FROM sale WHERE pieces IS NOT NULL)
SELECT avg(pieces) FROM (SELECT pieces FROM s ORDER BY pieces
LIMIT 2 - (SELECT count(*) FROM s) % 2 OFFSET (SELECT (count(*) - 1) / 2 FROM s))'''


def test_an_honest_query_that_sqlglot_cannot_read_is_no_runaway():
    assert database(SHOP).run(MEDIAN).rows == [(2.0,)]
    forms = [
        'WITH s(n) AS NOT MATERIALIZED (SELECT pieces FROM sale NOT INDEXED) SELECT sum(n) FROM s',
        "WITH s AS MATERIALIZED (SELECT 'x AS (' AS t) SELECT t FROM s LIMIT 2 - 1 % 2",
    ]
    for query in forms:
        assert database(SHOP).run(query).rows, query


@pytest.mark.parametrize('form', FORMS, ids=range(len(FORMS)))
def test_parts_that_multiply_are_counted_where_nothing_can_be_parsed(form):
    query = nested(25, form) + ' LIMIT 2 - (SELECT 1) % 2 OFFSET (SELECT 0)'
    began = time.process_time()
    assert database(SHOP).run(query).refused == 'runaway'
    assert time.process_time() - began < 2


REPLIES = {
    'two fences': '```sql\nSELECT 1\n```\nRather:\n```sql\nSELECT name FROM product\n```',
    'a fence in thoughts': '<think>```sql\nSELECT 1\n```</think>\nSELECT name FROM product;',
    'thoughts whose start the template wrote': 'Names, so ```SELECT 1```?\n</think>\n\nSELECT name FROM product',
    'thoughts before a fence': '<think>Names.</think>```\nSELECT name FROM product\n```',
}


@pytest.mark.parametrize('reply', REPLIES.values(), ids=REPLIES)
def test_the_last_fence_counts_and_thoughts_do_not(reply):
    env = TextToSQL()
    env.reset('?', SHOP, 'SELECT name FROM product')
    env.user(reply)
    assert env.get_reward() == 1


def test_an_amount_is_not_right_for_its_neighbour_unless_the_row_says_so():
    assert not same_result([(2_739_630,)], [(2_739_628.50,)])
    for tolerance, matched in ((None, 0), (1e-6, 1)):
        env = TextToSQL()
        more = {} if tolerance is None else dict(tolerance=tolerance)
        env.reset('?', SHOP, 'SELECT 2739628.50 FROM product LIMIT 1', **more)
        env.answer('SELECT 2739630')
        assert env.kpis['verified_resolution'] == matched


@pytest.fixture
def odd_file(here):
    "Names that must be quoted, a blob, NULLs, rows that are there twice, computed columns, full-text search"
    with sqlite3.connect('odd.sqlite') as db:
        db.executescript('''
        CREATE TABLE "order lines"("order date" TEXT, "select" INTEGER, "a""b" REAL, "c,d" BLOB, größe TEXT,
            twice AS ("select"*2));
        INSERT INTO "order lines" VALUES ('2026-01-01', 1, .1, x'00ff', 'groß'), ('2026-01-01', 1, .1, x'00ff', 'groß'),
            ('2026-01-02', 2, .1+.2, NULL, NULL), (NULL, NULL, NULL, NULL, NULL);
        CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('hello world');''')
    db.close()
    return here / 'odd.sqlite'


def test_names_are_shown_as_a_query_must_write_them(odd_file):
    env = TextToSQL()
    env.reset('?', str(odd_file), 'SELECT "order date" FROM "order lines"')
    assert env.list_tables() == 'note, "order lines"'
    columns = (
        '"order lines"("order date" TEXT, "select" INTEGER, "a""b" REAL, "c,d" BLOB, größe TEXT, twice)\n'
    )
    for table in ('order lines', '"Order Lines"'):
        assert env.describe(table).startswith(columns)
    for table in ('note', '"note"'):
        assert env.describe(table) == 'note(body)\nbody\nhello world\n(1 row)'
    assert (
        schema(database(odd_file))
        == 'note(body)\n"order lines"("order date", "select", "a""b", "c,d", größe, twice)'
    )


def test_blobs_nulls_and_repeated_rows_are_compared(odd_file):
    gold = 'SELECT "order date", "c,d", größe, "a""b", twice FROM "order lines"'

    def worth(query):
        env = TextToSQL()
        env.reset('?', str(odd_file), gold)
        env.answer(query)
        return env.get_reward()

    assert (
        worth(gold)
        == worth(
            'SELECT twice, "c,d", größe, round("a""b", 9), "order date" FROM "order lines" ORDER BY 5 DESC'
        )
        == 1
    )
    for old, new in (('SELECT', 'SELECT DISTINCT'), ('"c,d"', 'hex("c,d")'), ('twice', 'coalesce(twice, 0)')):
        assert worth(gold.replace(old, new)) == 0.1


def test_full_text_search_only_reads(odd_file):
    guarded = database(odd_file)
    assert guarded.run("SELECT body FROM note WHERE note MATCH 'hello'").rows == [('hello world',)]
    for query in (
        "INSERT INTO note VALUES ('x')",
        "INSERT INTO note(note) VALUES ('optimize')",
        'DELETE FROM note',
    ):
        assert guarded.run(query).refused == 'write'
    assert guarded.run('PRAGMA data_version=3').refused == 'pragma'


def test_scripts_are_known_however_they_are_written_and_long_names_are_no_file():
    for script in (
        'create\n  table a(b)',
        'CREATE  VIRTUAL TABLE a USING fts5(b)',
        'CREATE TEMP TABLE b(c); CREATE TABLE a(b)',
    ):
        assert 'a' in database(script).columns
    for name in ('x' * 5000, 'INSERT INTO a VALUES (1)' * 500, 'x\0y'):
        with pytest.raises(FileNotFoundError, match='no database at'):
            connect(name)


def test_a_question_that_nothing_answers_is_said_to_be_one():
    row = dict(
        question='Which product is dear?', database=SHOP, query='SELECT name FROM product WHERE price>99'
    )
    with pytest.warns(UserWarning, match='every query without rows is right'):
        TextToSQL().reset(**row)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        TextToSQL().reset(**row | dict(hidden=[SHOP.replace('7.25', '725')]))
