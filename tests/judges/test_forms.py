"Whatever is drawn fits the form, and schemas without a form are refused."

import json

import pytest
from hypothesis import given, settings, strategies as st

from rlops_lab.judges.forms import Form, Refused, form_parts, text_tokens
from rlops_lab.models.load import load

TOKENIZER = load('tiny')[1]
TEXTS = text_tokens(TOKENIZER)
WORDS = st.text(st.characters(codec='utf-8', exclude_categories=('Cc', 'Cs')), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=5, unique=True),
    st.integers(40, 120),
    st.randoms(use_true_random=False),
)
def test_whatever_is_drawn_fits_the_form(menu, max_tokens, dice):
    fields = dict(reason=dict(type='string'), choice=dict(type='string', enum=menu))
    parts = form_parts(dict(type='object', properties=fields), TOKENIZER)
    if sum(max(map(len, part)) if part else 2 for part in parts) > max_tokens:
        return
    form, ids = Form(parts, max_tokens, TOKENIZER, TEXTS), []
    while not ids or ids[-1] != TOKENIZER.eos_token_id:
        ids.append(dice.choice(form.allowed(ids)))
    assert len(ids) <= max_tokens
    found = json.loads(TOKENIZER.decode(ids[:-1], clean_up_tokenization_spaces=False))
    assert list(found) == ['reason', 'choice'] and found['choice'] in menu


@pytest.mark.parametrize(
    'schema',
    [
        dict(type='array'),
        dict(type='object'),
        dict(type='string'),
        dict(type='object', properties=dict(a=dict(type='number'))),
    ],
)
def test_other_schemas_are_refused(schema):
    with pytest.raises(Refused, match='keeps to an object whose properties are strings'):
        form_parts(schema, TOKENIZER)


def test_after_its_end_a_reply_can_only_stay_ended():
    end = TOKENIZER.eos_token_id
    form = Form(form_parts(dict(type='string', enum=['A']), TOKENIZER), 5, TOKENIZER)
    (letter,) = form.allowed([])
    assert form.allowed([letter]) == form.allowed([letter, end]) == [end]
