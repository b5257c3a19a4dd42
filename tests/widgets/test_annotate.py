"Labels without a browser: clicks arrive as messages, files are cut short, processes die or share a file, no verdict leaves the kernel."

import json, os, re, signal, subprocess, sys, warnings
from pathlib import Path

import numpy as np
import pytest
from browsing import click, from_browser
from hypothesis import HealthCheck, given, settings, strategies as st
from rlops_lab.core import Trajectory
from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.consistency import rater_alpha
from rlops_lab.judges.verdicts import Verdict
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.widgets import tokens
from rlops_lab.observe.annotations import (
    LabelFile,
    Sheet,
    agreement,
    label_order,
    majority,
    read_labels,
    replayed,
    shown,
)
from rlops_lab.widgets.annotate import (
    KEYS,
    Labeler,
    agreement_html,
    comparison_html,
    item_html,
    question_html,
)

pytestmark = pytest.mark.usefixtures('loud')
TEXTS = [f'reply {i}' for i in range(8)]
LEVELS = Rubric(
    'levels',
    'You check a reply.',
    0.6,
    (
        Criterion('right', 'Is it right?', ('no', 'partly', 'yes'), abstain='no question'),
        Criterion('polite', 'Is it polite?', ('no', 'yes')),
    ),
    sees=('text',),
)


