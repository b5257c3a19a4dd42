"Core: code blocks in whatever a model writes"

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import code_blocks, only_block, transcript_html


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


# ---- transcripts


def test_a_transcript_shows_messages_of_any_form():
    function = dict(name='book', arguments='{"seat": 4}')
    shown = transcript_html(
        [
            dict(role='developer', content=[dict(type='text', text='Be brief.')]),
            dict(role='assistant', content=None, reasoning_content='Free?', tool_calls=[dict(function=function)]),
            dict(role='user', content=[dict(type='tool_result', tool_use_id='1', content='booked')]),
        ]
    )
    for text in ('Be brief.', 'Free?', 'book(seat=4)', 'booked'):
        assert text in shown
    assert 'role' not in shown and '[{' not in shown


def test_a_transcript_may_begin_anywhere_and_show_what_failed():
    broken = dict(role='assistant', content='', tool_calls=[dict(function=dict(name='f', arguments='{'))])
    late = dict(role='tool', content='late', tool_call_id='9')
    shown = transcript_html([late, broken, dict(role='critic', content='Bad.')])
    assert 'late' in shown and 'f({)' in shown and 'Bad.' in shown
    with pytest.raises(ValueError, match='message 0: its content of type .image. is no text'):
        transcript_html([dict(role='user', content=[dict(type='image')])])
