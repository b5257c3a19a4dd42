"""Scripts, dumps and queries of MySQL: what SQLite holds is what a MariaDB server holds, or the statement was refused.

The recorded dump needs no server. The others start one, and are skipped where MariaDB is absent."""

import math
import warnings
from pathlib import Path

import pytest

from rlops_lab.environments.text_to_sql.database import Database, QueryLimits
from rlops_lab.environments.text_to_sql.kinds import Untranslatable
from rlops_lab.environments.text_to_sql.results import gold_results
from rlops_lab.environments.text_to_sql.sources import connect

HERE = Path(__file__).parent
SCRIPT = (HERE / 'mysql_tables.sql').read_text(encoding='utf-8')


def loaded(source):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return Database(connect(source, 'mysql'), QueryLimits(value=10**6))


def rows(db, table):
    return sorted(map(tuple, db.run(f'SELECT * FROM "{table}"', 999).rows), key=order)


def order(row):
    return [(value is not None, str(type(value)), value if value is not None else 0) for value in row]


# ---- a recorded dump

CUSTOMER = [
    (1, 'O\'Neil; "q"\n\t\\', 'a', 'x,z', 1, 12.5, 1.5, 2.5, '2024-01-02 03:04:05', '2024-01-02 03:04:05',
     '2024-01-02 03:04:05.125', '2024-02-29', '12:30:00', 2024, b'\0\xffA', b'AB', b'AB\0\0', 21, 2**63 - 1,
     '/*!50003 long */ -- text /* not */ # comment', 'ab'),
    (30, 'def', 'a', 'x,y', 1, 0.0, None, None, '2024-01-01 00:00:00', '2024-01-01 12:00:00', None, None, None, None,
     None, None, None, 5, None, None, 'AB'),
    (31, 'zwei äöü € 😀', 'a', 'x,y', 1, 0.0, None, None, '2024-01-01 00:00:00', '2024-01-01 12:00:00', None, None,
     None, None, None, None, None, 5, None, None, None),
    (32, 'set', "it's", 'x,y', 1, 0.0, None, None, '2024-01-01 00:00:00', '2024-01-01 12:00:00', None, None, None,
     None, None, b"\\'", None, 5, None, 'a\x1ac\\%d\\_e\r\nDELIMITER ;;\n', None),
]


@pytest.mark.parametrize('name', ['mysql_dump.sql', 'mysql_tables.sql'])
def test_a_recorded_dump_and_its_script_make_the_tables_of_the_server(name):
    db = loaded(HERE / name)
    assert rows(db, 'customer') == CUSTOMER
    assert rows(db, 'order lines') == [(1, 1, 1, 1.5, 2), (1, 2, 1, 3.0, 3), (2, 1, None, 1.5, 2)]
    assert rows(db, 'log') == [(1, 'one'), (2, 'two')]
    assert rows(db, 'totals') == [(1, 2, 4.5)] and len(rows(db, 'active ones')) == 4
    kinds = db.types['customer']
    assert [kinds[name] for name in ('name', 'code', 'kind', 'bits', 'fine')] == [
        'unicode', 'cased', 'enum', 'int', 'fraction',
    ]


def test_bytes_that_a_dump_writes_as_they_are_say_what_to_do(tmp_path):
    (tmp_path / 'shop.sql').write_bytes(b"CREATE TABLE t (b blob); INSERT INTO t VALUES (_binary '\xff');")
    with pytest.raises(ValueError, match='let `mysqldump --hex-blob` write bytes as digits'):
        connect(tmp_path / 'shop.sql', 'mysql')


# ---- each script is loaded there and here, and so is its dump


def of_server(kind, value):
    "A value of the server as SQLite keeps it"
    if value is None or kind in ('blob', 'binary', 'varbinary'):
        return value
    if kind == 'bit':
        return int.from_bytes(value, 'big')
    text = value.decode()
    if kind.endswith('int') or kind == 'year':
        return int(text)
    if kind in ('decimal', 'double', 'float'):
        return float(text)
    return text.rstrip('0').rstrip('.') if '.' in text and kind in ('datetime', 'timestamp', 'time') else text


def quoted(name):
    return '`' + name.replace('`', '``') + '`'


def tables_there(server):
    found = {}
    for table, columns in server.columns('d').items():
        shown = ', '.join(f'hex(cast({quoted(name)} AS binary))' for name, _ in columns)
        values = server.rows('d', f'SELECT {shown} FROM {quoted(table)}')
        kinds = [kind for _, kind in columns]
        kept = [tuple(map(of_server, kinds, row)) for row in values]
        found[table] = [name for name, _ in columns], sorted(kept, key=order)
    return found


def close(one, two):
    "A `float` is shown with six digits"
    both = isinstance(one, float) and isinstance(two, float)
    return math.isclose(one, two, rel_tol=2e-6) if both else type(one) is type(two) and one == two


def assert_same(there, db):
    assert set(there) == set(db.columns)
    for table, (names, kept) in there.items():
        assert [name for name, *_ in db.columns[table]] == names
        here = rows(db, table)
        assert len(kept) == len(here)
        for row, other in zip(kept, here):
            assert all(map(close, row, other)), (row, other)


