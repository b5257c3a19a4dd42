"A judge in front of a server that is slow, fails, hangs and talks nonsense: nothing is lost, nothing is paid for twice"

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace

import pytest
from fake_judges import RUBRIC, honest, items, verdict

from rlops_lab.core.files import read_jsonl
from rlops_lab.judges.endpoints import Endpoint, JudgeReply
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.rubrics import Criterion, Rubric


def test_faults_of_every_kind_and_nobody_is_lost_or_paid_twice(server, tmp_path):
    dice, seen = random.Random(0), {}

    def answer(body):
        text = re.search(r'text \d+\.', body['messages'][-1]['content'])[0]
        seen.setdefault(text, []).append(
            what := dice.choices(['fail', 'garbage', 'hang', 'ok'], [10, 5, 2, 83])[0]
        )
        return dict(
            fail=(503, {}),
            garbage='I would rather talk about the weather.',
            hang='hang',
            ok=verdict('yes' if int(text[5:-1]) % 2 else 'no'),
        )[what]

    server.answer = staticmethod(answer)
    judge = Judge(Endpoint(server.url, 'm'), RUBRIC, timeout=2.0, pause=0.01, log=tmp_path / 'log.jsonl')
    verdicts = judge.grade(items(200))
    assert len(verdicts) == 200
    for i, v in enumerate(verdicts):
        did = seen[f'text {i}.']  # an answer that came after the time-out is none
        if v.score is not None:
            assert (v.score, v.unscored) == (float(i % 2), '') and 'ok' in did and len(did) <= 3
        else:
            assert len(did) == 3 and re.search(
                'no answer within 2 s|InternalServerError|unparsed', v.unscored
            )
    assert sum(v.score is not None for v in verdicts) > 150
    assert len(read_jsonl(tmp_path / 'log.jsonl')) == 200
    before, failed = len(server.asked), [r for r in judge.rows.values() if r['failed']]
    server.answer = staticmethod(lambda body: verdict())
    again = Judge(Endpoint(server.url, 'm'), RUBRIC, log=tmp_path / 'log.jsonl').grade(items(200))
    assert len(server.asked) - before == len(failed)  # only what failed is asked again
    assert [v.score for v, old in zip(again, verdicts) if old.score is not None] == [
        v.score for v in verdicts if v.score is not None
    ]


def test_concurrency_is_bounded_and_used(server):
    under_way, most = [], []

    def answer(body):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.05)
        under_way.pop()
        return verdict()

    server.answer = staticmethod(answer)
    Judge(Endpoint(server.url, 'm'), RUBRIC, concurrency=4).grade(items(24))
    assert max(most) == 4


KILLED = '''
import sys
from rlops_lab.judges.endpoints import Endpoint
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.rubrics import Criterion, Rubric
rubric = Rubric('helpful', 'You check one answer.', 1., (Criterion('helps', 'Does it help?', ('no', 'yes')),))
items = [dict(prompt='?', completion=f'text {i}.') for i in range(60)]
Judge(Endpoint(sys.argv[1], 'm'), rubric, log=sys.argv[2], concurrency=4).grade(items)
'''


def test_after_sigkill_only_what_is_missing_is_paid(server, tmp_path):
    server.delay, log = 0.05, tmp_path / 'log.jsonl'
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, server.url, str(log)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    until = time.perf_counter() + 60
    while len(read_jsonl(log)) < 15 and time.perf_counter() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.2)  # what was under way reaches the server
    kept, paid = len(read_jsonl(log)), len(server.asked)
    assert 15 <= kept < 60 and kept <= paid <= kept + 4  # lost: at most what was under way
    with open(log, 'a') as f:
        f.write('{"key": "half a li')
    judge = Judge(Endpoint(server.url, 'm'), RUBRIC, log=log)
    assert [v.score for v in judge.grade(items(60))] == [1.0] * 60 and len(server.asked) - paid == 60 - kept
    assert len(read_jsonl(log)) == 60


def test_ctrl_c_loses_nothing(tmp_path):
    asked = []

    async def slow(messages, **how):
        asked.append(1)
        if len(asked) > 20:
            await asyncio.sleep(60)
        return JudgeReply(verdict())

    judge = Judge(slow, RUBRIC, log=tmp_path / 'log.jsonl', concurrency=5)

    def interrupt():
        while len(asked) < 25 or len(judge.rows) < 20:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # pytest that a shell started in the background ignores Ctrl-C
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            judge.grade(items(50))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(read_jsonl(tmp_path / 'log.jsonl')) == 20
    asked.clear()
    verdicts = judge.grade(items(40)[:20] + items(40)[:20])
    assert [v.score for v in verdicts] == [1.0] * 40 and not asked and all(v.cached for v in verdicts)