def labeler(path, annotator='ada', items=TEXTS, **how):
    return Labeler(
        items, annotator=annotator, path=path, **dict(order=range(len(items)), drawn='random') | how
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'labels.jsonl'


# ---- clicks


def test_clicks_notes_and_undo_as_the_browser_sends_them(path):
    a = labeler(path)
    click(a.choices[1])
    assert read_labels(path)[-1]['label'] == 'pass' and a.at == 1 and 'item 2 of 8' in a.question.value
    from_browser(a.note, value='pfff')
    assert (
        a.at == 1
        and [r['label'] for r in read_labels(path)] == ['pass', None]
        and read_labels(path)[-1]['note'] == 'pfff'
    )
    click(a.choices[0])
    assert read_labels(path)[-1]['note'] == 'pfff' and a.at == 2 and a.note.value == ''
    click(a.tools['skip'])
    click(a.tools['previous'])
    assert a.at == 2 and 'skipped' in a.question.value and a.counts() == (2, 1)
    click(a.tools['undo'])
    assert a.at == 2 and a.counts() == (2, 0) and read_labels(path)[-1]['undo']
    click(a.tools['undo'])
    assert a.at == 1 and 'not labelled' in a.question.value and a.note.value == 'pfff'
    with pytest.raises(ValueError, match='is none of'):
        a.choose('maybe')


def test_the_answer_so_far_is_marked_in_words_and_can_be_changed(path):
    a = labeler(path)
    click(a.choices[1])
    click(a.tools['previous'])
    assert a.choices[1].description.startswith('✓') and a.choices[1].button_style == 'primary'
    assert not a.choices[0].description.startswith('✓') and a.choices[0].button_style == ''
    click(a.choices[0])
    assert label_of(a, 0) == 'fail' and a.at == 1


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
    shown_before = a.drawing
    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', lambda f: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
        with pytest.raises(OSError):
            click(a.choices[1])
    assert (
        'No space left' in a.says.value
        and a.at == 0
        and a.drawing > shown_before
        and 'item 1 of 8' in a.question.value
    )
    with pytest.raises(ValueError, match='nothing to undo'):
        click(labeler(path.with_name('new.jsonl')).tools['undo'])


# ---- blind


def messages(tmp_path, name, sent, monkeypatch, verdicts, then=lambda a: None):
    "Everything that goes to the browser in a session, with random names taken out"
    del sent[:]
    monkeypatch.setattr(tokens, 'display', lambda thing, **_: sent.append(('output', thing.data)))
    a = labeler(tmp_path / name / 'labels.jsonl', verdicts=verdicts)
    a.plain.shown = True
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


@pytest.mark.parametrize(
    'item',
    [
        dict(text='x', verdict=0.5),
        dict(text='x', verdict=Verdict('pass', 1.0)),
        dict(text='x', judge=None),
        dict(text='x', parts=[0.1]),
        3,
        None,
    ],
)
def test_what_is_no_text_is_not_shown(item):
    with pytest.raises(TypeError):
        shown(item)


def test_a_trajectory_is_shown_without_its_grades():
    said = [dict(role='user', content='Hi'), dict(role='assistant', content='Ho')]
    t = Trajectory(
        {'gold': 'GOLD'},
        said,
        [5, 6],
        [0, 1],
        [0.0, -0.5],
        [-1, 0],
        [0.777],
        scores=dict(judge=0.777),
        kpis=dict(good=0.777),
        stop_reason='done',
    )

    class FakeTokenizer:
        def decode(self, ids, **_):
            return ''.join(' ab'[i - 4] for i in ids)

    for page in (item_html(t), item_html(t, tokenizer=FakeTokenizer())):
        assert '777' not in page and 'GOLD' not in page and 'reward' not in page
    assert t.scores and t.turn_rewards == [0.777]


# ---- on disk


def test_a_line_cut_anywhere_loses_that_click_alone(path):
    a = labeler(path)
    for j in (1, 0, 1):
        click(a.choices[j])
    whole, ends = path.read_bytes(), [m.end() for m in re.finditer(b'\n', path.read_bytes())]
    for cut in [*range(ends[1], ends[2], 9), ends[2] - 2, ends[2] - 1]:
        path.write_bytes(whole[:cut])
        again = labeler(path)
        kept = 3 if cut == ends[2] - 1 else 2  # all but the newline is a whole click
        assert again.counts() == (kept, 0) and again.at == kept
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            click(again.choices[1])
            assert labeler(path).counts() == (kept + 1, 0)


def test_damage_in_the_middle_is_said(path):
    a = labeler(path)
    for j in (1, 0, 1):
        click(a.choices[j])
    lines = path.read_bytes().split(b'\n')
    for damage in (b'\xff\xfe\x00', b'{"annotator": 3}', b'[1]', b'null'):
        path.write_bytes(b'\n'.join([lines[0], damage, *lines[2:]]))
        with pytest.warns(UserWarning, match='line 2 is damaged'):
            assert len(read_labels(path)) == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(
        st.sampled_from(['pass', 'fail', 'skip', 'undo', 'note', 'next', 'previous', 'restart']), max_size=20
    )
)
def test_any_session_is_what_its_file_says(acts, tmp_path_factory):
    "Against a plain model in memory: a stack for each item, and the order of clicks"
    path = tmp_path_factory.mktemp('x') / 'labels.jsonl'
    a, stacks, order = labeler(path, items=TEXTS[:3]), [[], [], []], []
    for n, act in enumerate(acts):
        at = a.at
        now = stacks[at][-1] if stacks[at] else (None, False, '')
        if act in ('pass', 'fail'):
            a.choose(act)
            stacks[at].append((act, False, now[2]))
            order.append(at)
        elif act == 'skip':
            a.skip()
            stacks[at].append((None, True, now[2]))
            order.append(at)
        elif act == 'note':
            a.write_note(f'note {n}')
            stacks[at].append((*now[:2], f'note {n}'))
            order.append(at)
        elif act == 'undo' and order:
            a.undo()
            stacks[order.pop()].pop()
        elif act in ('next', 'previous'):
            a.move(1 if act == 'next' else -1)
        elif act == 'restart':
            a = labeler(path, items=TEXTS[:3])
            open_ = [i for i, s in enumerate(stacks) if not s or s[-1][0] is None and not s[-1][1]]
            assert a.at == (open_[0] if open_ else 2)
        found = [
            (r['label'], r['skip'], r['note']) if (r := a.row(i)) else (None, False, '') for i in range(3)
        ]
        assert found == [s[-1] if s else (None, False, '') for s in stacks]
    last = {}
    for row in read_labels(path):
        last[row['item']] = row['label']  # "the last line wins" says the same
    assert [last.get(i) for i in a.sheet.ids] == [s[-1][0] if s else None for s in stacks]


KILLED = """
import sys
from rlops_lab.widgets.annotate import Labeler
assert 'torch' not in sys.modules, 'labelling waits for torch'
a = Labeler([f'reply {i}' for i in range(5000)], annotator='ada', path=sys.argv[1], order=range(5000), drawn='random')
while True:
    a.choose('pass')
    print(a.counts()[0], flush=True)
"""