SCRIPTS = (HERE / 'mysql_scripts.sql').read_text(encoding='utf-8')
LOADED = dict(part.split('\n', 1) for part in SCRIPTS.split('-- # ')[1:])


@pytest.mark.parametrize('name', LOADED)
def test_a_script_and_its_dump_make_the_tables_of_the_server(mysql, name):
    mysql.load('d', LOADED[name])
    there = tables_there(mysql)
    assert_same(there, loaded(LOADED[name]))
    for options in ((), ('--skip-extended-insert', '--complete-insert'), ('--skip-comments', '--skip-add-drop-table')):
        assert_same(there, loaded(mysql.dump('d', '--hex-blob', *options).decode()))


def test_the_recorded_script_makes_the_tables_of_the_server(mysql):
    mysql.load('d', SCRIPT)
    there = tables_there(mysql)
    for source in (SCRIPT, mysql.dump('d', '--hex-blob', '--routines').decode()):
        assert_same(there, loaded(source))


REFUSED = {
    'INSERT INTO t (n) VALUES (300), (1), (18446744073709551615)': '64 bits',
    "INSERT INTO t (v) VALUES ('longer')": 'more than 5 characters',
    'INSERT INTO t (v) VALUES (1e3)': 'a number with an exponent',
    'INSERT INTO t (y) VALUES (24)': 'no year',
    "INSERT INTO t (at) VALUES ('2024-01-01 00:00:00.6')": 'finer than its column',
    "INSERT INTO t (at) VALUES ('0000-00-00 00:00:00')": 'is no day',
    "INSERT INTO t (at) VALUES ('2024-01-01 00:00:00+02:00')": 'an offset',
    'INSERT INTO t (f) VALUES (1.005)': 'more than 2 digits',
    r"INSERT INTO t (v) VALUES ('a\0b')": 'zero byte',
    "INSERT INTO t (v) VALUES (_latin1 x'E9')": 'not in UTF-8',
    "SET NAMES latin1; INSERT INTO t (v) VALUES ('é')": 'the script says latin1',
    "SET time_zone = '+02:00'; INSERT INTO t (ts) VALUES ('2024-01-01')": 'only UTC',
    "SET sql_mode = 'ANSI_QUOTES'": 'changes how strings are read',
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')": 'changes how strings are read',
    'INSERT INTO t (v) VALUES (@x)': 'no value that is written out',
    'INSERT INTO t (n) VALUES (LAST_INSERT_ID())': 'no value that is written out',
    'INSERT INTO t VALUES (1,1,1,1,1,1,1) ON DUPLICATE KEY UPDATE n = 2': 'replace others',
    'REPLACE INTO t (n) VALUES (1)': 'replace others',
    'INSERT IGNORE INTO k SELECT a, b FROM k': 'which rows of the query',
    'INSERT IGNORE INTO i VALUES (NULL)': 'which numbers its id gets',
    'INSERT IGNORE INTO k VALUES (1, NULL)': 'a NULL where none may be',
    "INSERT IGNORE INTO k VALUES (1, 'é')": 'may equal another key',
    'ALTER TABLE k ADD CHECK (a > 0); INSERT IGNORE INTO k VALUES (1, 1)': 'left out on the server by a CHECK',
    'INSERT INTO i VALUES (5), (NULL); INSERT INTO i VALUES (NULL)': 'next number of i_id_seq is not known',
    'CREATE TABLE u LIKE t': 'no columns that can be read',
    'CREATE TABLE u (x int) SELECT a FROM k': 'columns of its own and those of a query',
    'CREATE TABLE u (a int, b int INVISIBLE)': 'Invisible',
    'CREATE TABLE u (a varchar(9) CHARACTER SET binary)': 'holds bytes',
    'ALTER TABLE t MODIFY v int': 'this change of a table',
    'RENAME TABLE t TO u': 'not read',
    'TRUNCATE t': 'not read',
    'CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 7; INSERT INTO t (n) VALUES (1)': 'a trigger',
    'DELIMITER ;;\nCREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.n = 7; END;;\nDELIMITER ;\n'
    'INSERT INTO t (n) VALUES (1)': 'a trigger',
    'DELIMITER //\nCREATE PROCEDURE p() INSERT INTO t (n) VALUES (3) //\nDELIMITER ;\nCALL p()': 'CALL p',
}
TABLES = """
CREATE TABLE t (n bigint unsigned, v varchar(5), y year, at datetime, ts timestamp NULL, f float(7,2), p int);
CREATE TABLE k (a int, b varchar(5) NOT NULL UNIQUE); CREATE TABLE i (id int AUTO_INCREMENT PRIMARY KEY);
"""


@pytest.mark.parametrize('statement', REFUSED)
def test_what_the_server_would_change_is_refused_by_name(statement):
    with pytest.raises(ValueError, match=REFUSED[statement]):
        loaded(f'{TABLES}{statement};\n')


# ---- queries

