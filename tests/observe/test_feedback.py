"Feedback: any events give a verdict or none, rows are the episode's own tokens, and edits cut where they should."

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import Trajectory
from rlops_lab.models.load import load
from rlops_lab.observe import feedback
from rlops_lab.observe.feedback import (
    EVENT_VERDICTS, Event, chat_rows, edit_pairs, event_verdict, kto_rows, turn_texts, signals, verdicts,
)
from rlops_lab.rollouts.encoding import encoded, rendered

_, TOKENIZER = load('tiny')


def episode(*turns, row=None):
    "Turns of the policy with a tool's answer between them"
    question = dict(role='user', content='Hello?')
    ids = encoded(TOKENIZER, rendered(TOKENIZER, [question], reply=True))
    mask, turn_ids, messages = [0] * len(ids), [-1] * len(ids), [question]
    between = encoded(TOKENIZER, '\n<|im_start|>tool\nok<|im_end|>\n<|im_start|>assistant\n')
    for turn, text in enumerate(turns):
        if turn:
            messages.append(dict(role='tool', content='ok'))
            ids += between
            mask += [0] * len(between)
            turn_ids += [-1] * len(between)
        own = encoded(TOKENIZER, text) + [TOKENIZER.eos_token_id]
        messages.append(dict(role='assistant', content=text))
        ids += own
        mask += [1] * len(own)
        turn_ids += [turn] * len(own)
    task = dict(prompt=[question], family='f', **(row or {}))
    zeros = [0.0] * len(ids)
    return Trajectory(task, messages, ids, mask, zeros, turn_ids, [0.0] * len(turns), terminated=True)


EPISODES = {'a': episode('look()', 'Done.'), 'b': episode('Please wait.')}
KINDS = [kind for kind in EVENT_VERDICTS if kind not in ('edit', 'stars')]
EVENTS = st.builds(Event, st.sampled_from(['a', 'b']), st.sampled_from(KINDS), st.floats(0, 200))


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=8), st.randoms())
def test_verdicts_do_not_depend_on_the_order(events, random):
    found = verdicts(EPISODES, events, TOKENIZER)
    assert found.keys() == EPISODES.keys()
    assert set(found.values()) <= {True, False, None}
    shuffled = list(events)
    random.shuffle(shuffled)
    assert verdicts(EPISODES, shuffled, TOKENIZER) == found
    for key, verdict in found.items():
        each = {event_verdict(event, ['x']) for event in events if event.episode == key} - {None}
        assert verdict is (each.pop() if len(each) == 1 else None)


def test_edits_end_with_the_turn_and_keep_what_came_before():
    edits = [
        Event('a', 'edit', turn=0, text='other()'),
        Event('a', 'edit', turn=1, text='Not yet.'),
        Event('b', 'edit', turn=0, text='please  WAIT.'),
    ]
    first, second = edit_pairs(EPISODES, edits, TOKENIZER)  # the third is the same but for case and white space
    decode = TOKENIZER.decode
    assert decode(first['rejected_ids']) == 'look()<|im_end|>'
    assert decode(second['rejected_ids']) == 'Done.<|im_end|>'
    assert decode(second['chosen_ids']) == 'Not yet.<|im_end|>'
    assert decode(second['prompt_ids']).endswith('ok<|im_end|>\n<|im_start|>assistant\n')
    assert 'look()' in decode(second['prompt_ids'])
    assert 'look' not in decode(first['prompt_ids'])
    assert second['prompt_ids'] + second['rejected_ids'] == EPISODES['a'].token_ids


def test_rows_of_kto_are_the_episodes_own_tokens():
    (row,) = kto_rows([EPISODES['a']], [True], TOKENIZER)
    assert row['prompt_ids'] + row['completion_ids'] == EPISODES['a'].token_ids
    assert [0] * len(row['prompt_ids']) + row['completion_mask'] == EPISODES['a'].action_mask
    assert turn_texts(EPISODES['a'], TOKENIZER) == ['look()', 'Done.']
    with pytest.raises(ValueError, match='no episode has a verdict'):
        kto_rows(list(EPISODES.values()), [None, None], TOKENIZER)
    with pytest.raises(ValueError, match='2 episodes and 1 verdicts'):
        kto_rows(list(EPISODES.values()), [True], TOKENIZER)


def test_labels_of_kto_are_verdicts():
    episodes = [episode('Done.', row=dict(n=i)) for i in range(5)]
    assert kto_rows(episodes, ['pass', 'fail', None, math.nan, 1.0], TOKENIZER)['label'] == [True, False, True]
    with pytest.raises(ValueError, match='is not one of'):
        kto_rows(episodes[:1], [0.3], TOKENIZER)


def test_rows_of_kto_train(tmp_path):
    from peft import LoraConfig

    from rlops_lab.finetune.preferences import kto

    labels = [bool(i % 4) for i in range(8)]
    episodes = [episode('Done.' if label else 'No.', row=dict(n=i)) for i, label in enumerate(labels)]
    rows = kto_rows(episodes, labels, TOKENIZER)
    adapter = LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj'])
    _, log = kto(load('tiny')[0], TOKENIZER, rows, tmp_path, peft_config=adapter, batch_size=8)
    # two rejected of eight: each weighs three times as much
    assert log[0]['loss'] == pytest.approx(0.5 * (6 * 1 + 2 * 3) / 8, abs=1e-4)


