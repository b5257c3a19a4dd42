"Core: code blocks in whatever a model writes"

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import code_blocks, only_block


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_has_blocks_and_a_fenced_one_is_found(before, inside):
    assert isinstance(only_block(before), str)
    if '`' in before + inside or '\r' in before + inside:
        return
    assert [b.rstrip('\n') for b in code_blocks(f'{before}\n```python\n{inside}\n```\nDone.')] == [
        inside.rstrip('\n')
    ]


ODD = [
    ' ' * 100_000,
    'a' + ' ' * 100_000,
    '`' * 100_000,
    '``` ' * 30_000,
    '```\n' * 30_000,
    '```\n' + ' ' * 100_000,
    '```\n' + 'a ``` b\n' * 20_000,
    ' ```\n' * 30_000,
    ' ' * 50_000 + '```\n' + (' ' * 200 + '\n') * 200,
    '```\nx ```' + ' ' * 100_000 + 'y',
]


@pytest.mark.parametrize('text', ODD, ids=range(len(ODD)))
def test_blocks_of_odd_texts_are_found_in_no_time(text):
    began = time.process_time()
    code_blocks(text)
    assert time.process_time() - began < 1
