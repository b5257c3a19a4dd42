"Rubric files wrong in every way a person might write them: refused with line, field and cure, before anything is paid"

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.judges.rubrics import Criterion, Rubric, line_of, load_rubric, parse_rubric, rubric_names

GOOD = '''name = "r"
instructions = """
You check
one answer."""
pass_at = 0.5
sees = ["prompt", "completion"]

[[criteria]]
name = "a"
question = "Is it right?"
choices = ["no", "partly", "yes"]
weight = 2

[[criteria.examples]]
choice = "no"
reason = "It is not."
prompt = "?"
completion = "!"

[[criteria]]
name = "b"
question = "Is it short?"
choices = ["no", "yes"]
abstain = "there is no text"
'''


def test_a_good_file():
    r = parse_rubric(GOOD)
    assert [c.name for c in r.criteria] == ['a', 'b'] and r.sees == ('prompt', 'completion')
    assert (
        r.total(dict(a=0.5, b=1.0)) == pytest.approx(2 / 3)
        and r.total(dict(a=0.5, b=None)) == 0.5
        and r.total(dict(a=None, b=None)) is None
    )
    assert (
        r.criteria[1].menu == ('no', 'yes', 'there is no text')
        and r.criteria[1].score('there is no text') is None
    )
    assert hash(r.criteria[1]) is not None and len(r.version) == 12


@pytest.mark.parametrize(
    'old, new, line, says',
    [
        ('name = "r"\n', '', 1, 'name is missing. Give a name of letters'),
        ('pass_at = 0.5', 'pass_at = 0', 5, 'pass_at is 0. Give a number above 0 and at most 1'),
        ('pass_at = 0.5', 'pass_at = nan', 5, 'pass_at is nan'),
        ('pass_at = 0.5', 'pass_at = true', 5, 'pass_at is True'),
        ('pass_at = 0.5', 'pass_from = 0.5', 5, 'pass_from is not a field. Did you mean `pass_at`?'),
        ('sees = ["prompt", "completion"]', 'sees = ["prompt", "prompt"]', 6, 'each once'),
        (
            'sees = ["prompt", "completion"]',
            'sees = ["prompt", "completion", "source"]',
            14,
            'criteria[0].examples[0].source is missing. Give a text',
        ),
        ('name = "b"', 'name = "a"', 21, "criteria[1].name 'a' is taken already"),
        ('name = "b"', 'name = "b c"', 21, 'letters, digits and _'),
        ('question = "Is it short?"', 'question = " "', 22, "criteria[1].question is ' '"),
        ('question = "Is it short?"\n', '', 20, 'criteria[1].question is missing'),
        ('choices = ["no", "yes"]', 'choices = ["no"]', 23, 'at least two different answers'),
        ('choices = ["no", "yes"]', 'choices = ["no", "No "]', 23, 'at least two different answers'),
        ('choices = ["no", "yes"]', 'choices = "no"', 23, 'at least two different answers'),
        ('choices = ["no", "yes"]', 'choices = [0, 1]', 23, 'at least two different answers'),
        ('weight = 2', 'weight = 0', 12, 'to reward the opposite, turn the choices round'),
        ('weight = 2', 'weight = inf', 12, 'criteria[0].weight is inf'),
        ('weight = 2', 'wait = 2', 12, 'criteria[0].wait is not a field'),
        ('abstain = "there is no text"', 'abstain = "YES"', 24, "is 'YES', one of the choices"),
        (
            'choice = "no"',
            'choice = "never"',
            15,
            "criteria[0].examples[0].choice is 'never'. Give one of ['no', 'partly', 'yes']",
        ),
        ('reason = "It is not."\n', '', 14, 'examples[0].reason is missing'),
    ],
)
def test_each_slip_is_refused_with_its_line(old, new, line, says):
    assert old in GOOD
    with pytest.raises(ValueError) as e:
        parse_rubric(GOOD.replace(old, new), 'mine.toml')
    assert f'mine.toml, line {line}: ' in str(e.value) and says in str(e.value)


@pytest.mark.parametrize(
    'text, says',
    [
        ('name = r', 'this is not TOML: Invalid value (at line 1'),
        ('criteria = 3', 'line 1: criteria is 3. Give at least one [[criteria]] table'),
        ('[criteria]\nname = "a"', 'at least one [[criteria]] table'),
        ('', 'name is missing'),
    ],
)
def test_files_that_are_something_else(text, says):
    with pytest.raises(ValueError) as e:
        parse_rubric(text)
    assert says in str(e.value)


def test_all_faults_come_at_once():
    with pytest.raises(ValueError) as e:
        parse_rubric(
            GOOD.replace('weight = 2', 'weight = -2').replace('"Is it short?"', '""').replace('0.5', '7')
        )
    assert [line.split(':')[0] for line in str(e.value).split('\n')] == [
        'rubric, line 5',
        'rubric, line 12',
        'rubric, line 22',
    ]


def test_made_in_python_it_is_checked_too():
    with pytest.raises(ValueError, match=r"rubric 'r': criteria\[0\].question is ''"):
        Rubric('r', 'Judge.', 0.5, (Criterion('a', '', ('no', 'yes')),))
    with pytest.raises(TypeError, match='criteria are Criterion'):
        Rubric('r', 'Judge.', 0.5, (dict(name='a', question='Is it?', choices=('no', 'yes')),))
    with pytest.raises(ValueError, match='pass_at is 2'):
        replace(load_rubric('tone'), pass_at=2)


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(blacklist_categories=('Cs', 'Cc'), blacklist_characters='"\\'), max_size=20),
        min_size=1,
        max_size=5,
    ),
    st.data(),
)
def test_a_line_is_found_whatever_stands_around_it(remarks, data):
    lines, want = [], {}
    for i, remark in enumerate(remarks):
        lines += (
            [f'# {remark}', f'text{i} = """', f'[[criteria]] {remark}', f'key{i} = 1', '"""']
            if data.draw(st.booleans())
            else [f'# {remark}', '']
        )
        want[f'key{i}'] = len(lines) + 1
        lines.append(f'key{i} = {i}')
    for key, line in want.items():
        assert line_of('\n'.join(lines), (key,)) == line


@pytest.mark.parametrize('name', rubric_names())
def test_those_in_the_package_are_in_order(name):
    r = load_rubric(name)
    assert r.name == name and 'completion' in r.sees and len(r.criteria) <= 5
    assert all(c.question.endswith('?') for c in r.criteria) and any(c.examples for c in r.criteria)
    assert '\n' not in r.instructions and '  ' not in r.instructions


def test_the_hash_sees_everything():
    r = parse_rubric(GOOD)
    changes = [
        GOOD.replace(a, b)
        for a, b in [
            ('"no", "partly"', '"partly", "no"'),
            ('weight = 2', 'weight = 3'),
            ('It is not.', 'It is wrong.'),
            ('one answer', 'an answer'),
            ('pass_at = 0.5', 'pass_at = 0.6'),
            ('there is no text', 'no text'),
        ]
    ]
    versions = {parse_rubric(x).version for x in changes}
    assert (
        len(versions) == len(changes)
        and r.version not in versions
        and parse_rubric('# note\n' + GOOD).version == r.version
    )
