"The store of traces: what is acknowledged is there, what goes wrong says why, on both databases"

import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from trace_stores import call, chat, tables

from rlops_lab.core import Lineage, Usage
from rlops_lab.observe.group_commit import Conflict, StoreError
from rlops_lab.observe.privacy import Privacy, mask_forms
from rlops_lab.observe.records import Check, IdMaker, Outcome, Trace, id_time, new_id
from rlops_lab.observe.schema import MIGRATIONS, upgrade
from rlops_lab.observe.traces import TraceStore


def test_a_row_comes_back_to_the_last_bit(store):
    logprobs = (-np.random.exponential(size=500)).tolist()
    ids = np.random.randint(0, 2**31 - 1, 500).tolist()
    trace = call(
        'ß\U0001f600 "\x00\ud800',
        prompt_ids=ids,
        token_ids=ids[::-1],
        logprobs=logprobs,
        episode='e',
        turn=3,
        lineage=Lineage(model='m', adapter='a', template='t'),
        usage=Usage(prompt_tokens=5, cached_tokens=2, completion_tokens=7, seconds=0.1, calls=1, usd=1e-9),
        labels=dict(intent='refund', size=3),
        tools=[dict(type='function', function=dict(name='f', parameters={}))],
        propensity=1 / 3,
        at=1.5,
    )
    assert store.add(trace) == 1
    assert store.get(trace.id) == trace
    assert store.episode('e') == [trace]


def test_checks_and_outcomes_come_back(store):
    trace = call()
    seen = Check(trace.id, 'pii', '2', 'fail', score=0.3, reason='a name', mode='enforce', action='redact')
    rows = (
        Outcome('1', 'edit', 'Better so', 'implicit', trace=trace.id, at=1.0),
        Outcome('2', 'resolved', 1, 'kpi', episode=trace.episode, at=0.0),
        Outcome('3', 'note', None, 'human', trace=trace.id, at=2.0),
    )
    store.add(*rows, seen, trace)  # before their trace
    assert store.checks_of(trace.id) == [seen]
    assert store.outcomes_of(trace.episode) == [rows[1], rows[0], rows[2]]


def test_a_row_that_is_sent_twice_is_there_once(store):
    trace, outcome = call(), Outcome('1', 'thumb', 1, 'explicit', episode='e')
    assert store.add(trace, outcome, trace) == 2
    later = replace(outcome, received_at=outcome.received_at + 100)
    assert store.add(trace, later) == 0
    with pytest.raises(Conflict, match='id of another row'):
        store.add(replace(outcome, value=0))
    assert store.count() == 1 and len(store.outcomes_of('e')) == 1


def test_many_threads_and_two_processes_write_each_row_once(address):
    code = (
        'import sys; from rlops_lab.observe.traces import TraceStore; from rlops_lab.observe.records import Outcome\n'
        f'with TraceStore({address!r}, lock_seconds=30) as store:\n'
        '    for n in range(300): store.add(Outcome(str(n), "thumb", 1, "explicit", episode="e", at=0.))\n'
    )
    with TraceStore(address, lock_seconds=30) as store:
        processes = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(2)]

        def send(n):
            return store.add(Outcome(str(n), 'thumb', 1, 'explicit', episode='e', at=0.0), call(str(n)))

        with ThreadPoolExecutor(8) as pool:
            new = list(pool.map(send, range(300)))
        assert [process.wait(120) for process in processes] == [0, 0]
        assert min(new) >= 1  # the traces are this process's own
        assert len(store.outcomes_of('e')) == 300 and store.count() == 300


def test_two_processes_that_claim_one_id_differ_loudly(address):
    with TraceStore(address) as one, TraceStore(address) as other:
        one.add(Outcome('1', 'thumb', 1, 'explicit', episode='e'))
        with pytest.raises(Conflict):
            other.add(Outcome('1', 'thumb', 0, 'explicit', episode='e'))


def test_stores_opened_at_once_make_the_tables_once(address):
    def opened(_):
        with TraceStore(address, lock_seconds=30) as store:
            return store.add(call())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(opened, range(4))) == [1] * 4


