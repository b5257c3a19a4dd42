"Logs that other tools wrote or a kill has torn"

import errno
import json
import time

import pytest

from rlops_lab.core.files import append_jsonl, distinct_keys, read_jsonl, writable_folder, write_json

ROWS = [dict(a=1), dict(said='Grüße 🙂'), dict(half='\ud83d', nothing=None)]


def text_of(rows, end='\n', **options):
    return end.join(json.dumps(row, **options) for row in rows)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
@pytest.mark.parametrize('last', [True, False], ids=['line end', 'no line end'])
def test_every_row_of_another_tools_log_is_read(tmp_path, encoding, end, last):
    rows = ROWS[:2]
    text = text_of(rows, end, ensure_ascii=False) + (end if last else '')
    (tmp_path / 'log.jsonl').write_bytes(text.encode(encoding))
    assert read_jsonl(tmp_path / 'log.jsonl') == rows


def test_half_an_emoji_comes_back(tmp_path):
    append_jsonl(tmp_path / 'log.jsonl', ROWS)
    assert read_jsonl(tmp_path / 'log.jsonl') == ROWS


@pytest.mark.parametrize('torn', [b'{', b'{"a": 1', '{"said": "Grü'.encode()[:-1], b'12'])
def test_a_torn_line_goes_before_the_next_is_written(tmp_path, torn):
    path = tmp_path / 'log.jsonl'
    append_jsonl(path, ROWS[:1])
    with open(path, 'ab') as file:
        file.write(torn)
    assert read_jsonl(path) == ROWS[:1]
    append_jsonl(path, ROWS[1:])
    assert read_jsonl(path) == ROWS


def test_a_whole_last_line_without_its_end_stays_when_another_is_written(tmp_path):
    path = tmp_path / 'log.jsonl'
    path.write_bytes(b'{"a": 1}')
    append_jsonl(path, ROWS[1:])
    assert read_jsonl(path) == ROWS


@pytest.mark.parametrize('broken', [b'{"a": \n{}\n', b'{"a": "\xff"}\n{}\n'])
def test_a_broken_line_is_named(tmp_path, broken):
    (tmp_path / 'log.jsonl').write_bytes(broken)
    with pytest.raises(ValueError, match=r'log.jsonl has a broken line .* line 1'):
        read_jsonl(tmp_path / 'log.jsonl')


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / 'state.json', dict(done=1))
    class Torn:
        def __str__(self):
            raise TypeError('no text')

    with pytest.raises(TypeError):
        write_json(tmp_path / 'state.json', dict(done=Torn()))
    assert json.loads((tmp_path / 'state.json').read_text(encoding='utf-8')) == dict(done=1)


@pytest.mark.parametrize('below', ['file', 'file/deep/er'])
def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path, below):
    (tmp_path / 'file').write_text('', encoding='utf-8')
    with pytest.raises(OSError, match=r'cannot write to .*file.*: choose another'):
        writable_folder(tmp_path / below, 'choose another')


def test_a_disk_without_space_is_named(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('tempfile.TemporaryFile', full)
    with pytest.raises(OSError, match='No space left on device.*set RLOPS_CACHE') as e:
        writable_folder(tmp_path, 'set RLOPS_CACHE')
    assert e.value.errno == errno.ENOSPC


def test_many_names_are_compared_in_linear_time():
    pairs = [(f'k{i}', i) for i in range(200_000)]
    began = time.perf_counter()
    assert distinct_keys(pairs) == dict(pairs)
    with pytest.raises(ValueError, match='^k7 is written twice$'):
        distinct_keys([*pairs, ('k9', 0), ('k7', 0)])
    assert time.perf_counter() - began < 2
