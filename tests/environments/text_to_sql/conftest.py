"One PostgreSQL server for the tests of this folder, which are skipped where its programs or psycopg are absent."

from pathlib import Path

import pytest
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
