"What an annotator looks at: pages by themselves, and no grade on any of them."

from labelling import TEXTS

from rlops_lab.core import Trajectory
from rlops_lab.observe.annotations import Sheet
from rlops_lab.observe.label_columns import agreement
from rlops_lab.widgets.annotate_pages import agreement_html, comparison_html, item_html, question_html


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


def test_pages_by_themselves():
    sheet = Sheet(TEXTS, order=[2, 0], design='random')
    assert 'item 1 of 2' in question_html(sheet, 0) and 'reply 2' in question_html(sheet, 0)
    assert 'no label on any item with verdict' in comparison_html(
        sheet, ['pass'] + [None] * 7, ['pass', 'fail'] * 4, 'verdict'
    )
    assert 'one annotator so far' in agreement_html(agreement(dict(ada=['pass'])))
