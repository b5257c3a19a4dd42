"Rejection sampling: accounting, balance, estimators, and a data set whose tokens are the sampled ones"

import random, subprocess, sys
from collections import Counter
import numpy as np
import pytest
from rlops_lab.core import Lineage, Trajectory, Usage
from rlops_lab.stats import wilson
from rlops_lab.rejection import (
    best_of_n, difficulty, family, learnable, pairs, pass_at, rejection_sample, action_texts,
    select, short_prompt, task_key, to_dataset, unpaired, verified,
)

SHORT = [dict(role='system', content='short'), dict(role='user', content='')]


def episode(task=0, right=True, text='ok', group='a', prompt=SHORT, **kw):
    "One turn, without real tokens"
    ms = [dict(role='user', content='hello'), dict(role='assistant', content=text)]
    kw = (
        dict(
            turn_rewards=[float(right)],
            kpis=dict(verified_resolution=float(right)),
            usage=Usage(10, 4, 2, 1.0, 1, 0.5),
        )
        | kw
    )
    return Trajectory(
        dict(family=group, seed=task, prompt=prompt), ms, [0, 1], [0, 1], [0.0, 0.0], [-1, 0], **kw
    )


@pytest.fixture(scope='module')
def tokenizer():
    pytest.importorskip('torch')
    from rlops_lab.models.load import load

    return load('tiny')[1]


def test_every_episode_is_in_one_list():
    r = random.Random(0)
    ts = [episode(r.randrange(20), r.random() < 0.5, r.choice('abc'), r.choice('xyz')) for _ in range(300)]
    s = select(ts, per_group=5, per_task=2)
    lists = s.kept + s.rejected + s.duplicates + s.surplus
    assert len(lists) == s.tried == 300 and {id(t) for t in lists} == {id(t) for t in ts}
    assert s.accepted == sum(map(verified, ts)) and s.ci95 == wilson(s.accepted, 300)
    assert (
        max(Counter(map(family, s.kept)).values()) <= 5 and max(Counter(map(task_key, s.kept)).values()) <= 2
    )
    assert {g: n for g, (_, n) in s.groups.items()} == Counter(map(family, ts))


def test_the_kept_pay_for_all():
    s = select([episode(i, right=i < 2) for i in range(10)])
    assert s.cost == dict(tokens=10 * (10 - 4 + 2) / 2, seconds=5.0, usd=2.5)
    assert select([episode(i, right=i < 2) for i in range(10)], seconds=3.0).cost['seconds'] == 1.5
    assert select([episode(0, right=False)]).cost['tokens'] == float('inf')


def test_recorded_usage_is_not_changed():
    ts = [episode(i) for i in range(3)]
    select(ts, seconds=100.0)
    assert [t.usage.seconds for t in ts] == [1.0, 1.0, 1.0]


def test_duplicates_are_texts_of_one_task():
    s = select(
        [episode(0, text='a  b'), episode(0, text='a b'), episode(1, text='a b'), episode(0, text='a c')]
    )
    assert (len(s.kept), len(s.duplicates)) == (3, 1)
    assert action_texts(episode(text=' a\n b ')) == ('a b',)


def test_the_prompt_does_not_make_another_task():
    assert task_key(episode(prompt=SHORT)) == task_key(episode(prompt=[])) != task_key(episode(task=1))


def test_selection_depends_on_the_seed_alone():
    ts = [episode(i, text=str(i)) for i in range(50)]
    names = lambda seed: [t.task['seed'] for t in select(ts, per_group=5, seed=seed).kept]
    assert names(0) == names(0) != names(1)


def test_nothing_to_select_from():
    s = select([])
    assert s.tried == 0 and s.rate != s.rate and s.ci95 == (0.0, 1.0) and s.summary()['kept'] == 0


def test_missing_verdict_is_an_error():
    with pytest.raises(ValueError, match='verified_resolution'):
        select([episode(kpis={})])


def test_an_environment_that_abstains_is_neither_right_nor_wrong():
    unsure = episode(kpis=dict(abstained=1.0))
    s = select([episode(), episode(right=False), unsure])
    assert (s.tried, s.accepted, len(s.rejected), s.unscored, s.summary()['unscored']) == (
        2,
        1,
        1,
        [unsure],
        1,
    )
    assert list(difficulty([episode(), unsure]).values()) == [(1, 1)] and pass_at([episode(), unsure], 1) == 1
    assert unpaired([episode(), unsure])['label'] == [True]


