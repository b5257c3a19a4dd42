"Conversations: expected usage against drawn ones, the simulator at its limits, what is refused"

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.batching import RequestLog
from rlops_lab.tokenomics.conversation_bill import api_option, own_option
from rlops_lab.tokenomics.conversations import (
    PROVIDER_CACHES,
    Conversation,
    PromptCache,
    conversation_log,
    conversation_usage,
    conversations_per_hour,
    share_warm,
    simulate_conversations,
)
from rlops_lab.tokenomics.decisions import bill
from rlops_lab.tokenomics.prices import own_price
from rlops_lab.tokenomics.servers import Server
from rlops_lab.tokenomics.simulation import Trace, random_trace, simulate_log, simulate_trace

DESK = Conversation(turns=4, opening=1400, message=192, answer=80, think=120)


def linear(n, context, chunks):
    return 0.004 + 0.0003 * n + 2e-6 * context + 5e-5 * sum(new for new, _ in chunks)


def drawn_shares(conversation, cache, per_hour, seed=0, hours=400):
    "Of conversations that are drawn: how often the opening is there at the beginning"
    rng = np.random.default_rng(seed)
    began = np.sort(rng.uniform(0, hours * 3600, rng.poisson(per_hour * hours)))
    pauses = rng.exponential(conversation.think, (len(began), conversation.turns - 1))
    uses = began[:, None] + np.concatenate([np.zeros((len(began), 1)), np.cumsum(pauses, 1)], 1)
    times = np.sort(uses.ravel())
    at = np.searchsorted(times, began, 'left')
    gaps = began[1:] - times[at[1:] - 1]
    return np.mean(gaps < cache.seconds)


@pytest.mark.parametrize('per_hour', [2, 6, 20])
@pytest.mark.parametrize('think', [30, 600])
def test_the_share_of_warm_openings_is_that_of_drawn_conversations(per_hour, think):
    conversation, cache = replace(DESK, think=think), PROVIDER_CACHES['anthropic']
    drawn = np.mean([drawn_shares(conversation, cache, per_hour, seed) for seed in range(5)])
    assert share_warm(conversation, cache, per_hour) == pytest.approx(drawn, abs=0.02)


conversations = st.builds(
    Conversation, st.integers(1, 9), st.integers(0, 3000), st.integers(1, 500), st.integers(1, 300), st.floats(0, 900)
)
caches = st.builds(PromptCache, st.floats(1, 4000), st.sampled_from([0, 1024, 4096]), st.sampled_from([1, 16, 128]))


@settings(max_examples=200, deadline=None)
@given(conversations, caches, st.floats(0, 1e4))
def test_every_token_is_read_found_or_written(conversation, cache, per_hour):
    usage = conversation_usage(conversation, cache, per_hour)
    plain = conversation_usage(conversation)
    assert usage.prompt_tokens == plain.prompt_tokens == sum(conversation.prompts)
    assert (plain.cached_tokens, plain.written_tokens) == (0, 0)
    assert 0 <= usage.cached_tokens and 0 <= usage.written_tokens
    assert usage.cached_tokens + usage.written_tokens <= usage.prompt_tokens
    if conversation.prompts[0] >= cache.least:
        assert usage.cached_tokens + usage.written_tokens == usage.prompt_tokens
    if conversation.prompts[-1] < cache.least:
        assert usage.cached_tokens == usage.written_tokens == 0


def test_more_conversations_never_find_less():
    rates = (0, 1, 9, 99, math.inf)
    found = [conversation_usage(DESK, PROVIDER_CACHES['openai'], rate).cached_tokens for rate in rates]
    assert found == sorted(found) and found[0] < found[-1]


# ---- the simulator


def counted(log, server):
    "Tokens that went through passes to be read"
    read = []

    def step(n, context, chunks):
        read.extend(new for new, _ in chunks)
        return linear(n, context, chunks)

    found = simulate_log(log, replace(server, step_seconds=step))
    return sum(read), found


traces = st.builds(
    lambda gaps, lengths: Trace(np.cumsum(gaps[: len(lengths)]), *np.array(lengths[: len(gaps)]).T),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), min_size=1, max_size=25),
)


@settings(max_examples=100, deadline=None)
@given(traces, st.integers(1, 8), st.integers(85, 300), st.sampled_from([1, 16]))
def test_without_reuse_a_prefix_cache_changes_nothing(trace, max_batch, kv_tokens, block):
    "Except for what evicted requests find of themselves: those are compared where nobody is evicted"
    server = Server(linear, max_batch, kv_tokens, chunk=64)
    plain, keeps = (simulate_trace(trace, x) for x in (server, replace(server, prefix_block=block)))
    assert keeps.found.sum() == 0
    if not plain.preempted.sum():
        assert keeps.ttft.tolist() == plain.ttft.tolist() and keeps.e2e.tolist() == plain.e2e.tolist()


