"Batching: a replica driven by hand; whole traces against an independent simulator are in test_simulation"

import math

import pytest

from rlops_lab.tokenomics.batching import Replica, RequestLog
from rlops_lab.tokenomics.servers import Server


def constant(decoding, context, chunks):
    return 0.1


def test_a_replica_counts_who_is_inside():
    replica = Replica(Server(constant), RequestLog([0.0, 0.05], [3, 3], [1, 2]))
    assert replica.load(0.0) == 0
    replica.take(0, 0.0)
    replica.advance(0.05)
    assert replica.load(0.05) == 1  # it ends with the pass under way
    replica.take(1, 0.05)
    assert replica.load(0.05) == 2
    replica.advance(math.inf)
    assert replica.load(replica.now) == 0
    assert replica.log.finished == pytest.approx([0.1, 0.3])


def test_time_without_requests_is_not_busy():
    replica = Replica(Server(constant), RequestLog([0.0, 9.0], [3, 3], [1, 1]))
    for request, at in enumerate(replica.log.arrived):
        replica.advance(at)
        replica.take(request, at)
    replica.advance(math.inf)
    assert replica.busy == pytest.approx(0.2)
    assert replica.now == pytest.approx(9.1)


def test_the_last_one_in_is_evicted():
    "Two answers of 10 tokens after prompts of 10, with room for 30: the second must wait for the first"
    replica = Replica(Server(constant, kv_tokens=30), RequestLog([0.0, 0.0], [10, 10], [10, 10]))
    replica.take(0, 0.0)
    replica.take(1, 0.0)
    replica.advance(math.inf)
    assert replica.log.preempted == [0, 1]
    assert replica.log.finished[0] < replica.log.finished[1]
    assert (replica.cache.held, replica.context) == (0, 0)
