"Verdict data: what a verdict may be, parts that are never empty, and a baseline that is scikit-learn's"

import numpy as np
import pytest

from rlops_lab.core import Trajectory, rng
from rlops_lab.finetune.verdict_data import BagOfWords, split_by_case, verdict_rows
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import encoded, rendered


def test_judges_verdicts_are_labels():
    _, tokenizer = load('tiny')
    prompt = [dict(role='user', content='Hi')]
    head = encoded(tokenizer, rendered(tokenizer, prompt, reply=True))
    n = len(head)

    def episode(i):
        return Trajectory(
            dict(prompt=prompt, n=i),
            [*prompt, dict(role='assistant', content='x')],
            head + [70 + i],
            [0] * n + [1],
            [0.0] * (n + 1),
            [-1] * n + [0],
        )

    answers = ['pass', 'fail', None, float('nan'), True]
    episodes = [episode(i) for i in range(5)]
    found = verdict_rows(episodes, tokenizer, accept=lambda t: answers[t.task['n']])
    assert found['label'] == [1.0, 0.0, 1.0]
    assert found['episode'] == [0, 1, 4]
    assert '<|' not in found['text'][0]
    with pytest.raises(ValueError, match='0.7 in row 0'):
        verdict_rows(episodes[:1], tokenizer, accept=lambda t: 0.7)


def test_parts_hold_every_row_once_and_no_case_twice():
    cases = rng(0, 'cases').integers(40, size=300).tolist()
    parts = split_by_case(cases, (0.5, 0.3, 0.2))
    assert sorted(sum(parts, [])) == list(range(300))
    found = [{cases[row] for row in part} for part in parts]
    assert sum(map(len, found)) == len(set(cases))
    assert parts == split_by_case(cases, (0.5, 0.3, 0.2))
    assert parts != split_by_case(cases, (0.5, 0.3, 0.2), seed=1)


@pytest.mark.parametrize(
    'cases, shares, text',
    [
        ([1, 2, 3], (0.5, 0.2), 'add up to'),
        ([1, 2, 3], (0.7, 0.15, 0.15), 'a part would be empty'),
        (range(20), (1.2, -0.2), 'above 0'),
    ],
)
def test_impossible_parts_are_refused(cases, shares, text):
    with pytest.raises(ValueError, match=text):
        split_by_case(cases, shares)


def test_the_baseline_needs_five_of_each():
    with pytest.raises(ValueError, match='5 accepted and 3 rejected'):
        BagOfWords(['a b'] * 8, [1] * 5 + [0] * 3)
    with pytest.raises(ValueError, match='9 accepted and 0 rejected'):
        BagOfWords(['a b'] * 10, [1] * 9 + [None])
    with pytest.raises(ValueError, match='11 texts, 5 accepted and 5 rejected'):
        BagOfWords(['a b'] * 11, [1] * 5 + [0] * 5)


def test_baseline_is_scikit_learns_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    random = rng(6, 'words')
    good = random.random(120) < 0.5
    texts = []
    for g in good:
        words = ' '.join(random.choice(list('abcdef'), 6))
        texts.append(words + (' done' if g and random.random() < 0.8 else ' wait'))
    ours = BagOfWords(texts, good)
    tfidf = ours.model.best_estimator_[0]
    strength = ours.model.best_params_['logisticregression__C']
    theirs = LogisticRegression(C=strength, max_iter=2000).fit(tfidf.transform(texts), good)
    again = TfidfVectorizer(**tfidf.get_params()).fit_transform(texts)
    np.testing.assert_allclose(ours.logits(texts), theirs.decision_function(again), atol=1e-6)
