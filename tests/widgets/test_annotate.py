"The labeler without a browser: clicks arrive as messages, errors are shown, no verdict leaves the kernel early."

import json
import os
import re

import pytest
from browsing import click, from_browser
from labelling import LEVELS, TEXTS, labeler

from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.judges.verdicts import Verdict
from rlops_lab.observe.annotations import read_labels
from rlops_lab.widgets import plain_output
from rlops_lab.widgets.annotate import KEYS, Labeler

pytestmark = pytest.mark.usefixtures('loud')


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'labels.jsonl'


def test_clicks_notes_and_undo_as_the_browser_sends_them(path):
    a = labeler(path)
    click(a.choices[1])
    assert read_labels(path)[-1]['label'] == 'pass' and a.position == 1 and 'item 2 of 8' in a.question.value
    from_browser(a.note, value='pfff')
    assert (
        a.position == 1
        and [r['label'] for r in read_labels(path)] == ['pass', None]
        and read_labels(path)[-1]['note'] == 'pfff'
    )
    click(a.choices[0])
    assert read_labels(path)[-1]['note'] == 'pfff' and a.position == 2 and a.note.value == ''
    click(a.tools['skip'])
    click(a.tools['previous'])
    assert a.position == 2 and 'skipped' in a.question.value and a.counts() == (2, 1)
    click(a.tools['undo'])
    assert a.position == 2 and a.counts() == (2, 0) and read_labels(path)[-1]['undo']
    click(a.tools['undo'])
    assert a.position == 1 and 'not labelled' in a.question.value and a.note.value == 'pfff'
    with pytest.raises(ValueError, match='is none of'):
        a.choose('maybe')


def test_the_answer_so_far_is_marked_in_words_and_can_be_changed(path):
    a = labeler(path)
    click(a.choices[1])
    click(a.tools['previous'])
    assert a.choices[1].description.startswith('✓') and a.choices[1].button_style == 'primary'
    assert not a.choices[0].description.startswith('✓') and a.choices[0].button_style == ''
    click(a.choices[0])
    assert label_of(a, 0) == 'fail' and a.position == 1


def label_of(a, i):
    return a.export(a.annotator).labels[i]


def test_keys_are_on_the_buttons_that_they_press(path):
    a = labeler(path, items=TEXTS[:2], rubric=LEVELS, columns=None)

    def names():
        return [
            sorted(x.removeprefix('rlops-key-') for x in b._dom_classes if 'key' in x)
            for b in a.choices
            if b.layout.display != 'none'
        ]

    assert names() == [['1'], ['2'], ['3'], ['4']]
    click(a.choices[0])
    assert names() == [['1', 'f'], ['2', 'p']] and a.choices[1].description == '2 p · yes'
    assert 'rlops-labels' in a.box._dom_classes and all(
        b.tooltip for b in [*a.choices[:2], *a.tools.values()]
    )
    acts = {b.description for b in [*a.choices, *a.tools.values()] if 'rlops-acts' in b._dom_classes}
    assert a.tools['next'].description not in acts and a.tools['undo'].description in acts


def test_an_error_is_shown_and_nothing_looks_labelled(path, monkeypatch):
    a = labeler(path)
    shown_before = a.shown
    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', lambda f: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
        with pytest.raises(OSError):
            click(a.choices[1])
    assert (
        'No space left' in a.status.value
        and a.position == 0
        and a.shown > shown_before
        and 'item 1 of 8' in a.question.value
    )
    with pytest.raises(ValueError, match='nothing to undo'):
        click(labeler(path.with_name('new.jsonl')).tools['undo'])


def messages(tmp_path, name, sent, monkeypatch, verdicts, then=lambda a: None):
    "Everything that goes to the browser in a session, with random names taken out"
    del sent[:]
    monkeypatch.setattr(plain_output, 'display', lambda thing, **_: sent.append(('output', thing.data)))
    a = labeler(tmp_path / name / 'labels.jsonl', verdicts=verdicts)
    a.output.shown = True
    for j in (0, 1, 1, 0):
        click(a.choices[j])
    from_browser(a.note, value='a note')
    click(a.tools['skip'])
    click(a.tools['undo'])
    click(a.tools['next'])
    click(a.tools['previous'])
    while not a.done:
        click(a.choices[1])
    a.static()
    then(a)
    return re.sub('[0-9a-f]{32}', 'id', json.dumps(sent, default=str))


