"Summaries: each score sees what it is named after"

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.extraction.summaries import (
    Summary,
    extraction_report,
    grade_summary,
    names_and_numbers,
    sentences_of,
)


@given(st.text(max_size=60))
def test_no_reply_raises(text):
    env = Summary()
    env.reset(seed=1)
    assert env.user(text) is None and env.done and 0 <= env.get_reward() <= 1
    assert all(math.isfinite(v) for v in env.kpis.values())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match='unknown split'):
        extraction_report(0, 'test')


def test_summary_scores_see_what_they_are_named_after():
    for seed in range(100):
        d = extraction_report(seed, 'eval')
        best = grade_summary(d.reference, d, 45)
        assert all(v == 1 for v in best.values()), (d, best)
        said = sentences_of(d.reference)
        assert grade_summary(' '.join(said[1:]), d, 45)['coverage'] == 1 - 1 / len(d.facts)
        assert grade_summary(d.reference + ' Sales in Zurich were 9999.', d, 45)['consistency'] < 1
        assert grade_summary(d.reference + ' Nice.', d, 45)['relevance'] < 1
        padded = d.reference.replace('.', ' indeed and truly so.')
        assert grade_summary(padded, d, 45)['density'] < 1
        assert grade_summary(d.reference * 4, d, 45)['brevity'] < 0.2
        assert all(x in d.text for x in names_and_numbers(d.text))
