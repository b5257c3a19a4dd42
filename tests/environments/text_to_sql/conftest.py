"One PostgreSQL and one MariaDB server for the tests of this folder, which are skipped where their programs are absent."

from pathlib import Path

import pytest
from mysql_server import missing as no_mysql
from mysql_server import mysql_server
from postgres_server import missing, postgres_server

TABLES = (Path(__file__).parent / 'postgres_tables.sql').read_text(encoding='utf-8')


@pytest.fixture(scope='session')
def postgres():
    if why := missing():
        pytest.skip(why)
    with postgres_server() as server:
        server.load('people', TABLES)
        yield server


@pytest.fixture(scope='session')
def people(postgres):
    "Address of the tables of postgres_tables.sql, for a role that can only read"
    return postgres.address('people')


@pytest.fixture(scope='session')
def mysql():
    if why := no_mysql():
        pytest.skip(why)
    with mysql_server() as server:
        yield server
