"Feedback: any events give a verdict or none, KTO's rows and loss are TRL's, and edits cut where they should."

import copy, math

import pytest, torch
from datasets import Dataset
from hypothesis import given, settings, strategies as st
from peft import LoraConfig

from rlops_lab.observe import feedback
from rlops_lab.core import Trajectory
from rlops_lab.observe.feedback import SAYS, Event, edit_pairs, kto_rows, says, signals, turns_of, verdicts
from rlops_lab.finetune.preferences import _kto_collator, kto
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import encoded, rendered

MODEL, TOKENIZER = load('tiny')


def episode(*said, row=None):
    "Turns of the policy with a tool's answer between them"
    ids = encoded(TOKENIZER, rendered(TOKENIZER, [dict(role='user', content='Hello?')], reply=True))
    mask, turns, messages = [0] * len(ids), [-1] * len(ids), [dict(role='user', content='Hello?')]
    for k, text in enumerate(said):
        if k:
            heard = encoded(TOKENIZER, '\n<|im_start|>tool\nok<|im_end|>\n<|im_start|>assistant\n')
            messages.append(dict(role='tool', content='ok'))
            ids += heard
            mask += [0] * len(heard)
            turns += [-1] * len(heard)
        own = encoded(TOKENIZER, text) + [TOKENIZER.eos_token_id]
        messages.append(dict(role='assistant', content=text))
        ids += own
        mask += [1] * len(own)
        turns += [k] * len(own)
    return Trajectory(
        dict(prompt=[dict(role='user', content='Hello?')], family='f', **(row or {})),
        messages,
        ids,
        mask,
        [0.0] * len(ids),
        turns,
        [0.0] * len(said),
        terminated=True,
    )


EPISODES = {'a': episode('look()', 'Done.'), 'b': episode('Please wait.')}
EVENTS = st.builds(
    Event, st.sampled_from(['a', 'b']), st.sampled_from([k for k in SAYS if k != 'edit']), st.floats(0, 200)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=8), st.randoms())
def test_verdicts_do_not_depend_on_the_order(events, random):
    found = verdicts(EPISODES, events, TOKENIZER)
    assert found.keys() == EPISODES.keys() and set(found.values()) <= {True, False, None}
    shuffled = list(events)
    random.shuffle(shuffled)
    assert verdicts(EPISODES, shuffled, TOKENIZER) == found
    for key, v in found.items():
        heard = {says(e, ['x']) for e in events if e.episode == key} - {None}
        assert v is (heard.pop() if len(heard) == 1 else None)


def test_edits_end_with_the_turn_and_keep_what_came_before():
    pair = edit_pairs(
        EPISODES,
        [
            Event('a', 'edit', turn=0, text='other()'),
            Event('a', 'edit', turn=1, text='Not yet.'),
            Event('b', 'edit', turn=0, text='please  WAIT.'),
        ],
        TOKENIZER,
    )
    assert len(pair) == 2  # the third is the same but for case and white space
    first, second = pair[0], pair[1]
    decode = lambda ids: TOKENIZER.decode(ids)
    assert (
        decode(first['rejected_ids']) == 'look()<|im_end|>'
        and decode(second['rejected_ids']) == 'Done.<|im_end|>'
        and decode(second['chosen_ids']) == 'Not yet.<|im_end|>'
    )
    assert (
        decode(second['prompt_ids']).endswith('ok<|im_end|>\n<|im_start|>assistant\n')
        and 'look()' in decode(second['prompt_ids'])
        and 'look' not in decode(first['prompt_ids'])
    )
    assert second['prompt_ids'] + second['rejected_ids'] == EPISODES['a'].token_ids


