"Comparisons in both orders, rankings made of them, and panels"

import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from fake_judges import RUBRIC, items, verdict

from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.pairwise import (
    Panel,
    compare_pairs,
    flips,
    pairwise,
    panel_agreement,
    rank_answers,
    ranking_reward,
    schedule_pairs,
)
from rlops_lab.judges.prompts import sanitize
from rlops_lab.judges.rubrics import Criterion, Rubric


def test_swap_and_confirm_gives_the_flip_rate_of_the_stored_verdicts():
    "LLMBar holds GPT-4's verdicts on 100 pairs in both orders; replayed through prompts and parser, they flip as often"
    path = (
        Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).parents[3] / 'shared' / 'data'))
        / 'llmbar'
        / 'natural_gpt4_vanilla_verdicts.json'
    )
    if not path.exists():
        pytest.skip('LLMBar\'s verdicts are not beside the repository (../shared/data or $RLOPS_REAL_DATA)')
    rows = json.loads(path.read_text())
    recorded = {}
    for row in rows:
        for order, shown in (('swap = False', (1, 2)), ('swap = True', (2, 1))):
            key = tuple(sanitize(row[k]) for k in ('input', *(f'output_{i}' for i in shown)))
            recorded[key] = row['results'][0][order]['completion'][0]

    async def replay(messages, **how):
        seen = tuple(
            re.search(
                f'<<<{name} (\\w{{16}})>>>\n(.*?)\n<<<end of {name} \\1>>>', messages[-1]['content'], re.S
            )[2]
            for name in ('prompt', 'answer_1', 'answer_2')
        )
        return JudgeReply(
            verdict({'Output (a)': 'answer_1', 'Output (b)': 'answer_2'}[recorded[seen]], 'recorded')
        )

    verdicts = compare_pairs(
        Judge(replay, pairwise(RUBRIC)),
        [dict(prompt=r['input'], a=r['output_1'], b=r['output_2']) for r in rows],
    )
    won = [[r['results'][0][order]['winner'] for order in ('swap = False', 'swap = True')] for r in rows]
    assert flips(verdicts) == (sum(a != b for a, b in won), len(rows)) and 0 < flips(verdicts)[0] < len(rows)
    for (a, b), v, r in zip(won, verdicts, rows):
        assert v.choice == ('tie' if a != b else dict(zip('12', 'ab'))[a])
    right = sum(v.choice == 'ab'[r['label'] - 1] for v, r in zip(verdicts, rows))
    assert right == sum(a == b == str(r['label']) for (a, b), r in zip(won, rows))


@pytest.mark.parametrize(
    'first, second, choice, score, flipped',
    [
        ('answer_1', 'answer_2', 'a', 1.0, 0),
        ('answer_2', 'answer_1', 'b', 0.0, 0),
        ('answer_1', 'answer_1', 'tie', 0.5, 1),
        ('answer_2', 'answer_2', 'tie', 0.5, 1),
        ('equal', 'equal', 'tie', 0.5, 0),
        ('answer_1', 'equal', 'tie', 0.5, 0),
        ('equal', 'answer_1', 'tie', 0.5, 0),
        (None, 'answer_1', None, None, 0),
        ('answer_2', None, None, None, 0),
    ],
)
def test_every_pair_of_orders(first, second, choice, score, flipped):
    async def ask(messages, **how):
        said = first if re.search(r'<<<answer_1 \w+>>>\nA\n', messages[-1]['content']) else second
        return JudgeReply(verdict(said) if said else 'hm')

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        v = compare_pairs(Judge(ask, pairwise(RUBRIC), attempts=1), [dict(prompt='?', a='A', b='B')])[0]
    assert (
        (v.choice, v.score) == (choice, score)
        and flips([v]) == (flipped, score is not None)
        and v.usage.calls == 2
    )
    assert bool(v.unscored) == (score is None)


