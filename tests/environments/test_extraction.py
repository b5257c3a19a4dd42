"Extraction: whatever a model writes gets a score, the truth gets 1, and the generator says what it means"

import datetime, json, math, re

import pytest
from hypothesis import given, settings, strategies as st

from rlops_lab.environments.contract import call_tool, fork
from rlops_lab.environments.extraction import (
    INVENTED,
    KINDS,
    SCORES,
    Extraction,
    Summary,
    date_of,
    document,
    entries_of,
    extraction_rows,
    f1,
    field_score,
    grade_fields,
    grade_summary,
    is_null,
    money_of,
    names_and_numbers,
    number_of,
    read_json,
    report,
    sentences,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=6,
)
TRUTHS = dict(
    text='Blue Lamp',
    number=4.3,
    money=(12.5, 'EUR'),
    date=datetime.date(2026, 5, 3),
    list=['red', 'blue'],
    yesno=False,
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


@given(st.sampled_from(list(SCORES)), anything, st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_value_gets_a_score(kind, value, missing):
    score, case = field_score(kind, value, None if missing else TRUTHS[kind])
    assert (
        0 <= score <= 1
        and (score == 1) == (case == 'right')
        and case in ('right', 'part', 'wrong', 'missed', 'invented')
    )


@given(st.text(max_size=60))
def test_no_reply_raises(text):
    for env, row in ((Extraction(), dict(kind='invoice', seed=1)), (Summary(), dict(seed=1))):
        env.reset(**row)
        assert (
            env.user(text) is None
            and env.done
            and 0 <= env.get_reward() <= 1
            and all(math.isfinite(v) for v in env.kpis.values())
        )


@given(st.floats(0.01, 9_999_999).map(lambda x: round(x, 2)))
def test_numbers_survive_every_punctuation(x):
    english = f'{x:,.2f}'
    continental = english.translate(str.maketrans(',.', '.,'))
    plain = str(x) if x < 1e6 and len(str(x).split('.')[1]) < 3 else english
    for text in (english, continental, f'${english}', f'{continental} EUR', plain):
        assert math.isclose(number_of(text), x), text
    assert money_of(f'{english} USD') == (number_of(english), 'USD')


@given(st.dates(datetime.date(1950, 1, 1), datetime.date(2090, 1, 1)))
def test_dates_in_every_form(d):
    for text in (
        d.isoformat(),
        f'{d.day} {d:%B %Y}',
        f'{d:%B} {d.day}, {d.year}',
        f'{d:%d.%m.%Y}',
        f'{d.day} {d:%b} {d.year}',
        f'on {d:%A}, {d:%B} {d.day}, {d.year}',
    ):
        assert date_of(text) == d, text


@pytest.mark.parametrize(
    'found, true, score',
    [
        ([], [], 1),
        ([], ['a'], 0),
        (['a', 'a'], ['a'], 1),
        (['a', 'b'], ['a', 'c'], 0.5),
        (['a', 'b', 'c'], ['a'], 0.5),
    ],
)
def test_f1(found, true, score):
    assert f1(found, true) == score


@pytest.mark.parametrize('value', [None, '', 'null', 'N/A', 'None', [], {}, ' not stated '])
def test_ways_to_say_nothing(value):
    assert is_null(value)


@pytest.mark.parametrize('value', [0, False, '0', 'no', [None]])
def test_zero_and_false_are_something(value):
    assert not is_null(value)


@pytest.mark.parametrize('split', ['train', 'eval'])
@pytest.mark.parametrize('kind', KINDS)
def test_the_text_says_every_field_and_the_truth_scores_one(kind, split):
    for seed in range(150):
        d = document(kind, seed, split)
        env = Extraction()
        env.reset(kind, seed, split)
        env.user(json.dumps({k: written(t, v) for k, (t, v) in d.fields.items()}))
        assert env.get_reward() == 1 == env.kpis['verified_resolution'], (d, env.kpis)
        for name, (t, v) in d.fields.items():
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


@pytest.mark.parametrize('kind', KINDS)
def test_splits_share_no_names(kind):
    def names(split):
        documents = [document(kind, s, split) for s in range(200)]
        return {d.fields[n][1] for d in documents for n in ('title', 'vendor') if n in d.fields}

    assert not names('train') & names('eval')


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


def test_bad_rows_are_refused():
    with pytest.raises(KeyError, match='unknown kind'):
        document('letter', 0)
    with pytest.raises(ValueError, match='unknown split'):
        document('product', 0, 'test')
    with pytest.raises(ValueError, match='unknown split'):
        report(0, 'test')
    rows = extraction_rows(50)
    assert len({(r['kind'], r['seed']) for r in rows}) == 50 and {r['kind'] for r in rows} == set(KINDS)


def test_summary_scores_see_what_they_are_named_after():
    for seed in range(100):
        d = report(seed, 'eval')
        best = grade_summary(d.reference, d, 45)
        assert all(v == 1 for v in best.values()), (d, best)
        said = sentences(d.reference)
        assert grade_summary(' '.join(said[1:]), d, 45)['coverage'] == 1 - 1 / len(d.facts)
        assert grade_summary(d.reference + ' Sales in Zurich were 9999.', d, 45)['consistency'] < 1
        assert grade_summary(d.reference + ' Nice.', d, 45)['relevance'] < 1
        padded = d.reference.replace('.', ' indeed and truly so.')
        assert grade_summary(padded, d, 45)['density'] < 1
        assert grade_summary(d.reference * 4, d, 45)['brevity'] < 0.2
        assert all(x in d.text for x in names_and_numbers(d.text))


def test_entries():
    assert entries_of('a, b and c/d; e') == list('abcde') and entries_of(['A', None]) == ['a', 'none']
