"What reads as a sentence, and what a heap of keywords earns"

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.extraction.sentences import is_sentence, sentences_of
from rlops_lab.environments.extraction.summaries import Report, Summary, extraction_report, grade_summary

PARAPHRASES = """
Harlan's ordering system in Leeds was down for 45 minutes because of a failed disk, leaving 300 customers unable to pay.
Tom Haller pledged a repair within 5 days.
The outage in Leeds lasted 45 minutes and hit Harlan Supplies.
An expired certificate caused the failure.
Sales at Harlan rose 7 percent.
Ana Reyes has been named the new director.
In 5 months, the Leeds branch will close.
The firm will recruit (hire) 300 people.
300 customers couldn't pay during the outage.
It was caused by a failed disk.
Mia Brandt, the new director, takes over.
For 45 minutes Harlan Supplies had no order system in Leeds.
- Harlan Supplies lost its order system for 45 minutes
300 people are going to be hired, and the Leeds branch closes in 5 months.
300 new hires are planned.
""".strip().split('\n')


@pytest.mark.parametrize('text', PARAPHRASES)
def test_other_words_for_the_same_are_sentences(text):
    assert is_sentence(text)


def test_every_sentence_of_our_reports_is_one():
    for seed in range(100):
        for split in ('train', 'eval'):
            text = extraction_report(seed, split)
            assert all(map(is_sentence, sentences_of(text.text))), text.text


@given(st.text(max_size=80))
def test_any_text_is_one_or_not(text):
    assert is_sentence(text) in (True, False)


def shuffle(words, seed):
    random.Random(seed).shuffle(words)
    return ' '.join(words)


def marks(report):
    return [' '.join(fact) for fact in report.facts]


HEAPS = dict(
    lines=lambda report, seed: '\n'.join(marks(report)),
    stops=lambda report, seed: '. '.join(marks(report)) + '.',
    commas=lambda report, seed: ', '.join(marks(report)) + '.',
    ands=lambda report, seed: ' and '.join(marks(report)) + '.',
    one=lambda report, seed: ' '.join(marks(report)) + '.',
    labels=lambda report, seed: 'Keywords: ' + '; '.join(marks(report)) + '.',
    articles=lambda report, seed: 'the ' + ' the '.join(' '.join(marks(report)).split()) + '.',
    capitals=lambda report, seed: ' '.join(marks(report)).upper() + '.',
    shuffled=lambda report, seed: shuffle(report.reference.replace('.', '').split(), seed) + '.',
    again=lambda report, seed: (' '.join(marks(report)) + ' ') * 2,
)


@pytest.mark.parametrize('heap', HEAPS)
@pytest.mark.parametrize('split', ['train', 'eval'])
def test_a_heap_of_keywords_earns_next_to_nothing(heap, split):
    rewards = []
    for seed in range(100):
        env = Summary()
        env.reset(seed, split)
        env.submit(HEAPS[heap](env.report, seed))
        rewards.append(env.get_reward())
    assert sum(rewards) / len(rewards) < 0.1 and sorted(rewards)[90] < 0.3


def test_a_report_in_a_language_that_is_not_read_pays_half():
    text = 'Ein Ausfall legte Harlan 45 Minuten lahm. Schuld war eine Platte.'
    report = Report(text, [('Harlan', '45'), ('Platte',)], text)
    scores = grade_summary(text, report, 45)
    assert scores['coverage'] == 0.5 and grade_summary('Harlan 45. Platte.', report, 45)['coverage'] <= 0.5
