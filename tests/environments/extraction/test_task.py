"Extraction: the truth earns 1, no reply raises, and inventing costs"

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.contract import call_tool, fork
from rlops_lab.environments.extraction.documents import DOCUMENT_KINDS, document
from rlops_lab.environments.extraction.fields import date_of
from rlops_lab.environments.extraction.task import (
    INVENTED,
    Extraction,
    extraction_rows,
    grade_fields,
    read_json,
)


def written(kind, true):
    "The truth as a model would write it"
    return (
        true.isoformat()
        if kind == 'date' and true
        else f'{true[0]:.2f} {true[1]}'
        if kind == 'money' and true
        else true
    )


@given(st.text(max_size=60))
def test_no_reply_raises(text):
    env = Extraction()
    env.reset(kind='invoice', seed=1)
    assert env.user(text) is None and env.done and 0 <= env.get_reward() <= 1
    assert all(math.isfinite(v) for v in env.kpis.values())


@pytest.mark.parametrize('split', ['train', 'eval'])
@pytest.mark.parametrize('kind', DOCUMENT_KINDS)
def test_the_text_says_every_field_and_the_truth_scores_one(kind, split):
    for seed in range(150):
        d = document(kind, seed, split)
        env = Extraction()
        env.reset(kind, seed, split)
        env.user(json.dumps({k: written(t, v) for k, (t, v) in d.fields.items()}))
        assert env.get_reward() == 1 == env.kpis['verified_resolution'], (d, env.kpis)
        for t, v in d.fields.values():
            if v is None or t == 'yesno':
                continue
            if t == 'text':
                assert v in d.text
            elif t == 'list':
                assert all(x in d.text for x in v)
            elif t == 'number':
                assert str(v) in d.text
            elif t == 'money':
                assert f'{v[0]:,.2f}' in d.text or f'{v[0]:.2f}' in d.text
            else:
                assert any(date_of(part) == v for part in re.split(r'\. |, dated|, of|\n', d.text)), (
                    d.text,
                    v,
                )


def test_a_null_beats_a_guess_where_the_guess_is_rarely_right():
    fields = {'a': ('text', 'x'), 'b': ('text', None)}
    none, guess = grade_fields({'a': 'x'}, fields), grade_fields({'a': 'x', 'b': 'y', 'c': 1}, fields)
    assert (
        none['fields_mean'] == 1
        and guess['fields_mean'] == 0.5
        and guess['invented'] == 0.5
        and guess['extra'] == 1
    )
    env = Extraction()
    env.reset('invoice', 0)
    env.document = env.document._replace(fields=fields)
    env.user('{"a": "x", "b": "y"}')
    assert env.get_reward() == 0.5 - INVENTED * 0.5


@pytest.mark.parametrize(
    'text, value',
    [
        ('{"a": 1}', dict(a=1)),
        ('```json\n{"a": 1}\n```', dict(a=1)),
        ('```json\r\n{"a": 1}\r\n```', dict(a=1)),
        ('Here:\n```\n{"a": 1}\n```\nDone.', dict(a=1)),
        ('[1]', None),
        ('', None),
        ('{"a": 1', None),
        ('```\n{}\n```\n```\n{}\n```', None),
        ('[' * 100_000, None),
    ],
)
def test_read_json(text, value):
    assert read_json(text) == value


def test_the_first_record_counts():
    env = Extraction()
    env.reset('product', 0)
    call_tool(env, 'submit', dict(record='{}'))
    before, other = env.get_reward(), fork(env)
    truth = json.dumps({k: written(t, v) for k, (t, v) in env.document.fields.items()})
    assert call_tool(env, 'submit', dict(record=truth)) == ('handed in already', False)
    assert env.get_reward() == before == other.get_reward()


def test_rows_are_all_different():
    rows = extraction_rows(50)
    assert len({(r['kind'], r['seed']) for r in rows}) == 50 and {r['kind'] for r in rows} == set(
        DOCUMENT_KINDS
    )