def test_collator_without_masks_is_trls():
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    rows = [
        dict(prompt_ids=[5, 6], completion_ids=[7, 8, 9], completion_mask=[1] * 3, label=True),
        dict(prompt_ids=[4], completion_ids=[3], completion_mask=[1], label=False),
    ]
    ours = _kto_collator(0)(rows)
    theirs = DataCollatorForUnpairedPreference(pad_token_id=0)(
        [r | dict(KL_completion_ids=o['completion_ids']) for r, o in zip(rows, rows[-1:] + rows[:-1])]
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_loss_and_weights(tmp_path):
    rows = kto_rows(
        [episode('Done.', row=dict(n=i)) if i % 4 else episode('No.', row=dict(n=i)) for i in range(8)],
        [bool(i % 4) for i in range(8)],
        TOKENIZER,
    )
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj'])
    _, log = kto(
        copy.deepcopy(MODEL), TOKENIZER, rows, tmp_path, peft_config=lora, batch_size=8, learning_rate=1e-3
    )
    assert log[0]['loss'] == pytest.approx(
        0.5 * (6 * 1 + 2 * 3) / 8, abs=1e-4
    )  # two rejected of eight: each weighs three times as much
    with pytest.raises(ValueError, match='needs a peft_config'):
        kto(MODEL, TOKENIZER, rows, tmp_path, peft_config=None)
    with pytest.raises(ValueError, match='make it with kto_rows'):
        kto(MODEL, TOKENIZER, Dataset.from_list([dict(a=1)]), tmp_path, peft_config=lora)
    with pytest.raises(ValueError, match='no episode has a verdict'):
        kto_rows(list(EPISODES.values()), [None, None], TOKENIZER)
    with pytest.raises(ValueError, match='2 episodes and 1 verdicts'):
        kto_rows(list(EPISODES.values()), [True], TOKENIZER)
    assert math.isfinite(log[0]['grad_norm']) and turns_of(EPISODES['a'], TOKENIZER) == ['look()', 'Done.']


def test_one_digit_is_no_matter_of_taste():
    played = {'a': episode('refund(order_id="1234", amount=30.00)', 'Done.')}
    edit = lambda text: [Event('a', 'edit', turn=0, text=text)]
    assert verdicts(played, edit('refund(order_id="1234", amount=80.00)'), TOKENIZER) == {'a': False}
    assert verdicts(played, edit('refund(order_id="1234",  amount=30.00)'), TOKENIZER) == {'a': None}
    assert len(edit_pairs(played, edit('refund(order_id="1234", amount=80.00)'), TOKENIZER)) == 1


def test_a_late_contact_does_not_take_back_an_early_one():
    early, late = Event('a', 'recontact', 5.0), Event('a', 'recontact', 200.0)
    for events in ([early, late], [late, early]):
        (found,) = signals(EPISODES, events, {'a': False, 'b': None}, TOKENIZER)
        assert (found.kind, found.right.value, found.occurs.n, found.by_chance) == ('recontact', 1.0, 1, 1.0)


def test_signals_by_hand():
    labels = {'a': 'pass', 'b': False}
    up, down = signals(
        EPISODES,
        [Event('a', 'thumb_up'), Event('b', 'thumb_up'), Event('b', 'thumb_down')],
        labels,
        TOKENIZER,
    )
    assert (up.right.value, up.occurs.value, up.by_chance) == (0.5, 1.0, 0.5)
    assert (down.right.value, down.occurs.value, down.by_chance) == (1.0, 0.5, 0.5)
    assert signals(EPISODES, [Event('a', 'quiet')], labels, TOKENIZER) == []
    assert signals(EPISODES, [Event('a', 'thumb_up')], {}, TOKENIZER) == []
    with pytest.raises(ValueError, match='labels name unknown'):
        signals(EPISODES, [], {'z': True}, TOKENIZER)
    for f in (verdicts, edit_pairs):
        with pytest.raises(ValueError, match='events name unknown'):
            f(EPISODES, [Event('z', 'edit', turn=0, text='x')], TOKENIZER)


def test_an_episode_is_decoded_once(monkeypatch):
    calls = []
    monkeypatch.setattr(feedback, 'turns_of', lambda t, tokenizer: calls.append(t) or turns_of(t, tokenizer))
    verdicts(
        EPISODES,
        [Event('a', 'edit', turn=k, text='other') for k in (0, 1, 0)] + [Event('b', 'thumb_up')] * 5,
        TOKENIZER,
    )
    assert len(calls) == 1  # and not at all where no wording matters


@pytest.mark.parametrize('hours', [-1.0, math.nan])
def test_hours_before_the_end_are_refused(hours):
    with pytest.raises(ValueError, match='hours count from'):
        Event('a', 'recontact', hours)


def test_labels_of_kto_are_verdicts(tmp_path):
    ts = [episode('Done.', row=dict(n=i)) for i in range(5)]
    assert kto_rows(ts, ['pass', 'fail', None, math.nan, 1.0], TOKENIZER)['label'] == [True, False, True]
    with pytest.raises(ValueError, match='is not one of'):
        kto_rows(ts[:1], [0.3], TOKENIZER)
    rows = kto_rows(ts[:2], [True, False], TOKENIZER)
    with pytest.raises(ValueError, match='2 rows do not fill a batch of 16'):
        kto(MODEL, TOKENIZER, rows, tmp_path, peft_config=LoraConfig(target_modules=['q_proj']))


def test_the_second_loss_of_kto_is_the_formula(tmp_path):
    "Log-probabilities of the policy's tokens, and the KL of prompts with their neighbours' completions, by hand"
    played, b = (
        [
            episode(text, row=dict(n=i))
            for i, text in enumerate(['Done.', 'No.', 'Please wait.', 'Yes, it is.'])
        ],
        0.3,
    )
    rows, lora = (
        kto_rows(played, [True, False, False, True], TOKENIZER),
        LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj']),
    )
    options = dict(peft_config=lora, batch_size=4, beta=b, learning_rate=1e-2, warmup=0, schedule='constant')
    one = kto(copy.deepcopy(MODEL), TOKENIZER, rows, tmp_path, max_steps=1, **options)[0]
    _, log = kto(copy.deepcopy(MODEL), TOKENIZER, rows, tmp_path, epochs=2, **options)

    def said(model, prompt, ids):
        with torch.no_grad():
            lp = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return lp[torch.arange(len(ids)), torch.tensor(ids)].sum().item()

    moved = lambda r, o: (
        said(one, r['prompt_ids'], o['completion_ids']) - said(MODEL, r['prompt_ids'], o['completion_ids'])
    )
    # all prompts are the same, so whichever neighbour a row gets, the mean is that of all completions
    kl = max(0.0, sum(moved(r, r) for r in rows) / 4)
    loss = (
        sum(
            1 - 1 / (1 + math.exp(-b * ((moved(r, r) - kl) if r['label'] else (kl - moved(r, r)))))
            for r in rows
        )
        / 4
    )
    assert log[1]['loss'] == pytest.approx(loss, rel=1e-3) and abs(loss - 0.5) > 1e-3