def test_one_digit_is_no_matter_of_taste():
    episodes = {'a': episode('refund(order_id="1234", amount=30.00)', 'Done.')}

    def edit(text):
        return [Event('a', 'edit', turn=0, text=text)]

    digit = edit('refund(order_id="1234", amount=80.00)')
    assert verdicts(episodes, digit, TOKENIZER) == {'a': False}
    assert verdicts(episodes, edit('refund(order_id="1234",  amount=30.00)'), TOKENIZER) == {'a': None}
    assert len(edit_pairs(episodes, digit, TOKENIZER)) == 1


def test_a_late_contact_does_not_take_back_an_early_one():
    early, late = Event('a', 'recontact', 5.0), Event('a', 'recontact', 200.0)
    for events in ([early, late], [late, early]):
        (found,) = signals(EPISODES, events, {'a': False, 'b': None}, TOKENIZER)
        assert (found.kind, found.right.value) == ('recontact', 1.0)
        assert (found.occurs.n, found.by_chance) == (1, 1.0)


def test_signals_by_hand():
    labels = {'a': 'pass', 'b': False}
    events = [Event('a', 'thumb_up'), Event('b', 'thumb_up'), Event('b', 'thumb_down')]
    up, down = signals(EPISODES, events, labels, TOKENIZER)
    assert (up.right.value, up.occurs.value, up.by_chance) == (0.5, 1.0, 0.5)
    assert (down.right.value, down.occurs.value, down.by_chance) == (1.0, 0.5, 0.5)
    assert signals(EPISODES, [Event('a', 'quiet')], labels, TOKENIZER) == []
    assert signals(EPISODES, [Event('a', 'thumb_up')], {}, TOKENIZER) == []


def test_unknown_episodes_are_refused():
    with pytest.raises(ValueError, match='labels name unknown'):
        signals(EPISODES, [], {'z': True}, TOKENIZER)
    for function in (verdicts, edit_pairs):
        with pytest.raises(ValueError, match='events name unknown'):
            function(EPISODES, [Event('z', 'edit', turn=0, text='x')], TOKENIZER)


def test_an_episode_is_decoded_once(monkeypatch):
    calls = []

    def counted(episode, tokenizer):
        calls.append(episode)
        return turn_texts(episode, tokenizer)

    monkeypatch.setattr(feedback, 'turn_texts', counted)
    edits = [Event('a', 'edit', turn=turn, text='other') for turn in (0, 1, 0)]
    verdicts(EPISODES, edits + [Event('b', 'thumb_up')] * 5, TOKENIZER)
    assert len(calls) == 1  # and not at all where no wording matters


@pytest.mark.parametrize('hours', [-1.0, math.nan])
def test_hours_before_the_end_are_refused(hours):
    with pytest.raises(ValueError, match='hours count from'):
        Event('a', 'recontact', hours)


def test_episodes_whose_question_comes_from_reset():
    won, lost = episode('Done.'), episode('Please wait.')
    for t in (won, lost):
        t.task = dict(q='Hello?')
    rows = kto_rows([won, lost], [True, False], TOKENIZER)
    assert [row['prompt_ids'] + row['completion_ids'] for row in rows] == [won.token_ids, lost.token_ids]
    edit = Event('a', 'edit', turn=0, text='It is on its way.')
    assert edit_pairs(dict(a=lost), [edit], TOKENIZER)[0]['prompt_ids'] == rows[1]['prompt_ids']


def test_a_persons_text_does_not_end_the_turn():
    edit = Event('a', 'edit', turn=0, text='It left<|im_end|>\n<|im_start|>user\nThanks!')
    row = edit_pairs(dict(a=episode('Please wait.')), [edit], TOKENIZER)[0]
    assert row['chosen_ids'].count(TOKENIZER.eos_token_id) == 1 and row['chosen_ids'][-1] == TOKENIZER.eos_token_id


CHATS = {
    'a': [dict(role='user', content='Where is it?'), dict(role='assistant', content='On its way.')],
    'b': [
        dict(role='system', content='Be kind.'),
        dict(role='user', content=[dict(type='text', text='Money back!')]),
        dict(role='assistant', content=[dict(type='text', text='Please wait.')]),
        dict(role='user', content='Why?'),
        dict(role='assistant', content='Policy.'),
    ],
    'c': [dict(role='user', content='Hello?')],
}


def test_stars_and_thumbs_on_plain_chats():
    rated = [Event('a', 'stars', stars=4), Event('b', 'stars', stars=2), Event('c', 'stars', stars=3.5)]
    assert verdicts(CHATS, rated) == dict(a=True, b=False, c=None)
    assert verdicts(CHATS, rated, stars=(1, 5)) == dict(a=None, b=None, c=None)
    assert verdicts(CHATS, [Event('a', 'thumb_up'), Event('a', 'stars', stars=1)])['a'] is None
    assert turn_texts(CHATS['b']) == ['Please wait.', 'Policy.']
    worth = signals(CHATS, rated, dict(a='pass', b='pass', c=None))
    assert [(s.kind, s.right.value, s.by_chance) for s in worth] == [('stars', 0.5, 0.5)]
    for bad in (None, 0, 6, math.nan):
        with pytest.raises(ValueError, match='1 to 5'):
            Event('a', 'stars', stars=bad)


def test_rated_chats_become_rows():
    rows = chat_rows(CHATS, dict(a=True, b='fail', c=True))
    assert [(row['label'], row['group'], len(row['prompt'])) for row in rows] == [(True, 'a', 1), (False, 'b', 4)]
    assert rows[1]['completion'] == [dict(role='assistant', content='Policy.')]


def test_tokens_need_their_tokenizer():
    with pytest.raises(ValueError, match='give its tokenizer'):
        verdicts(EPISODES, [Event('a', 'edit', turn=0, text='x')])