@pytest.mark.parametrize('replicas', [1, 3])
def test_an_endless_cache_reads_new_tokens_only(replicas):
    "And the last token of each answer; a shared opening once a replica, when nobody reads it twice at once"
    server = Server(linear, max_batch=10**4, chunk=10**6, prefix_block=1)
    log = conversation_log(replace(DESK, opening=0), 900, 100)
    total, found = counted(log, server)
    assert total == 100 * (192 + 3 * 193)
    assert found.usage.prompt_tokens - found.usage.cached_tokens == total
    read = []
    step = lambda n, context, chunks: read.extend(new for new, _ in chunks) or 1e-6  # noqa: E731
    simulate_log(conversation_log(DESK, 900, 100), replace(server, step_seconds=step), replicas)
    assert sum(read) == 100 * (192 + 3 * 193) + 1400 * replicas


def test_without_blocks_every_prompt_is_read_whole():
    total, found = counted(conversation_log(DESK, 900, 100), Server(linear))
    assert total == 100 * 8000 and found.usage.cached_tokens == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(2600, 30_000), st.sampled_from([1, 16, 128]), st.integers(0, 99))
def test_no_turn_is_lost_and_none_comes_before_its_time(replicas, kv_tokens, block, seed):
    log = conversation_log(replace(DESK, think=2), 5000, 40, seed=seed)
    found = simulate_log(log, Server(linear, 16, kv_tokens, chunk=512, prefix_block=block), replicas)
    assert len(found.trace) == 160 and np.all(found.ttft > 0) and np.all(found.e2e >= found.ttft - 1e-12)
    for request, following in enumerate(log.then):
        if following:
            assert log.arrived[following.request] == pytest.approx(log.finished[request] + following.seconds)
    chosen = dict(zip(found.number.tolist(), found.replica.tolist()))
    conversations = [start.conversation for start in log.starts]
    assert len({(conversation, chosen[i]) for i, conversation in enumerate(conversations)}) == 40
    assert np.all(found.found < found.trace.prompt) and np.all(found.found % block == 0)


def test_less_memory_finds_less():
    server = Server(linear, 64, prefix_block=16)
    rooms = [simulate_conversations(DESK, replace(server, kv_tokens=room), 2000, n=300) for room in (1e6, 1e5, 2e4)]
    shares = [found.usage.cached_tokens / found.usage.prompt_tokens for found in rooms]
    assert shares[0] > 0.85 > shares[1] > shares[2]


def test_conversations_of_several_kinds():
    kinds = [DESK, Conversation(1, 0, 30, 5), Conversation(2, 700, 50, 9)]
    log = conversation_log(kinds, 100, 300)
    assert isinstance(log, RequestLog)
    firsts = {prompt for prompt, at in zip(log.prompt, log.arrived) if at is not None}
    assert firsts == {1592, 30, 750}
    assert len({start.opening for start in log.starts}) == 3


def test_single_turns_are_a_trace():
    "Conversations of one turn are what random_trace draws"
    single = Conversation(1, 0, 100, 20)
    log = conversation_log(single, 3600 * 5, 400, seed=3)
    trace = random_trace(5.0, 400, 100, 20, seed=3)
    np.testing.assert_allclose(log.arrived, trace.arrived)
    assert simulate_log(log, Server(linear)).e2e.tolist() == pytest.approx(
        simulate_trace(trace, Server(linear)).e2e.tolist()
    )


def test_capacity_is_where_the_promise_breaks():
    server = Server(linear, max_batch=32, kv_tokens=80_000, prefix_block=16)
    most = conversations_per_hour(DESK, server, ttft=0.3, n=200)
    assert simulate_conversations(DESK, server, most, n=200).percentile('ttft').value <= 0.3
    assert simulate_conversations(DESK, server, 1.04 * most, n=200).percentile('ttft').value > 0.3


def test_options_of_both_sides():
    price = own_price('mine', 1000, 100, 3.6, 1.0, one_run=False)
    api = api_option('API', 0.8, DESK, price, cases_per_month=1000)
    assert api.usd_per_case == pytest.approx(8000 * 1e-6 + 320 * 1e-5)
    own = own_option('own', 0.8, DESK, Server(linear, 32, 80_000, prefix_block=16), 3.0, 0.0, ttft=0.3)
    assert bill(own, 100.0).server_usd == pytest.approx(3.0 * 730)


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: Conversation(0, 10, 10, 10), 'turns=0'),
        (lambda: Conversation(2, 10, 10.5, 10), 'message=10.5: a whole number'),
        (lambda: Conversation(2, 10, 10, 10, think=-1), 'think=-1'),
        (lambda: Conversation(math.nan, 10, 10, 10), 'turns=nan'),
        (lambda: conversation_log(DESK, 0, 5), 'per_hour=0'),
        (lambda: conversations_per_hour(DESK, Server(linear)), 'no promise'),
        (lambda: conversations_per_hour(DESK, Server(linear), ttft=1e-6), 'not kept even for one'),
        (lambda: Server(linear, prefix_block=0), 'prefix_block=0'),
        (lambda: simulate_conversations(DESK, Server(linear, kv_tokens=2000), 5), 'needs 2487 tokens of cache'),
    ],
)
def test_bad_input_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
