"Prefix cache: against one that knows every token of every block, written apart from it and slow"

from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.prefix_cache import BlockCache, Opening, PromptStart

BLOCK = 4
OPENINGS = (Opening(), Opening('a', 9), Opening('b', 14))


def tokens_of(start, n):
    "The token ids of a prompt"
    opening = [(start.opening.name, i) for i in range(start.opening.tokens)]
    return (opening + [(start.conversation, i) for i in range(n)])[:n]


def blocks_of(start, n):
    "A name for each whole block: all tokens up to its end"
    tokens = tokens_of(start, n)
    return [tuple(tokens[:end]) for end in range(BLOCK, n + 1, BLOCK)]


class TokenByToken:
    "Blocks by their content; those that no running request uses, the next to be thrown out first"

    def __init__(self):
        self.free, self.users = OrderedDict(), {}

    def found(self, start, n):
        hits = []
        for block in blocks_of(start, n - 1):
            if block not in self.free and not self.users.get(block):
                break
            hits.append(block)
        return hits

    def hold(self, blocks):
        for block in blocks:
            self.free.pop(block, None)
            self.users[block] = self.users.get(block, 0) + 1

    def release(self, blocks):
        for block in reversed(blocks):
            self.users[block] = self.users.get(block, 1) - 1
            if not self.users[block]:
                self.free[block] = self.free.pop(block, None)

    def shrink(self, room):
        while self.free and len(self.free) * BLOCK > room:
            self.free.popitem(last=False)


class Running:
    def __init__(self, start, prompt, shares, hits):
        self.start, self.tokens, self.shares, self.hits = start, prompt, shares, hits


moves = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 20), st.booleans()), min_size=1, max_size=60
)  # conversation, tokens that are new, leave afterwards


@settings(max_examples=300, deadline=None)
@given(moves, st.integers(60, 400))
def test_equals_a_cache_that_knows_every_token(moves, room):
    "Conversations come, grow, stay or leave; what each turn finds is the same"
    ours, theirs = BlockCache(room, BLOCK), TokenByToken()
    history, inside = {}, {}
    for number, new, leaves in moves:
        start = PromptStart(number, OPENINGS[number % 3])
        if number in inside:
            request = inside.pop(number)
            leave(ours, theirs, request)
        prompt = history.get(number, start.opening.tokens) + new
        if ours.held + ours.needs(start, prompt) > room:
            continue
        hits = theirs.found(start, prompt)
        assert ours.found(start, prompt) == len(hits) * BLOCK
        inside[number] = enter(ours, theirs, start, prompt, hits)
        history[number] = prompt
        if leaves:
            leave(ours, theirs, inside.pop(number))
        assert ours.spare == len(theirs.free) * BLOCK == sum(ours.kept.values())
        assert ours.held + ours.spare <= room
    for request in inside.values():
        leave(ours, theirs, request)
    assert ours.held == 0 and not any(theirs.users.values())


def enter(ours, theirs, start, prompt, hits):
    "The prompt is read at once, so that its opening can be shared"
    theirs.hold(hits)
    shares = ours.enter(start, prompt)
    theirs.shrink(ours.tokens - ours.held)
    opening = blocks_of(start, start.opening.tokens)
    if ours.share(start):
        theirs.hold(opening[len(hits) :])
        return Running(start, prompt, True, hits + opening[len(hits) :])
    return Running(start, prompt, shares, hits)


def leave(ours, theirs, request):
    blocks = blocks_of(request.start, request.tokens)
    theirs.hold(blocks[len(request.hits) :])
    theirs.release(blocks)
    ours.leave(request.start, request.shares, request.tokens, request.tokens)
    theirs.shrink(ours.tokens - ours.held)


def test_two_readers_of_one_opening_hold_it_twice_until_one_has_read_it():
    first, second, third = (PromptStart(i, Opening('a', 8)) for i in range(3))
    cache = BlockCache(100, BLOCK)
    assert not cache.enter(first, 10) and not cache.enter(second, 10)
    assert cache.held == 20
    assert cache.share(first) and not cache.share(second)
    assert cache.enter(third, 10) and cache.held == 22
    cache.leave(second, False, 10, 10)
    assert cache.held == 12
    cache.leave(first, True, 10, 10)
    cache.leave(third, True, 10, 10)
    assert cache.held == 0 and cache.kept == {first.opening: 8}


def test_all_of_a_prompt_is_never_found():
    cache = BlockCache(100, BLOCK)
    start = PromptStart(0)
    cache.enter(start, 8)
    cache.leave(start, False, 8, 8)
    assert [cache.found(start, n) for n in (8, 9)] == [4, 8]


@pytest.mark.parametrize('block, whole', [(None, 0), (1, 17), (16, 16)])
def test_whole_blocks(block, whole):
    assert BlockCache(100, block).whole(17) == whole