def test_no_verdict_reaches_the_browser_until_it_is_asked_for(tmp_path, sent, monkeypatch):
    "Two judges that contradict each other on every item: the browser gets the same bytes"
    one = [
        Verdict(choice, score, reason='SECRET of the judge')
        for choice, score in [('pass', 1.0), ('fail', 0.0)] * 4
    ]
    other = [
        Verdict(choice, score, reason='SECRET of the judge')
        for choice, score in [('fail', 0.0), ('pass', 1.0)] * 4
    ]
    first, second = (messages(tmp_path, f'b{i}', sent, monkeypatch, v) for i, v in enumerate((one, other)))
    assert (
        first == second and len(first) > 5000 and 'SECRET' not in first and 'compare with the judge' in first
    )
    opened, otherwise = (
        messages(tmp_path, f'c{i}', sent, monkeypatch, v, lambda a: click(a.tools['compare']))
        for i, v in enumerate((one, other))
    )
    assert opened != otherwise and 'Labels and the judge' in opened


def test_verdicts_are_refused_before_the_end(path):
    a = labeler(path, verdicts=['pass'] * 8)
    assert a.tools['compare'].layout.display == 'none'
    with pytest.raises(RuntimeError, match='8 questions have neither label nor skip'):
        click(a.tools['compare'])
    assert not path.exists() and 'judge' not in a.html()
    with pytest.raises(ValueError, match='no verdicts to compare'):
        labeler(path).compare()


def test_what_was_changed_with_the_verdicts_known_does_not_count(path):
    a = labeler(path, verdicts=['pass'] * 8)
    while not a.done:
        click(a.choices[0])
    click(a.tools['compare'])
    assert '8 of 8 labelled items differ' in a.html()
    blind = a.export()
    click(a.choices[1])
    assert a.export() == blind and not read_labels(path)[-1]['blind']
    click(a.tools['undo'])  # its own change, yes
    with pytest.raises(ValueError, match='nothing to undo'):
        click(a.tools['undo'])  # what came before, no
    later = labeler(path, verdicts=['pass'] * 8)
    later.choose('pass')
    assert not read_labels(path)[-1]['blind'] and 'judge' not in later.html()
    other = labeler(path, 'ben', verdicts=['pass'] * 8)
    other.choose('pass')
    assert read_labels(path)[-1]['blind']


def test_true_and_pass_are_the_same_verdict(path):
    said = {}
    for name, verdicts in dict(
        words=['pass', 'fail', None] + ['pass'] * 5, truth=[True, False, float('nan')] + [True] * 5
    ).items():
        a = labeler(path.with_name(f'{name}.jsonl'), verdicts=verdicts)
        while not a.done:
            a.choose('pass')
        a.compare()
        said[name] = a.comparison
    assert (
        said['words'] == said['truth']
        and '2 of 8 labelled items differ' in said['truth']
        and 'judge unscored' in said['truth']
    )


def test_pages_escape_everything_and_need_nothing(path):
    nasty = '<script>alert(1)</script>"\'&'
    rubric = Rubric('r', 'x', 0.5, (Criterion('c', f'{nasty}?', ('no', nasty)),), sees=('text',))
    a = Labeler(
        [nasty, 'b'],
        rubric,
        ids=[nasty, 'b'],
        annotator='ada',
        path=path,
        order=[0, 1],
        design='random',
        verdicts=['fail', 'pass'],
    )
    a.write_note(nasty)
    a.choose(1)
    a.choose(0)
    a.compare()
    for page in (a.static().data, a.html(), a.question.value, a.status.value):
        assert '<script' not in page and not re.search(r'<style|<svg|<link|href=|https?:| id=', page)
    assert '&lt;script' in a.html()


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(items=[]), 'items. is empty'),
        (dict(annotator='a b'), 'letters, digits'),
        (dict(annotator='../x'), 'letters, digits'),
        (dict(verdicts=['pass']), '1 verdicts on 8 items'),
        (dict(verdicts=['good'] * 8), "verdict 'good' in row 0"),
        (dict(order=[9]), 'rows of the 8 items'),
        (dict(order=[]), 'rows of the 8 items'),
        (dict(order=[1, 1]), 'each once'),
        (dict(design='balanced'), 'one of random, verdict, label'),
        (dict(order=None, design='label'), 'must come from elsewhere'),
        (dict(order=None, design='verdict'), "needs the judge's verdicts"),
        (dict(order=None, design='random', k=9), 'k=9 of 8 rows'),
        (dict(ids=['a'] * 8), 'given twice'),
        (dict(ids=['a']), '1 ids of 8 items'),
        (dict(rubric='relevancy'), 'no rubric is called'),
    ],
)
def test_bad_input(keys, message, path):
    with pytest.raises(ValueError, match=message):
        labeler(path, **keys)
    assert not path.exists()


def test_the_script_is_one_and_stays_inside():
    "It listens once a page, whatever is displayed how often, and looks at the labeler that has the focus"
    assert (
        KEYS.count('addEventListener(') == 3
        and 'if (!window.rlopsLabelKeys)' in KEYS
        and not re.search(r'https?:|import|fetch|eval', KEYS)
    )
