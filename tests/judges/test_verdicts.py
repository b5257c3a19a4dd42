"Verdicts: combined at a threshold, voted on, and shown without letting a text become markup"

import re

import pytest
from fake_judges import RUBRIC

from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.judges.verdicts import Verdict, combine_criteria, pool_votes, verdicts_html, vote


def test_verdicts_show_themselves():
    nasty = '<script>alert(1)</script>'
    part = Verdict(nasty, 1.0, nasty, rubric='r', model=nasty)
    page = combine_criteria(RUBRIC, dict(helps=part))._repr_html_() + verdicts_html(
        [combine_criteria(RUBRIC, dict(helps=part)), Verdict(unscored=nasty)], [nasty, 'b']
    )
    assert '<script' not in page and not re.search(r'<style|<svg|href=| id=', page) and '&lt;script' in page
    assert '0 items' in verdicts_html([]) and 'unscored' in verdicts_html([Verdict(unscored='down')])
    voted = combine_criteria(
        RUBRIC, dict(helps=Verdict('yes', 1.0, parts={0: Verdict('yes', 1.0), 1: Verdict('no', 0.0)}))
    )
    assert '0: <b>yes</b>' in voted._repr_html_()
    assert (
        page.count('&lt;script&gt;alert(1)&lt;/script&gt;</span>') == 2
    )  # the reason once a page, and not the item's as well
    both = dict(given=Verdict('answer_1', 1.0), swapped=Verdict('answer_1', 1.0))
    assert (
        'contradict' in Verdict('tie', 0.5, 'the two orders contradict one another', parts=both)._repr_html_()
    )


def test_a_majority_for_does_not_apply_has_no_score():
    none = Verdict('no text', None, '', 'does not apply')
    v = pool_votes([none, none, Verdict('yes', 1.0)])
    assert (v.choice, v.score, v.unscored) == ('no text', None, 'does not apply')
    v = pool_votes([none, Verdict('yes', 1.0), Verdict('yes', 1.0), Verdict('no', 0.0)])
    assert v.choice == 'yes' and v.score == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    'weights, scores, pass_at',
    [
        ((0.7, 0.7, 0.6), (1, 1, 2 / 3), 0.9),
        ((0.1, 0.2, 0.3), (1, 1, 0), 0.5),
        ((1, 1, 1), (1 / 3, 1 / 3, 1 / 3), 1 / 3),
        ((0.7, 0.1, 0.2), (1, 1, 0), 0.8),
        ((0.6, 0.1, 0.3), (1, 0, 1), 0.9),
    ],
)
def test_a_score_at_the_threshold_passes_whatever_binary_fractions_make_of_it(weights, scores, pass_at):
    rubric = Rubric(
        'r',
        'You check.',
        pass_at,
        tuple(Criterion(n, 'Is it?', ('no', 'yes'), w) for n, w in zip('abc', weights)),
    )

    def on(scores):
        return combine_criteria(rubric, {n: Verdict('x', float(s)) for n, s in zip('abc', scores)})

    assert on(scores).score == pytest.approx(pass_at, abs=1e-12) and on(scores).choice == 'pass'
    assert on([scores[0] - 1e-6, *scores[1:]]).choice == 'fail'


def test_votes():
    assert (
        vote([None] * 3) == (None, '0 of 3 answered', {})
        and vote(['a', 'a', 'b', 'b'])[0] is None
        and vote(['a', None, 'a'])[0] == 'a'
    )
    lost = pool_votes(
        [
            Verdict('yes', 1.0),
            Verdict(unscored='no answer within 2 s'),
            Verdict(unscored='no answer within 2 s'),
        ]
    )
    assert lost.score is None and '1 of 3 answered' in lost.unscored and 'no answer' in lost.unscored
