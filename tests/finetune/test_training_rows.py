"Training rows: short prompts, the sampled tokens, pairs and verdicts"

import subprocess
import sys

import pytest
from kept_episodes import SHORT, episode

from rlops_lab.core import Lineage, Trajectory
from rlops_lab.finetune.training_rows import pairs, short_prompt, to_dataset, unpaired


@pytest.fixture(scope='module')
def tokenizer():
    pytest.importorskip('torch')
    from rlops_lab.models.load import load

    return load('tiny')[1]


def recorded(tokenizer, prompt, first, turns, cut=None):
    "An episode as a sampler records it; `cut` splits the policy's text where no tokenizer would"

    def enc(text):
        return tokenizer(text, add_special_tokens=False)['input_ids']

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
    won, lost = recorded(tokenizer, LONG, 'q', TURNS), recorded(tokenizer, LONG, 'q', TURNS[:1])
    lost.kpis = dict(verified_resolution=0.0)
    row = pairs([won, lost], tokenizer)[0]
    assert [
        tokenizer.decode([i for i, m in zip(row[f'{s}_ids'], row[f'{s}_mask']) if m])
        for s in ('chosen', 'rejected')
    ] == [''.join(text + '<|im_end|>' for text, _ in TURNS), TURNS[0][0] + '<|im_end|>']
    assert tokenizer.decode(row['prompt_ids']) == tokenizer.apply_chat_template(
        row['prompt'], tokenize=False, add_generation_prompt=True
    )
    with pytest.raises(ValueError, match='both a right and a wrong'):
        pairs([won], tokenizer)


def test_unpaired_has_one_verdict_each(tokenizer):
    won, lost = recorded(tokenizer, LONG, 'q', TURNS), recorded(tokenizer, LONG, 'q', TURNS)
    lost.kpis = dict(verified_resolution=0.0)
    assert unpaired([won, lost])['label'] == [True, False]


def test_an_environment_that_abstains_has_no_row():
    assert unpaired([episode(), episode(kpis=dict(abstained=1.0))])['label'] == [True]


def test_an_episode_that_failed_is_nobodys_loser(tokenizer):
    won, failed = recorded(tokenizer, LONG, 'q', TURNS), recorded(tokenizer, LONG, 'q', TURNS)
    failed.error, failed.turn_rewards = 'OSError: locked', [0.0] * len(failed.turn_rewards)

    def earned(t):
        return t.reward >= 0.5

    won.turn_rewards = [1.0]
    assert unpaired([won, failed], accept=earned)['label'] == [True]
    with pytest.raises(ValueError, match='no task has both'):
        pairs([won, failed], tokenizer, accept=earned)


def test_no_torch():
    script = "import rlops_lab.finetune.training_rows, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', script]).returncode == 0
