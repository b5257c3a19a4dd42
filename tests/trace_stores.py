"Stores of traces on SQLite and on a PostgreSQL server of the tests' own."

import contextlib

from postgres_server import postgres_server

from rlops_lab.observe.records import Trace
from rlops_lab.observe.traces import TraceStore

KINDS = 'sqlite', 'postgresql'


@contextlib.contextmanager
def addresses(kind, folder):
    "A function that gives the address of a new, empty database"
    count = iter(range(1000))
    if kind == 'sqlite':
        yield lambda: str(folder / f'traces{next(count)}.db')
        return
    with postgres_server() as server:

        def empty():
            name = f'traces{next(count)}'
            server.run('psql', '-q', '-d', server.address('postgres', 'owner'), '-c', f'CREATE DATABASE {name}')
            return server.address(name, 'owner')

        yield empty


def chat(text):
    return [dict(role='user', content=text)]


def call(text='Hello', **fields):
    "A trace with tokens"
    tokens = dict(prompt_ids=[1, 2, 3], token_ids=[7, 8], logprobs=[-0.1, -1 / 3], logprobs_mode='processed')
    reply = dict(role='assistant', content='Hi')
    return Trace(**dict(messages=chat(text), reply=reply) | tokens | fields)


def tables(address):
    "Everything in a store, by table"
    from rlops_lab.observe.schema import metadata

    with TraceStore(address) as store:
        return {name: [dict(row) for row in store._rows(table.select())] for name, table in metadata.tables.items()}
