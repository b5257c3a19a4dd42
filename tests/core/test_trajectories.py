"Core: code blocks in whatever a model writes, rows of a log, runs that are looked at"

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import Run, Trajectory, code_blocks, only_block, transcript_html


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


# ---- rows of a log


def episode(**changes):
    tokens = dict(token_ids=[1, 2], action_mask=[0, 1], logprobs=[0.0, -0.5], turn_ids=[-1, 0])
    return Trajectory(**dict(task={}, messages=[], **tokens) | changes)


@pytest.mark.parametrize('others', [{}, dict(stage='sft'), dict(stage='ppo', update=3, arm=None)])
def test_a_row_with_other_columns_comes_back_as_it_was(others):
    row = dict(episode(kpis=dict(solved=1.0)).to_dict(), **others)
    assert Trajectory.from_dict(row).columns == others
    assert Trajectory.from_dict(row).to_dict() == row


def test_a_row_of_before_there_were_some_fields_opens_with_their_defaults():
    row = episode().to_dict()
    for name in ('reply_seconds', 'stop_reason', 'lineage', 'usage', 'scores'):
        del row[name]
    assert Trajectory.from_dict(row) == episode()


def test_a_null_that_a_table_filled_in_is_the_default():
    assert Trajectory.from_dict(dict(episode().to_dict(), scores=None, turn_rewards=None)) == episode()


def test_arrays_of_a_data_frame_are_lists():
    row = dict(episode().to_dict(), token_ids=np.array([1, 2]), logprobs=np.array([0.0, -0.5]))
    assert Trajectory.from_dict(row) == episode()


@pytest.mark.parametrize('part', ['usage', 'lineage'])
def test_unknown_parts_are_refused_by_name(part):
    with pytest.raises(ValueError, match=rf"the {part} of this row has \['joules'\]"):
        Trajectory.from_dict(dict(episode().to_dict(), **{part: dict(joules=1)}))


def test_a_row_that_is_no_episode_says_what_it_lacks():
    with pytest.raises(ValueError, match=r"lacks \['task', 'messages'"):
        Trajectory.from_dict(dict(step=1, loss=0.5))


# ---- looking at a run


def killed_run(path):
    "Two rows before the checkpoint, one after, and a half"
    run = Run(path)
    run.log('metrics', [dict(step=1), dict(step=2)])
    run.save(done=2)
    run.log('metrics', [dict(step=3)])
    with open(path / 'metrics.jsonl', 'ab') as file:
        file.write(b'{"step": 4, "re')
    return path


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_to_look_at_a_run_changes_no_byte_of_it(tmp_path):
    path = killed_run(tmp_path / 'run')
    before = files_of(path)
    run = Run.open(path)
    assert [row['step'] for row in run.read('metrics')] == [1, 2, 3] and run.state['done'] == 2
    for write in (lambda: run.log('metrics', [dict(step=9)]), lambda: run.save(done=9)):
        with pytest.raises(PermissionError, match='opened to be read'):
            write()
    assert files_of(path) == before


def test_a_run_on_a_disk_that_cannot_be_written_can_be_looked_at(tmp_path):
    path = killed_run(tmp_path / 'run')
    for file in (*path.iterdir(), path):
        file.chmod(0o555 if file.is_dir() else 0o444)
    assert len(Run.open(path).read('metrics')) == 3
    path.chmod(0o755)


def test_resuming_cuts_when_it_writes_and_reads_as_if_it_had(tmp_path):
    path = killed_run(tmp_path / 'run')
    before = files_of(path)
    run = Run(path, resume=True)
    assert [row['step'] for row in run.read('metrics')] == [1, 2]
    assert files_of(path) == before
    run.log('metrics', [dict(step=3, again=True)])
    assert run.read('metrics') == [dict(step=1), dict(step=2), dict(step=3, again=True)]


def test_to_look_for_a_run_makes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='no run at'):
        Run.open(tmp_path / 'none')
    assert not list(tmp_path.iterdir())