PEOPLE = r"""
CREATE TABLE city (id int PRIMARY KEY, name varchar(20), code char(3) COLLATE utf8mb4_bin, area decimal(8,2));
CREATE TABLE person (id int PRIMARY KEY, name varchar(20), nick varchar(20), born date, seen datetime, score double,
  rating float, paid decimal(8,2), active boolean, kind enum('z','a','m'), city_id int, odd varchar(9), e varchar(9));
INSERT INTO city VALUES (1,'Oslo','OSL',454.1),(2,'bergen','BGO',465.29),(3,'Bergen','bgo',NULL);
INSERT INTO person VALUES (1,'Ann','annie','1980-02-29','2024-01-31 10:00:00',1.5,0.1,10.25,1,'z',1,'a ','é'),
  (2,'bob',NULL,'1990-12-31','2024-02-29 23:59:59',2.5,2.5,20.5,0,'a',2,'a','e'),
  (3,'BOB','Bobby',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'A','E'),
  (4,'Cy','x_y','2000-01-01','2023-12-31 00:00:00',-1.5,-3.25,-0.05,1,'m',2,'b%','f');
"""
EQUAL = """SELECT name FROM person WHERE name = 'BOB'
SELECT name FROM person WHERE name IN ('bob', 'ANN')
SELECT count(*) FROM person GROUP BY name
SELECT count(DISTINCT name) FROM person
SELECT name FROM person WHERE name LIKE 'b%'
SELECT code FROM city WHERE code = 'bgo'
SELECT kind FROM person WHERE kind = 'A'
SELECT name FROM person WHERE NOT active
SELECT sum(active), sum(paid), sum(score) FROM person
SELECT paid * 2, paid + 1, id % 2, round(paid, 1) FROM person
SELECT rating FROM person WHERE rating > 0.1
SELECT concat(name, ' ', nick), substring(name, 1, 2) FROM person
SELECT coalesce(nick, 'none'), CASE name WHEN 'BOB' THEN 1 ELSE 0 END FROM person
SELECT name FROM person WHERE seen > '2024-01-31' AND born < '2000-01-01'
SELECT c.name, count(p.id) FROM city c LEFT JOIN person p ON c.id = p.city_id GROUP BY c.id, c.name
SELECT a.name FROM city a JOIN city b ON a.name = b.name WHERE a.id <> b.id
WITH b AS (SELECT name AS n FROM person) SELECT n FROM b WHERE n = 'BOB'
SELECT name, rank() OVER (ORDER BY paid DESC) FROM person
SELECT name FROM city UNION SELECT 'BERGEN'
SELECT greatest(id, city_id), char_length(e) FROM person""".splitlines()
UNLIKE = """SELECT name FROM person WHERE upper(name) = 'bob'
SELECT 'a' = 'A'
SELECT code FROM city WHERE code LIKE 'b%'
SELECT odd FROM person WHERE odd = 'a'
SELECT e FROM person WHERE e = 'e'
SELECT e FROM person WHERE e LIKE 'e%'
SELECT name FROM person WHERE name = 'é'
SELECT e FROM person GROUP BY e
SELECT count(DISTINCT concat(name, '!')) FROM city
SELECT DISTINCT concat(name, '!') FROM city
SELECT concat(name, '!') FROM city GROUP BY 1
SELECT count(*) OVER (PARTITION BY concat(name, '')) FROM city
WITH b AS (SELECT concat(name, '') AS n FROM person) SELECT n FROM b WHERE n = 'BOB'
SELECT locate('B', name) FROM person
SELECT length(e) FROM person
SELECT kind FROM person ORDER BY kind LIMIT 1
SELECT avg(paid) FROM person
SELECT id / 2 FROM person""".splitlines()


def values(row):
    "Numbers, and texts in one case: which of two equal ones a group shows is anybody's guess"
    def plain(value):
        try:
            return float(value)
        except (TypeError, ValueError):
            return value if value is None else str(value).lower()

    return tuple(map(plain, row))


@pytest.mark.parametrize('query', EQUAL)
def test_a_query_gives_what_the_server_gives(mysql, query):
    mysql.load('d', PEOPLE)
    ours = gold_results(loaded(PEOPLE), query, 'mysql')[0]
    named = [f'c{place}' for place in range(len(ours.rows[0]))]
    shown = ', '.join(f'hex(cast({name} AS binary))' for name in named)
    found = mysql.rows('d', f'WITH q ({", ".join(named)}) AS ({query}) SELECT {shown} FROM q')
    theirs = [values(value if value is None else value.decode() for value in row) for row in found]
    here = list(map(values, ours.rows))
    assert len(theirs) == len(here)
    for row, other in zip(sorted(theirs, key=order), sorted(here, key=order)):
        assert all(map(close, row, other)), (row, other)


@pytest.mark.parametrize('query', UNLIKE)
def test_a_query_that_sqlite_would_answer_otherwise_is_refused(query):
    with pytest.raises(Untranslatable, match="dialect='sqlite'"):
        gold_results(loaded(PEOPLE), query, 'mysql')