def test_a_row_that_cannot_be_encoded_is_refused_alone(store):
    with pytest.raises(OverflowError):
        store.add(call(token_ids=[2**40, 1]))
    with pytest.raises(TypeError):
        store.add(call(token_ids=['a', 'b']))
    assert store.add(call()) == 1


def test_a_body_of_5_mb_is_kept_and_one_of_40_refused(store):
    large = call('word ' * 1_000_000)
    store.add(large)
    assert store.get(large.id) == large
    noise = np.random.bytes(40_000_000).hex()
    with pytest.raises(ValueError, match='at most 32 are taken'):
        store.add(call(noise))


def test_a_server_that_is_too_fast_is_told(address):
    with TraceStore(address) as store:
        store.writer._queue.maxsize = 5
        go = threading.Event()
        store.writer.put(lambda connection: go.wait(30))
        time.sleep(0.2)
        waiting = [store.put(call()) for _ in range(5)]
        with pytest.raises(StoreError, match='5 rows wait'):
            store.put(call())
        go.set()
        assert all(future.result() for future in waiting)


def test_closing_writes_what_waits(address):
    store = TraceStore(address)
    waiting = [store.put(call()) for _ in range(50)]
    store.close()
    assert all(future.done() for future in waiting)
    with pytest.raises(StoreError, match='closed'):
        store.add(call())
    assert len(tables(address)['traces']) == 50


@pytest.mark.parametrize('steps', range(1, len(MIGRATIONS)))
def test_an_older_store_is_changed_only_when_told(address, steps):
    import sqlalchemy as sa

    from rlops_lab.observe.traces import store_url

    engine = sa.create_engine(store_url(address))
    with engine.begin() as connection:
        upgrade(connection, MIGRATIONS[:steps])
    with pytest.raises(ValueError, match=f'version {steps}.*migrate=True'):
        TraceStore(address)
    with TraceStore(address, migrate=True) as store:
        store.add(call())
    assert len(tables(address)['traces']) == 1
    with engine.begin() as connection:
        connection.execute(sa.text('UPDATE store_version SET version=99'))
    with pytest.raises(ValueError, match='update rlops_lab'):
        TraceStore(address, migrate=True)


def test_a_newer_store_is_refused_before_it_is_touched(address):
    with TraceStore(address) as store:
        store.writer.put(lambda c: c.exec_driver_sql('UPDATE store_version SET version=99')).result()
    with pytest.raises(ValueError, match='update rlops_lab'):
        TraceStore(address)


def test_a_clock_that_goes_back_keeps_the_order(monkeypatch, store):
    times = iter([2000.0, 1000.0, 1500.0])
    made = IdMaker(lambda: next(times))
    ids = [made() for _ in range(3)]
    assert ids == sorted(ids)
    assert [id_time(id) for id in ids] == [2000.0, 2000.0, 2000.0]
    store.add(*(call(id=id, episode='e', at=at) for id, at in zip(ids, (2000.0, 1000.0, 1500.0))))
    assert [trace.id for trace in store.episode('e')] == ids


def test_ids_of_many_threads_differ():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(500)], range(8)))
    assert len({id for some in made for id in some}) == 4000


@pytest.mark.parametrize('where', ['mysql://a@b/c', 'sqlite://', 'sqlite:///:memory:', 'http://x', 'oracle://x'])
def test_addresses_that_are_no_store_are_refused(where):
    with pytest.raises(ValueError, match='SQLite or PostgreSQL|lost with the process|no address'):
        TraceStore(where)


def test_a_server_that_is_not_there_says_so():
    with pytest.raises(StoreError, match='cannot be reached'):
        TraceStore('postgresql://me:secret@127.0.0.1:1/x?connect_timeout=2')


def test_a_password_is_not_shown(address):
    if '://' not in address:
        pytest.skip('a file has no password')
    with TraceStore(address.replace('owner@', 'owner:hush@')) as store:
        assert 'hush' not in repr(store) and 'hush' not in store.where