@pytest.mark.parametrize('n, c, k', [(5, 0, 3), (5, 5, 3), (5, 2, 3), (5, 3, 3), (8, 1, 8), (1, 1, 1)])
def test_pass_at_k_counts_subsets(n, c, k):
    from itertools import combinations

    subsets = list(combinations([1] * c + [0] * (n - c), k))
    assert pass_at([episode(0, right=i < c) for i in range(n)], k) == pytest.approx(
        np.mean([any(s) for s in subsets])
    )


def test_pass_at_k_is_unbiased():
    r = np.random.default_rng(0)
    ts = [episode(task, right=r.random() < 0.3, text=str(i)) for task in range(1500) for i in range(5)]
    assert abs(pass_at(ts, 3) - (1 - 0.7**3)) < 0.02


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match='needs 2 samples of each task, 1 have fewer'):
        pass_at([episode(0), episode(0), episode(1)], 2)


def test_difficulty_and_learnable():
    ts = [episode(0), episode(0), episode(1), episode(1, False), episode(2, False)]
    assert sorted(difficulty(ts).values()) == [(0, 1), (1, 2), (2, 2)]
    assert [row['seed'] for row in learnable(ts)] == [1]
    assert difficulty(ts, key=family) == {'a': (3, 5)}


def test_best_of_n_prefers_reward_then_brevity():
    long = Trajectory(episode().task, episode().messages, [0, 1, 1], [0, 1, 1], [0.0] * 3, [-1, 0, 0], [1.0])
    assert best_of_n([long, episode(), episode(right=False)])[0].n_actions == 1


def test_rejection_sampling_stops_where_it_may():
    asked = []

    def run(rows, r):
        asked.append([x['seed'] for x in rows])
        return [episode(x['seed'], right=x['seed'] <= r) for x in rows]

    found = rejection_sample(run, [dict(seed=i) for i in range(4)], rounds=3)
    assert asked == [[0, 1, 2, 3], [1, 2, 3], [2, 3]] and len(found) == 9
    with pytest.raises(ValueError, match='returned 1 trajectories for 2 rows'):
        rejection_sample(lambda rows, r: [episode()], [dict(seed=0), dict(seed=1)])


def test_rejection_sampling_wants_several():
    asked = []

    def run(rows, r):
        asked.append(len(rows))
        return [episode(x['seed'], right=x['seed'] == 0) for x in rows]

    rejection_sample(run, [dict(seed=0), dict(seed=1)], rounds=4, wanted=2)
    assert asked == [2, 2, 1, 1]


def recorded(tokenizer, prompt, first, turns, cut=None):
    "An episode as a sampler records it; `cut` splits the policy's text where no tokenizer would"
    enc = lambda s: tokenizer(s, add_special_tokens=False)['input_ids']
    ms = [*prompt, dict(role='user', content=first)]
    ids = enc(tokenizer.apply_chat_template(ms, tokenize=False, add_generation_prompt=True))
    mask, turn = [0] * len(ids), [-1] * len(ids)
    for n, (text, reply) in enumerate(turns):
        parts = [text[:cut], text[cut:]] if cut else [text]
        acts = [x for p in parts for x in enc(p)] + [tokenizer.eos_token_id]
        rest = (
            enc(f'\n<|im_start|>tool\n{reply}<|im_end|>\n<|im_start|>assistant\n')
            if n < len(turns) - 1
            else []
        )
        ids += acts + rest
        mask += [1] * len(acts) + [0] * len(rest)
        turn += [n] * len(acts) + [-1] * len(rest)
        ms += [dict(role='assistant', content=text), dict(role='tool', content=reply)]
    return Trajectory(
        dict(family='a', seed=0, prompt=SHORT),
        ms,
        ids,
        mask,
        [0.0] * len(ids),
        turn,
        [1.0] * len(turns),
        kpis=dict(verified_resolution=1.0),
    )