def test_comparison_weighs_criteria():
    rubric = Rubric(
        'two',
        'You check.',
        1.0,
        (
            Criterion('long', 'Is it long?', ('no', 'yes'), weight=3.0),
            Criterion('short', 'Is it short?', ('no', 'yes')),
        ),
    )

    async def ask(messages, **how):
        a, b = (
            len(re.search(f'<<<answer_{i} \\w+>>>\n(.*?)\n<<<end', messages[-1]['content'], re.S)[1])
            for i in (1, 2)
        )
        return JudgeReply(
            verdict('answer_1' if (a > b) == ('long: Which' in messages[-1]['content']) else 'answer_2')
        )

    v = compare_pairs(Judge(ask, pairwise(rubric)), [dict(prompt='?', a='xx', b='x')])[0]
    assert (
        (v.choice, v.score) == ('a', 0.75)
        and [p.choice for p in v.parts.values()] == ['a', 'b']
        and v.usage.calls == 4
    )


def test_a_ranking_compares_what_was_asked_alike():
    "The same prompt about two sources is two questions, also where the rubric reads no prompt"

    async def longest(messages, **how):
        a, b = (
            len(re.search(f'<<<answer_{i} \\w+>>>\n(.*?)\n<<<end', messages[-1]['content'], re.S)[1])
            for i in (1, 2)
        )
        return JudgeReply(verdict('answer_1' if a > b else 'answer_2'))

    reward = ranking_reward(Judge(longest, pairwise(replace(RUBRIC, sees=('source', 'completion')))))
    assert reward(
        ['p', 'p', 'p', 'p', 'q'], ['a', 'bb', 'ccc', 'dddd', 'e'], source=['s', 't', 's', 't', 's']
    ) == [0.0, 0.0, 1.0, 1.0, None]


def test_a_ranking_leaves_out_who_could_not_be_compared():
    async def ask(messages, **how):
        a, b = (
            re.search(f'<<<answer_{i} \\w+>>>\n(.*?)\n<<<end', messages[-1]['content'], re.S)[1]
            for i in (1, 2)
        )
        return JudgeReply('hm' if 'C' in (a, b) else verdict('answer_1' if a < b else 'answer_2'))

    with pytest.warns(UserWarning, match='unscored'):
        assert rank_answers(
            Judge(ask, pairwise(RUBRIC), attempts=1), [dict(prompt='?', answers=list('ABC'))]
        ) == [[1.0, 0.0, None]]


def test_criteria_that_balance_are_a_tie():
    rubric = Rubric(
        'three',
        'You check.',
        1.0,
        tuple(Criterion(n, f'Is it {n}?', ('no', 'yes'), w) for n, w in dict(a=0.3, b=0.1, c=0.2).items()),
    )

    async def ask(messages, **how):
        first = re.search(r'<<<answer_1 \w+>>>\nA\n', messages[-1]['content']) is not None
        return JudgeReply(
            verdict('answer_1' if ('Is it a?' in messages[-1]['content']) == first else 'answer_2')
        )

    assert (
        compare_pairs(Judge(ask, pairwise(rubric)), [dict(prompt='?', a='A', b='B')])[0].choice == 'tie'
    )  # .3 for A, .1+.2 for B


@pytest.mark.parametrize('n, opponents', [(2, None), (5, 2), (8, 4), (8, 6), (8, 7), (9, 100)])
def test_every_answer_has_as_many_opponents(n, opponents):
    games = schedule_pairs(n, opponents)
    assert len(set(games)) == len(games) and all(i < j for i, j in games)
    assert {sum(i in g for g in games) for i in range(n)} == {min(opponents or n, n - 1)}


def test_a_panel_of_endpoints_votes_and_counts_what_it_cost(server):
    server.answer = staticmethod(
        lambda body: (
            'hm' if body['model'] == 'broken' else verdict('no' if body['model'] == 'strict' else 'yes')
        )
    )
    panel = Panel(
        [Judge(Endpoint(server.url, m), RUBRIC, attempts=1) for m in ('kind', 'strict', 'mild', 'broken')]
    )
    v = panel.grade(items(1))[0]
    assert v.parts['helps'].choice == 'yes' and v.score == pytest.approx(2 / 3)
    assert [m.choice for m in v.parts['helps'].parts.values()] == ['yes', 'no', 'yes', None]
    assert panel.usage.calls == 4 and v.usage.calls == 4 and panel_agreement([v]) == pytest.approx(1 / 3)