def test_a_full_disk_refuses_and_recovers(tmp_path):
    with TraceStore(tmp_path / 'traces.db') as store:
        first = call()
        store.add(first)

        def limit(pages):
            return store.writer.put(lambda c: c.exec_driver_sql(f'PRAGMA max_page_count={pages}').scalar()).result()

        store.engine.dispose()
        small = limit(1)  # the smallest that SQLite allows: what the file has
        import sqlalchemy as sa

        sa.event.listen(
            store.engine, 'begin', lambda c: c.exec_driver_sql(f'PRAGMA max_page_count={limited[0]}')
        )
        limited = [small]
        noise = np.random.bytes(400_000).hex()
        with pytest.raises(StoreError, match='the disk is full: free some'):
            store.add(call(noise))
        limited[0] = 10**6
        assert store.add(call(noise)) == 1
        assert store.get(first.id) == first and store.count() == 2


def test_a_read_only_file_says_so(tmp_path):
    path = tmp_path / 'traces.db'
    with TraceStore(path) as store:
        store.add(call())
    with TraceStore(f'sqlite:///file:{path}?mode=ro&uri=true') as store:
        assert store.count() == 1
        with pytest.raises(StoreError, match='read-only: make both writable'):
            store.add(call())


def test_a_locked_file_says_so_and_recovers(tmp_path):
    path = tmp_path / 'traces.db'
    with TraceStore(path, lock_seconds=0.2) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(StoreError, match='another process holds it'):
            store.add(call())
        assert store.count() == 0  # readers do not wait
        other.execute('COMMIT')
        assert store.add(call()) == 1


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    path = tmp_path / 'other.db'
    other = sqlite3.connect(path)
    other.execute('CREATE TABLE traces (whatever)')
    other.commit()
    with pytest.raises(ValueError, match='not ours'):
        TraceStore(path)
    assert [name for (name,) in other.execute('SELECT name FROM sqlite_master')] == ['traces']


def test_redaction_comes_before_the_disk(address):
    secret = 'ann.secret@mail.example.org'
    reply = dict(role='assistant', content=[dict(type='text', text=f'Hello {secret}')], reasoning_content=secret)
    trace = call(f'I am {secret}', reply=reply, error=f'bad prompt: {secret}', labels=dict(who=secret))
    with TraceStore(address, privacy=Privacy(mask_forms)) as store:
        store.add(trace, call('harmless'))
        store.add(Check(trace.id, 'pii', '1', 'fail', reason=f'saw {secret}'))
        store.add(Outcome('1', 'edit', f'Dear {secret}', 'implicit', trace=trace.id))
        kept = store.get(trace.id)
        assert secret not in repr([kept, store.checks_of(trace.id), store.outcomes_of(trace.episode)])
        assert kept.token_ids is None and kept.logprobs is None and kept.logprobs_mode == ''
        assert store.frame().bytes.min() > 0
    assert secret not in repr(tables(address))


def test_a_frame_filters_by_columns_and_time(store):
    for number in range(20):
        store.put(call(str(number), at=float(number), arm='b' if number % 4 else 'a', status='ok'))
    store.add(call('last', at=20.0, status='error'))
    assert store.frame(['at'], arm='a', since=4, until=12)['at'].tolist() == [4.0, 8.0]
    assert store.frame(['at'], arm=['a', 'b'], limit=2)['at'].tolist() == [18.0, 19.0]
    assert store.count(status='error') == 1
    assert len(store.frame(status='nothing')) == 0
    with pytest.raises(ValueError, match='no column colour'):
        store.count(colour='red')


def test_the_last_word_counts(store):
    first = Outcome('1', 'thumb', 1, 'explicit', episode='e', at=1.0)
    second = Outcome('2', 'thumb', 0, 'explicit', episode='e', at=2.0, supersedes='1')
    store.add(second, first)  # out of order
    assert store.outcomes_of('e') == [second]
    assert store.outcomes_of('e', superseded=True) == [first, second]


def test_messages_of_any_form_are_kept_as_they_came(store):
    messages = [
        dict(role='system', content=None),
        dict(role='user', content=[dict(type='text', text='a'), dict(type='image_url', image_url=dict(url='x'))]),
        dict(role='tool', content='1', tool_call_id='7'),
    ]
    trace = Trace(messages, None, status='blocked')
    store.add(trace)
    assert store.get(trace.id) == trace
    assert chat('x')
