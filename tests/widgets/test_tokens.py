"Token views without a browser: text to the letter, numbers of the right tokens, and a page that needs nothing beside itself"

import html, math, re
from types import SimpleNamespace

import pytest, torch
from hypothesis import given, settings, strategies as st
from browsing import from_browser
from rlops_lab.core import Trajectory
from rlops_lab.models.load import load
from rlops_lab.ppo.batches import Scores, per_action
from rlops_lab.ppo.update import compute_advantages
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.widgets.tokens import (
    QUANTITIES,
    TokenViewer,
    _span,
    background,
    colour_scale,
    token_table,
    token_texts,
    tokens_html,
    turn_totals,
)

pytestmark = pytest.mark.usefixtures('loud')
TOKENIZER = load('tiny')[1]


def ids(text):
    return TOKENIZER(text, add_special_tokens=False)['input_ids']


def episode(turns, reward=1.0, **kw):
    "Two pieces of text a turn: what was read, what was said"
    token_ids, turn_ids = [], []
    for k, (read, said) in enumerate(turns):
        for text, turn in ((read, -1), (said, k)):
            token_ids += ids(text)
            turn_ids += [turn] * len(ids(text))
    mask = [int(k >= 0) for k in turn_ids]
    logprobs = [-0.1 * (i % 7) - 0.2 if m else 0.0 for i, m in enumerate(mask)]
    ending = dict(terminated=True, stop_reason='done') | kw
    return Trajectory(
        {}, [], token_ids, mask, logprobs, turn_ids, [0.0] * (len(turns) - 1) + [reward], **ending
    )


EPISODES = [
    episode([('ask ', 'no'), (' go on ', 'order')], 0.0),
    episode([('ask ', 'an order'), (' and ', '<b>&"zip"🙂</b>\n')], 2.0),
    episode([('ask ', 'refund')], 1.0),
]


def scored(episodes=EPISODES, rows=None, **kw):
    "What an update would say, of a policy that has moved a little and a critic that says .5"
    rows = list(range(len(episodes))) if rows is None else rows
    kept = [episodes[i] for i in rows]
    behaviour = per_action(kept, 'logprobs')
    out = Scores(
        rows=rows,
        old_logprobs=behaviour + 0.01,
        ref_logprobs=behaviour - 0.2,
        values=torch.full_like(behaviour, 0.5),
        bootstrap=torch.zeros(len(kept)),
    )
    return compute_advantages(kept, out, PPOConfig(**kw))


def visible(page):
    return html.unescape(re.sub('<[^>]*>', '', page))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_texts_add_up_to_the_text(text):
    text = text.replace('\r', '')
    parts = token_texts(ids(text), TOKENIZER)
    assert ''.join(parts) == TOKENIZER.decode(ids(text), clean_up_tokenization_spaces=False) and len(
        parts
    ) == len(ids(text))


def test_broken_bytes_keep_one_text_a_token():
    broken = [i for i in ids('🙂') if i][:2] * 5 + ids('ok')
    parts = token_texts(broken, TOKENIZER)
    assert len(parts) == len(broken) and ''.join(parts).endswith('ok')


def test_the_table_has_the_updates_numbers():
    s = scored()
    for row, t in enumerate(EPISODES):
        table = token_table(t, TOKENIZER, s, row)
        assert ''.join(r['text'] for r in table) == TOKENIZER.decode(
            [i for i, m in zip(t.token_ids, t.action_mask) if m]
        )
        for name in ('advantage', 'value', 'return', 'reward', 'weight'):
            assert [r[name] for r in table] == getattr(s, f'{name}s')[row][: t.n_actions].tolist()
        assert all(
            r['ratio'] == pytest.approx(math.exp(0.01), 1e-4) and r['kl'] == pytest.approx(0.21, 1e-4)
            for r in table
        )
        for quantity in QUANTITIES:
            totals = turn_totals(table, quantity)
            assert sum(n for n, _ in totals.values()) == t.n_actions and list(totals) == list(
                range(t.n_turns)
            )
            if QUANTITIES[quantity].total == 'sum':
                assert sum(x for _, x in totals.values()) == pytest.approx(sum(r[quantity] for r in table))


def test_without_a_reference_there_is_no_divergence():
    s = scored(kl_coef=0.0)
    s.ref_logprobs = None
    assert 'kl' not in token_table(EPISODES[0], TOKENIZER, s, 0)[0]
    assert 'kl' not in [k for _, k in TokenViewer(EPISODES, s, TOKENIZER).quantity.options]


@pytest.mark.parametrize(
    't, row', [(EPISODES[0], 1), (EPISODES[2], 1), (episode([('ask ', 'on'), (' go on ', 'order')]), 1)]
)
def test_numbers_of_other_tokens_are_refused(t, row):
    with pytest.raises(ValueError, match='about other tokens than the episode'):
        token_table(t, TOKENIZER, scored(), row)


