"A person's data is gone from every place, and retention deletes what it says"

import glob
import os

import duckdb
import pytest
from trace_stores import call, tables

from rlops_lab.observe.erasure import Retained
from rlops_lab.observe.records import Check, Outcome
from rlops_lab.observe.traces import TraceStore


def filled(store):
    "Two people, one of whom shares an episode with the other"
    hers, his, shared = call('hers', person='ann'), call('his', person='bob'), call('both', person='ann', episode='e')
    rest = call('both too', person='bob', episode='e', turn=1)
    store.add(hers, his, shared, rest)
    store.add(*(Check(trace.id, 'pii', '1', 'pass') for trace in (hers, his)))
    store.add(
        Outcome('1', 'edit', 'of hers', 'implicit', trace=hers.id),
        Outcome('2', 'edit', 'of hers, whole', 'implicit', episode=hers.episode),
        Outcome('3', 'edit', 'of both', 'implicit', episode='e'),
        Outcome('4', 'edit', 'of nobody here', 'implicit', episode='somewhere else'),
    )
    return hers, his, shared, rest


def test_everything_of_a_person_goes_and_nothing_else(store, address, tmp_path):
    hers, his, shared, rest = filled(store)
    path = store.to_parquet(tmp_path / 'all.parquet')
    gone = store.erase('ann')
    assert gone.proven and (gone.traces, gone.checks, gone.outcomes) == (2, 1, 2)
    assert gone.exports == [str(path)]
    found = tables(address)
    assert hers.id not in repr(found) and shared.id not in repr(found)
    assert {row['id'] for row in found['outcomes']} == {'3', '4'}
    assert store.get(his.id) == his and store.get(rest.id) == rest
    assert sorted(duckdb.read_parquet(str(path)).fetchall()) and len(duckdb.read_parquet(str(path))) == 2
    assert len(found['erasures']) == 1 and 'ann' not in repr(found['erasures'])
    again = store.erase('ann')
    assert again.proven and again.traces == 0


def test_the_last_of_an_episode_takes_its_outcomes_along(store, address):
    filled(store)
    store.erase('ann')
    store.erase('bob')
    assert [row['id'] for row in tables(address)['outcomes']] == ['4']
    assert store.count() == 0


def test_the_bytes_of_an_sqlite_file_are_overwritten(tmp_path):
    path = tmp_path / 'traces.db'
    marker = 'ZEBRA-4711'
    with TraceStore(path) as store:
        kept = call('kept', person='bob')
        for number in range(300):
            trace = call(f'{number}', person='ann', error=marker)
            store.add(trace, Outcome(f'{marker}-{number}', 'edit', marker, 'implicit', trace=trace.id))
        store.add(kept)
        files = lambda: b''.join(open(name, 'rb').read() for name in glob.glob(f'{path}*'))
        assert marker.encode() in files()
        assert store.erase('ann').proven
        assert marker.encode() not in files()
        assert store.get(kept.id) == kept
    assert marker.encode() not in files()


def test_an_export_that_moved_is_not_claimed(store, tmp_path):
    filled(store)
    path = store.to_parquet(tmp_path / 'all.parquet')
    os.rename(path, tmp_path / 'elsewhere.parquet')
    gone = store.erase('ann')
    assert not gone.proven and gone.unreached == [str(path)]


def test_retention_keeps_heads_longer_than_bodies(store):
    day = 86400.0
    traces = [call(str(n), at=n * day, episode=str(n)) for n in range(30)]
    store.add(*traces, Outcome('1', 'thumb', 1, 'explicit', episode='0'))
    assert store.retain(now=30 * day) == Retained(0, 0)
    assert store.retain(days=25, body_days=10, now=30 * day) == Retained(bodies=15, traces=5)
    assert store.outcomes_of('0') == []
    left = store.frame()
    assert left['at'].min() == 5 * day and left.usd.notna().all()
    assert store.get(traces[5].id).messages == [] and store.get(traces[29].id) == traces[29]
    assert store.retain(gigabytes=1e-12) == Retained(bodies=10, traces=0)
    assert store.count() == 25


@pytest.mark.parametrize('bad', [dict(days=0), dict(body_days=-1), dict(gigabytes=float('nan'))])
def test_limits_that_would_delete_everything_are_refused(store, bad):
    store.add(call())
    with pytest.raises(ValueError, match='above 0'):
        store.retain(**bad)
    assert store.count() == 1
