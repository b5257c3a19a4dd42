"Packed attention: groups of any lengths hold every row once"

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.models.packed_attention import attention_groups

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=12)


@given(LENGTHS)
def test_groups_cover_the_packed_tokens_in_order(lengths):
    groups = attention_groups(lengths, heads=4, kv_heads=2)
    ends = [0, *(group.span.stop for group in groups)]
    assert [group.span.start for group in groups] == ends[:-1]
    assert ends[-1] == sum(lengths)


@given(LENGTHS)
def test_what_is_gathered_comes_back(lengths):
    x = torch.arange(sum(lengths) * 4.0).view(-1, 4, 1)
    back = torch.full_like(x, -1)
    for group in attention_groups(lengths, heads=4, kv_heads=2):
        square = group.gather_queries(x)
        assert group.length % 16 == 0
        assert len(group.padding) == square.shape[0] * square.shape[1] - 4 * (
            group.span.stop - group.span.start
        )
        group.put_back(square, back)
    assert torch.equal(back, x)
