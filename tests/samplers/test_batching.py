"Batching: every prompt and context is in one group and one chunk, and the limits hold"

from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.samplers.batching import find_prefix, group_prompts, shared_length, split_chunks

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12)
PROMPTS = st.lists(TOKENS, max_size=8).map(lambda prompts: dict(enumerate(prompts)))


@given(TOKENS, TOKENS, st.integers(0, 12))
def test_the_shared_length_is_the_longest_common_beginning(a, b, limit):
    n = shared_length(a, b, limit)
    assert a[:n] == b[:n]
    assert n in (limit, len(a), len(b)) or a[n] != b[n]


@given(PROMPTS, st.integers(1, 5))
def test_groups_share_enough_and_hold_every_prompt_once(prompts, min_prefix):
    groups = group_prompts(prompts, min_prefix)
    assert sorted(key for group in groups for key in group.keys) == sorted(prompts)
    for group in groups:
        assert bool(group.prefix) == (len(group.keys) > 1)
        n = len(group.prefix)
        for prompt in (prompts[key] for key in group.keys if group.prefix):
            assert prompt[:n] == group.prefix
            assert min_prefix <= n < len(prompt)
        assert not group.prefix or len(prompts[group.keys[-1]]) <= 2 * n


@given(TOKENS, st.lists(TOKENS, max_size=5))
def test_the_longest_useful_prefix_is_found(prompt, prefixes):
    prefixes = [[], *prefixes]
    found = prefixes[find_prefix(prompt, prefixes)]
    fitting = [p for p in prefixes if prompt[: len(p)] == p and len(p) < len(prompt) <= 2 * len(p)]
    assert len(found) == max(map(len, fitting), default=0)


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 120))
def test_chunks_follow_one_another_and_keep_the_limit(lengths, most):
    chunks = list(split_chunks(lengths, most))
    assert [i for chunk in chunks for i in range(chunk.start, chunk.stop)] == list(range(len(lengths)))
    for chunk in chunks:
        some = lengths[chunk]
        assert len(some) == 1 or len(some) * max(some) <= most