def test_a_batch_that_is_cancelled_does_not_take_another_with_it():
    async def both():
        gate, asked = asyncio.Event(), []

        async def ask(messages, **how):
            asked.append(1)
            await gate.wait()
            return JudgeReply(verdict())

        judge = Judge(ask, RUBRIC)
        first, second = (asyncio.ensure_future(judge._grade_all(items(1))) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0.05)
        gate.set()
        return await second, len(asked)

    verdicts, asked = asyncio.run(both())
    assert verdicts[0].score == 1 and asked == 2


def test_equal_items_are_one_call():
    honest.asked = 0
    verdicts = Judge(honest, RUBRIC).grade(items(2) * 50)
    assert honest.asked == 2 and sum(not v.cached for v in verdicts) == 2


@pytest.mark.filterwarnings('ignore:rubric .helpful. passes items at a score of 1')
@pytest.mark.parametrize(
    'change',
    [
        dict(temperature=0.5),
        dict(max_tokens=99),
        dict(seed=1, temperature=0.5),
        dict(mode='logprobs'),
        dict(
            rubric=Rubric(
                'helpful',
                'You check one answer.',
                1.0,
                (Criterion('helps', 'Does it help them?', ('no', 'yes')),),
            )
        ),
    ],
)
def test_what_changes_the_answer_changes_the_key(tmp_path, change):
    honest.asked, log = 0, tmp_path / 'log.jsonl'

    async def both(messages, **how):
        return JudgeReply((await honest(messages)).text, top=[('A', -0.1)])

    both.model = 'm'
    Judge(both, RUBRIC, log=log).grade(items(1))
    Judge(both, RUBRIC, log=log).grade(items(1))
    assert honest.asked == 1
    Judge(both, **dict(rubric=RUBRIC) | change, log=log).grade(items(1))
    assert honest.asked == 2


def test_new_weights_behind_an_old_name_are_asked_again(server, tmp_path):
    def grade_with(**how):
        return Judge(Endpoint(server.url, 'policy', **how), RUBRIC, log=tmp_path / 'log.jsonl').grade(
            items(2)
        )

    grade_with(version='a')
    grade_with(version='a')
    assert len(server.asked) == 2
    v = grade_with(version='b')[0]
    assert (
        len(server.asked) == 4
        and not v.cached
        and v.lineage.revision == 'b'
        and 'version' not in server.asked[-1]
    )


def test_samples_are_asked_with_seeds_of_their_own():
    seeds = []

    async def ask(messages, seed, **how):
        seeds.append(seed)
        return JudgeReply(verdict('yes' if seed % 2 else 'no'))

    v = Judge(ask, RUBRIC, samples=3, temperature=1.0).grade(items(1))[0]
    assert (
        sorted(seeds) == [0, 1, 2]
        and v.parts['helps'].choice == 'no'
        and v.score == pytest.approx(1 / 3)
        and v.usage.calls == 3
    )
    tie = Judge(ask, RUBRIC, samples=2, temperature=1.0)
    with pytest.warns(UserWarning, match="a tie between 'no' and 'yes'"):
        assert tie.grade(items(1))[0].score is None


def test_a_threshold_that_an_expected_score_does_not_reach_is_said():
    async def sure(messages, **how):
        return JudgeReply('B', top=[('B', -0.001), ('A', -7.0)])

    with pytest.warns(UserWarning, match="passes items at a score of 1"):
        v = Judge(sure, RUBRIC, mode='logprobs').grade(items(1))[0]
    assert v.choice == 'fail' and v.score > 0.99
    with warnings.catch_warnings(action='error'):
        assert Judge(sure, replace(RUBRIC, pass_at=0.9), mode='logprobs').grade(items(1))[0].choice == 'pass'


def test_a_log_is_the_judges_own(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"reward": 1}\n')
    with pytest.raises(ValueError, match='metrics.jsonl holds something else: give a file of its own'):
        Judge(honest, RUBRIC, log=tmp_path / 'metrics.jsonl')
    assert (tmp_path / 'metrics.jsonl').read_text() == '{"reward": 1}\n'