def test_as_many_tokens_are_not_the_same_tokens():
    other = Trajectory.from_dict(EPISODES[0].to_dict())
    other.logprobs = [x - 0.01 * m for x, m in zip(other.logprobs, other.action_mask)]
    with pytest.raises(ValueError, match='about other tokens'):
        token_table(other, TOKENIZER, scored(), 0)


@pytest.mark.parametrize('quantity', QUANTITIES)
def test_a_page_says_what_was_said_and_needs_nothing_beside_itself(quantity):
    t = EPISODES[1]
    page = tokens_html(t, TOKENIZER, scored(), 1, quantity)
    assert not re.search(r'<script|<style|<svg|<link|src=|href=|url\(|https?:| id=|<b>&', page)
    assert page.count('<span style="background') == t.n_actions + 9 and page.count(' title="') == t.n_actions
    assert 'an order' in visible(page) and '<b>&"zip"' in visible(page) and '🙂' in page and '↵' in page


@pytest.mark.parametrize(
    'token, shown',
    [
        ('\x01', r'\x01'),
        ('\r', r'\r'),
        ('\u200b', r'\u200b'),
        ('\u0301', r'\u0301'),
        ('', '⋯'),
        (' ', ' '),
        ('\n', '↵<br>'),
        ('e\u0301', 'e\u0301'),
        ('<', '&lt;'),
    ],
)
def test_every_token_has_a_width(token, shown):
    "What cannot be seen cannot be hovered"
    assert f'>{shown}</span>' in _span(dict(text=token, turn=0, value=1.0), 'value', 1.0)


def test_rejected_tokens_are_struck_out():
    s = scored(rejection_bounds=(0.5, 2.0))
    assert 'line-through' not in tokens_html(EPISODES[0], TOKENIZER, s, 0)
    s.weights[0, 1] = 0.0
    assert tokens_html(EPISODES[0], TOKENIZER, s, 0).count('line-through') == 1


def test_an_episode_without_a_sampled_token():
    t = Trajectory({}, [], ids('ask'), [0] * len(ids('ask')), [0.0] * len(ids('ask')), [-1] * len(ids('ask')))
    assert token_table(t, TOKENIZER) == [] and 'ask' in visible(tokens_html(t, TOKENIZER))


@given(
    st.sampled_from(list(QUANTITIES)), st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)
)
def test_any_number_has_a_colour(quantity, numbers):
    scale = colour_scale(numbers, quantity)
    assert scale >= QUANTITIES[quantity].least and math.isfinite(scale)
    depths = [float(background(x, quantity, scale)[:-1].split(',')[-1]) for x in numbers]
    assert all(0 <= d <= 0.6 for d in depths)


def test_one_odd_token_does_not_bleach_the_others():
    assert (
        colour_scale([1.0] * 99 + [1000.0], 'advantage') == 1.0
        and colour_scale([1.0] * 9 + [1000.0], 'advantage') == 1000.0
    )


def test_menus_move_the_transcript():
    viewer = TokenViewer(EPISODES, scored(), TOKENIZER)
    assert [i for _, i in viewer.episode.options] == [1, 2, 0] and 'an order' in visible(viewer.html)
    from_browser(viewer.episode, index=2)
    assert viewer.episode.value == 0 and 'episode 0' in viewer.html and 'sum of advantage' in viewer.html
    from_browser(viewer.quantity, index=[k for _, k in viewer.quantity.options].index('return'))
    assert 'mean of return' in viewer.html and viewer.static().data == viewer.html


def test_the_scale_is_the_updates():
    viewer = TokenViewer(EPISODES, scored(), TOKENIZER)
    scales = set()
    for _, i in viewer.episode.options:
        viewer.episode.value = i
        scales.add(re.search(r'expected &nbsp; (\S+)', viewer.html)[1])
    assert len(scales) == 1


def test_an_episode_that_was_left_out_has_log_probabilities_only():
    viewer = TokenViewer(EPISODES, scored(rows=[0, 2]), TOKENIZER)
    assert (
        viewer.episode.value == 1
        and 'left out of the update' in viewer.html
        and 'sum of logprob' in viewer.html
    )
    viewer.episode.value = 2
    assert 'sum of advantage' in viewer.html


def test_an_error_is_shown_and_raised():
    viewer = TokenViewer(EPISODES, scored(), TOKENIZER)
    viewer.scored = scored(
        [EPISODES[1], EPISODES[0], EPISODES[2]]
    )  # as if the next update had put its numbers there
    with pytest.raises(ValueError, match='about other tokens'):
        viewer.episode.value = 0
    assert viewer.html.startswith('<b') and 'take both from one update' in viewer.html


def test_a_trainer_before_its_first_update_and_after():
    trainer = SimpleNamespace(trajectories=[], tokenizer=TOKENIZER, steps=None)
    with pytest.raises(ValueError, match='run an update first'):
        TokenViewer(trainer)
    trainer.trajectories, trainer.scored = EPISODES, scored()
    assert len(TokenViewer(trainer).quantity.options) == len(QUANTITIES)
    with pytest.raises(ValueError, match='tokenizer is missing'):
        TokenViewer(EPISODES)