LONG = [
    dict(role='system', content='a long policy'),
    dict(role='user', content='shot'),
    dict(role='assistant', content='shown'),
    dict(role='tool', content='seen'),
]
TURNS = [('get_order(order_id="1")', 'shipped'), ('answer(message="It is on its way.")', '(customer left)')]


@pytest.mark.parametrize('cut', [None, 3, 7])
def test_distilled_rows_keep_every_sampled_token(tokenizer, cut):
    t = recorded(tokenizer, LONG, 'Where is it?', TURNS, cut)
    row = to_dataset([t], tokenizer)[0]
    at, head = t.action_mask.index(1), len(row['input_ids']) - (len(t.token_ids) - t.action_mask.index(1))
    want = tokenizer.apply_chat_template(
        [SHORT[0], dict(role='user', content='Where is it?')], tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(row['input_ids'][:head]) == want
    assert row['input_ids'][head:] == t.token_ids[at:]
    assert row['labels'] == [-100] * head + [
        i if m else -100 for i, m in zip(t.token_ids[at:], t.action_mask[at:])
    ]
    assert row['labels'][-1] == tokenizer.eos_token_id


def test_prompts_of_other_shapes(tokenizer):
    t = recorded(tokenizer, [*LONG[:1]], 'Q: where?', TURNS)
    assert short_prompt(t, lambda row: []) == [dict(role='user', content='Q: where?')]
    assert short_prompt(t, lambda row: [dict(role='user', content='Q: ')])[-1]['content'] == 'Q: where?'
    no_user = Trajectory(
        {}, [dict(role='system', content='s'), dict(role='assistant', content='x')], [0], [1], [0.0], [0]
    )
    assert short_prompt(no_user, lambda row: [dict(role='system', content='t')]) == [
        dict(role='system', content='t')
    ]


def test_rows_are_not_changed_by_distilling(tokenizer):
    t = recorded(tokenizer, LONG, 'Where is it?', TURNS)
    to_dataset([t], tokenizer)
    assert SHORT[1]['content'] == '' and t.task['prompt'] is SHORT


def test_lineage_and_reward_go_along(tokenizer):
    t = recorded(tokenizer, LONG, 'x', TURNS)
    t.lineage = Lineage(model='tiny')
    row = to_dataset([t], tokenizer)[0]
    assert (row['lineage'], row['reward'], row['group']) == (t.lineage.id, 2.0, 'a')


def test_what_cannot_be_a_row_is_refused(tokenizer):
    with pytest.raises(ValueError, match='nothing was accepted'):
        to_dataset([], tokenizer)
    silent = recorded(tokenizer, LONG, 'x', TURNS)
    silent.action_mask = [0] * len(silent.token_ids)
    with pytest.raises(ValueError, match='without a sampled token'):
        to_dataset([silent], tokenizer)


def test_pairs_share_their_prompt_and_mask_the_environment(tokenizer):
    w, l = recorded(tokenizer, LONG, 'q', TURNS), recorded(tokenizer, LONG, 'q', TURNS[:1])
    l.kpis = dict(verified_resolution=0.0)
    row = pairs([w, l], tokenizer)[0]
    assert [
        tokenizer.decode([i for i, m in zip(row[f'{s}_ids'], row[f'{s}_mask']) if m])
        for s in ('chosen', 'rejected')
    ] == [''.join(text + '<|im_end|>' for text, _ in TURNS), TURNS[0][0] + '<|im_end|>']
    assert tokenizer.decode(row['prompt_ids']) == tokenizer.apply_chat_template(
        row['prompt'], tokenize=False, add_generation_prompt=True
    )
    with pytest.raises(ValueError, match='both a right and a wrong'):
        pairs([w], tokenizer)


def test_unpaired_has_one_verdict_each(tokenizer):
    w, l = recorded(tokenizer, LONG, 'q', TURNS), recorded(tokenizer, LONG, 'q', TURNS)
    l.kpis = dict(verified_resolution=0.0)
    assert unpaired([w, l])['label'] == [True, False]


def test_no_torch():
    assert (
        subprocess.run(
            [sys.executable, '-c', "import rlops_lab.rejection, sys; sys.exit('torch' in sys.modules)"]
        ).returncode
        == 0
    )