async def shown_to(messages, **how):
    "Repeats the choice of the last example"
    shown_to.seen.append(messages)
    said = [m['content'] for m in messages if m['role'] == 'assistant']
    return JudgeReply(said[-1] if said else verdict())


shown_to.seen = []


def test_examples_belong_to_the_item_and_the_criterion(tmp_path):
    rubric = replace(RUBRIC, criteria=(*RUBRIC.criteria, Criterion('short', 'Is it short?', ('no', 'yes'))))

    def examples(item, criterion):
        return [
            dict(
                id=7,
                prompt='?',
                completion=f'like {item["completion"]}',
                label='no' if criterion.name == 'short' else 'yes',
                note='x',
            )
        ]

    shown_to.seen = []
    judge = Judge(shown_to, rubric, examples=examples, log=tmp_path / 'log.jsonl')
    verdicts = judge.grade([dict(x, id=i) for i, x in enumerate(items(3))])
    assert [(v.parts['helps'].choice, v.parts['short'].choice) for v in verdicts] == [('yes', 'no')] * 3
    for messages in shown_to.seen:
        assert [m['role'] for m in messages] == ['system', 'user', 'assistant', 'user'] and json.loads(
            messages[2]['content']
        )['reason'] == 'So people decided.'
        text = re.search(r'text \d+\.', messages[-1]['content'])[0]
        assert f'like {text}' in messages[1]['content'] and 'note' not in messages[1]['content']
    assert len({v.parts['helps'].lineage.template for v in verdicts}) == 3
    again = Judge(shown_to, rubric, examples=examples, log=tmp_path / 'log.jsonl').grade(items(3))
    assert all(v.cached for v in again) and len(shown_to.seen) == 6
    Judge(shown_to, rubric, log=tmp_path / 'log.jsonl').grade(items(3))  # without them it is another question
    assert len(shown_to.seen) == 12


def test_pass_and_fail_are_labels_of_a_single_question():
    shown = []

    async def ask(messages, **how):
        shown.append(json.loads(messages[2]['content'])['choice'])
        return JudgeReply(verdict())

    def labelled(label):
        return lambda item, criterion: [dict(prompt='?', completion='!', label=label)]

    for label in ('pass', 'fail', 'yes'):
        Judge(ask, RUBRIC, examples=labelled(label)).grade(items(1))
    assert shown == ['yes', 'no', 'yes']
    two = replace(RUBRIC, criteria=(*RUBRIC.criteria, replace(RUBRIC.criteria[0], name='is_kind')))
    with pytest.raises(ValueError, match="choice is 'pass'. Give one of"):
        Judge(ask, two, examples=labelled('pass')).grade(items(1))


@pytest.mark.parametrize(
    'row, says',
    [
        (dict(prompt='?', completion='!', label='good'), "choice is 'good'. Give one of"),
        (dict(prompt='?', label='yes'), r"an example lacks \['completion'\]"),
        (dict(prompt='?', completion=' ', label='no'), 'Give a text'),
    ],
)
def test_examples_that_do_not_fit_cost_nothing(row, says):
    honest.asked = 0
    good = dict(prompt='?', completion='!', label='yes')
    with pytest.raises(ValueError, match=says):
        Judge(honest, RUBRIC, examples=lambda item, c: [row if '9' in item['completion'] else good]).grade(
            items(10)
        )
    assert honest.asked == 0


def test_as_a_reward_the_whole_row_finds_the_examples():
    got = []
    judge = Judge(honest, RUBRIC, examples=lambda item, c: got.append(item) or [])
    judge(['?'] * 2, ['a', 'b'], id=[3, 4], talk=['x', 'y'], trainer_state=None)
    assert [(x['id'], x['talk'], x['completion']) for x in got] == [(3, 'x', 'a'), (4, 'y', 'b')]


@pytest.mark.parametrize(
    'how, says',
    [
        (dict(mode='cot'), "give 'reason' or 'logprobs'"),
        (dict(samples=3), 'set a temperature above 0'),
        (dict(attempts=0), 'at least 1'),
        (dict(timeout=0), 'timeout above 0'),
        (dict(rubric='nonsense'), 'no rubric is called'),
    ],
)
def test_bad_settings_are_refused(how, says):
    with pytest.raises(ValueError, match=says):
        Judge(honest, **dict(rubric=RUBRIC) | how)