def test_a_killed_process_has_lost_nothing(path):
    process = subprocess.Popen([sys.executable, '-c', KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    said = [process.stdout.readline() for _ in range(15)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = int((said + process.stdout.readlines())[-1])
    again = labeler(path, items=[f'reply {i}' for i in range(5000)])
    assert done <= again.counts()[0] <= done + 1 and again.at == again.counts()[0]


def test_processes_share_a_file(path):
    children = []
    for who in ('ada', 'ben', 'eve'):
        if (child := os.fork()) == 0:
            try:
                row = dict(annotator=who, hash='h', rubric='v', criterion='c', label='pass')
                for i in range(60):
                    LabelFile(path).append(row | dict(item=str(i), note='x' * i))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    rows = read_labels(path)
    assert len(rows) == 180
    for who in ('ada', 'ben', 'eve'):
        assert [r['item'] for r in rows if r['annotator'] == who] == [str(i) for i in range(60)]


def test_a_folder_has_a_file_for_each(tmp_path):
    for who in ('ada', 'ben'):
        labeler(tmp_path / 'labels', who).choose('pass')
    assert sorted(p.name for p in (tmp_path / 'labels').iterdir()) == ['ada.jsonl', 'ben.jsonl']
    assert labeler(tmp_path / 'labels').annotators == ('ada', 'ben')


def test_another_text_or_wording_is_another_question(path):
    labeler(path, ids='abcdefgh').choose('pass')
    same, edited = labeler(path, ids='abcdefgh'), labeler(path, items=['edited', *TEXTS[1:]], ids='abcdefgh')
    assert same.at == 1 and edited.at == 0 and '1 items have labels for another text' in edited.says.value
    reworded = Rubric(
        'pass_fail',
        'You label one item.',
        1.0,
        (Criterion('passes', 'Would you send it?', ('fail', 'pass')),),
    )
    assert labeler(path, rubric=reworded, columns=None).counts() == (0, 0)


# ---- what comes out


def test_agreement_is_that_of_the_calibration(path):
    r = np.random.default_rng(0)
    items = [f'reply {i}' for i in range(30)]
    marks = {who: ['fail' if x < 0.4 else 'pass' for x in r.random(30)] for who in ('ada', 'ben')}
    for who, column in marks.items():
        a = labeler(path, who, items)
        for y in column:
            a.choose(y)
    found = a.agreement()
    assert found.kappa == calibrate(marks['ben'], marks['ada'], 'random').kappa and found.shared == 30
    assert found.alpha == rater_alpha(list(zip(marks['ben'], marks['ada'])))
    third = labeler(path, 'eve', items)
    assert (
        third.agreement().shared == 30 and third.agreement().kappa is None
    )  # none of their own yet, and alpha of the others
    assert f'{third.agreement().alpha.value:.2f}' in third.html()


def test_levels_and_an_answer_that_does_not_apply(path):
    a = labeler(path, items=TEXTS[:3], rubric=LEVELS)
    for answer in ('yes', 'yes', 'no question', 'no', 'no', 'yes'):
        a.choose(answer)
    with warnings.catch_warnings(action='error'):
        a.export(criterion='right')  # an answer is not a gap
    assert a.export(criterion='right').labels == ['yes', None, 'no'] and a.export(
        criterion='polite'
    ).labels == ['yes', 'no', 'yes']
    assert a.export().labels == ['pass', 'fail', 'fail']
    b = labeler(path, 'ben', items=TEXTS[:3], rubric=LEVELS)
    b.choose('yes')
    assert 'pass or fail: ben, ada: 0 items' in b.html() and 'polite: ben, ada: 0 items' in b.html()
    b.choose('yes')
    assert (
        'pass or fail: ben, ada: 1 item labelled' in b.html()
        and 'right: ben, ada: 1 item labelled' in b.html()
    )
    with pytest.raises(ValueError, match='one of right, polite'):
        a.export(criterion='rude')


def test_design_goes_with_the_labels(path):
    verdicts = ['pass', 'fail'] * 4
    labeler(path, verdicts=verdicts).choose('pass')
    assert labeler(path).export().drawn == 'random'
    second = labeler(path, verdicts=verdicts, order=[3, 2], drawn='verdict')
    second.choose('fail')
    assert second.export().drawn == 'verdict'
    labeler(path, order=[5], drawn='label').choose('pass')
    with pytest.raises(ValueError, match='do not mix'), warnings.catch_warnings(action='ignore'):
        labeler(path).export()
    with pytest.raises(ValueError, match='nothing is labelled yet'):
        labeler(path, 'new').export('new')


def test_labels_by_one_judge_are_no_sample_within_anothers_verdicts(path):
    one, other = ['pass', 'fail'] * 4, ['pass'] * 4 + ['fail'] * 4
    a = Labeler(TEXTS, annotator='ada', path=path, verdicts=one, drawn='verdict', k=4)
    while not a.done:
        a.choose('pass')
    assert a.export().drawn == 'verdict'
    b = Labeler(TEXTS, annotator='ada', path=path, verdicts=other, drawn='verdict', k=4)
    with pytest.raises(ValueError, match='drawn by other verdicts'):
        b.export()


def test_a_criterion_has_no_sample_within_its_own_verdicts(path):
    "Drawn by the verdict on the item: good for the item's pass or fail, and not for one of two criteria"
    a = labeler(path, rubric=LEVELS, verdicts=['pass', 'fail'] * 4, drawn='verdict', order=None)
    for _ in range(8):
        a.choose('yes')
        a.choose('no')
    with warnings.catch_warnings(action='error'):
        a.export()
    with pytest.warns(UserWarning, match="no sample within the verdict on 'right'"):
        a.export(criterion='right')
    b = labeler(path.with_name('random.jsonl'), rubric=LEVELS, verdicts=['pass', 'fail'] * 4)
    b.choose('yes')
    b.choose('no')
    with warnings.catch_warnings(action='error'):
        b.export(criterion='right')


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


def test_what_was_passed_over_is_said(path):
    a = labeler(path)
    a.choose('pass')
    a.move(1)
    a.move(1)
    a.choose('fail')
    with pytest.warns(UserWarning, match='2 of the first 4 items were passed over or skipped'):
        a.export()
    for i, y in enumerate(['fail', 'fail', 'pass', 'fail']):
        b = labeler(path, 'ben')
        b.go(i)
        b.choose(y)
    with pytest.warns(UserWarning, match='^1 items have as many labels of one kind as of another'):
        assert a.export().labels[:2] == [None, 'fail']
    assert majority([['pass', 'pass', None], ['fail', 'pass', None], [None, 'fail', 'pass']]) == [
        None,
        'pass',
        'pass',
    ]


def test_coverage_where_labelling_stops_early():
    "Drawn by verdict, shuffled, and 60 of 100 labelled: the corrected rate's interval holds what it should"
    r, held = np.random.default_rng(0), 0
    for seed in range(200):
        y = r.random(300) < 0.4
        v = np.where(r.random(300) < np.where(y, 0.9, 0.3), 'pass', 'fail').tolist()
        mine = set(label_order(300, 100, 'verdict', v, seed)[:60])
        found = corrected_rate(v, [bool(x) if i in mine else None for i, x in enumerate(y)], 'verdict').rate
        held += found.low <= 0.4 <= found.high
    assert held >= 182, held  # 182 of 200 or more in 99% of the cases, if it is 95%


# ---- pages


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
        drawn='random',
        verdicts=['fail', 'pass'],
    )
    a.write_note(nasty)
    a.choose(1)
    a.choose(0)
    a.compare()
    for page in (a.static().data, a.html(), a.question.value, a.says.value):
        assert '<script' not in page and not re.search(r'<style|<svg|<link|href=|https?:| id=', page)
    assert '&lt;script' in a.html()


def test_pages_by_themselves():
    sheet = Sheet(TEXTS, order=[2, 0], drawn='random')
    assert 'item 1 of 2' in question_html(sheet, 0) and 'reply 2' in question_html(sheet, 0)
    assert 'no label on any item with verdict' in comparison_html(
        sheet, ['pass'] + [None] * 7, ['pass', 'fail'] * 4, 'verdict'
    )
    assert 'one annotator so far' in agreement_html(agreement(dict(ada=['pass'])))


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
        (dict(drawn='balanced'), 'one of random, verdict, label'),
        (dict(order=None, drawn='label'), 'must come from elsewhere'),
        (dict(order=None, drawn='verdict'), "needs the judge's verdicts"),
        (dict(order=None, drawn='random', k=9), 'k=9 of 8 rows'),
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
