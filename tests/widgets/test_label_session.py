"Sessions and their file: lines cut short, processes that die, a shared file, and the labels that come out."

import re
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from browsing import click
from hypothesis import HealthCheck, given, settings, strategies as st
from labelling import LEVELS, TEXTS, labeler

from rlops_lab.judges.agreement import calibrate
from rlops_lab.judges.consistency import rater_alpha
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.observe.annotations import read_labels
from rlops_lab.widgets.annotate import Labeler

pytestmark = pytest.mark.usefixtures('loud')


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'labels.jsonl'


def test_a_line_cut_anywhere_loses_that_click_alone(path):
    a = labeler(path)
    for j in (1, 0, 1):
        click(a.choices[j])
    whole, ends = path.read_bytes(), [m.end() for m in re.finditer(b'\n', path.read_bytes())]
    for cut in [*range(ends[1], ends[2], 9), ends[2] - 2, ends[2] - 1]:
        path.write_bytes(whole[:cut])
        again = labeler(path)
        kept = 3 if cut == ends[2] - 1 else 2  # all but the newline is a whole click
        assert again.counts() == (kept, 0) and again.position == kept
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
        at = a.position
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
            assert a.position == (open_[0] if open_ else 2)
        found = [
            (r['label'], r['skip'], r['note']) if (r := a.answer(i)) else (None, False, '') for i in range(3)
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
a = Labeler([f'reply {i}' for i in range(5000)], annotator='ada', path=sys.argv[1], order=range(5000), design='random')
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
    assert done <= again.counts()[0] <= done + 1 and again.position == again.counts()[0]


def test_a_folder_has_a_file_for_each(tmp_path):
    for who in ('ada', 'ben'):
        labeler(tmp_path / 'labels', who).choose('pass')
    assert sorted(p.name for p in (tmp_path / 'labels').iterdir()) == ['ada.jsonl', 'ben.jsonl']
    assert labeler(tmp_path / 'labels').annotators == ('ada', 'ben')


def test_another_text_or_wording_is_another_question(path):
    labeler(path, ids='abcdefgh').choose('pass')
    same, edited = labeler(path, ids='abcdefgh'), labeler(path, items=['edited', *TEXTS[1:]], ids='abcdefgh')
    assert (
        same.position == 1
        and edited.position == 0
        and '1 items have labels for another text' in edited.status.value
    )
    reworded = Rubric(
        'pass_fail',
        'You label one item.',
        1.0,
        (Criterion('passes', 'Would you send it?', ('fail', 'pass')),),
    )
    assert labeler(path, rubric=reworded, columns=None).counts() == (0, 0)


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
    assert labeler(path).export().design == 'random'
    second = labeler(path, verdicts=verdicts, order=[3, 2], design='verdict')
    second.choose('fail')
    assert second.export().design == 'verdict'
    labeler(path, order=[5], design='label').choose('pass')
    with pytest.raises(ValueError, match='do not mix'), warnings.catch_warnings(action='ignore'):
        labeler(path).export()
    with pytest.raises(ValueError, match='nothing is labelled yet'):
        labeler(path, 'new').export('new')


def test_labels_by_one_judge_are_no_sample_within_anothers_verdicts(path):
    one, other = ['pass', 'fail'] * 4, ['pass'] * 4 + ['fail'] * 4
    a = Labeler(TEXTS, annotator='ada', path=path, verdicts=one, design='verdict', k=4)
    while not a.done:
        a.choose('pass')
    assert a.export().design == 'verdict'
    b = Labeler(TEXTS, annotator='ada', path=path, verdicts=other, design='verdict', k=4)
    with pytest.raises(ValueError, match='drawn by other verdicts'):
        b.export()


def test_a_criterion_has_no_sample_within_its_own_verdicts(path):
    "Drawn by the verdict on the item: good for the item's pass or fail, and not for one of two criteria"
    a = labeler(path, rubric=LEVELS, verdicts=['pass', 'fail'] * 4, design='verdict', order=None)
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
