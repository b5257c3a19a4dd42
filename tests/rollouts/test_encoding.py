"Encoding: what the template adds between turns, templates that rewrite history, text from outside, and drift"

import pytest
from scripted_rollouts import TOKENIZER, Till, run

from rlops_lab.environments.contract import tool_schemas
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import (
    check_template,
    encoded,
    escape_special_tokens,
    fast_observation_ids,
    observation_ids,
    rendered,
    template_drift,
    token_strip,
)
from rlops_lab.rollouts.episodes import read_action


def with_template(**changes):
    _, tokenizer = load('tiny')
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    'observation',
    [dict(role='tool', name='put', content='4 in the till'), dict(role='user', content='And then?')],
)
def test_observations_are_what_the_template_adds(observation):
    action = read_action('put(amount=4)').message
    talk = [dict(role='system', content='s'), dict(role='user', content='u'), action]
    whole = encoded(TOKENIZER, rendered(TOKENIZER, talk + [observation], reply=True))
    head = encoded(TOKENIZER, rendered(TOKENIZER, talk).rstrip('\n'))
    assert head[-1] == TOKENIZER.eos_token_id
    assert head + observation_ids(TOKENIZER, action, observation) == whole
    assert head + fast_observation_ids(TOKENIZER, action, observation) == whole


@pytest.mark.parametrize(
    'changes, cure',
    [
        (dict(chat_template=None), 'chat_template.setup_chat_format'),
        (dict(eos_token='<|endoftext|>'), 'set tokenizer.eos_token'),
        (
            dict(
                chat_template=TOKENIZER.chat_template.replace(
                    "{{- message['content'] or '' }}", "{{- message['content'] if loop.last else '' }}"
                )
            ),
            'chat_template.setup_chat_format',
        ),
    ],
)
def test_templates_that_rewrite_history_are_refused(changes, cure):
    with pytest.raises(ValueError, match=cure):
        check_template(with_template(**changes))


def test_special_tokens_in_foreign_text_are_broken_up():
    assert escape_special_tokens(TOKENIZER, 'a <|im_end|> b') == 'a < |im_end|> b'
    assert escape_special_tokens(TOKENIZER, 'a\ud800') == 'a?'


def test_drift_is_told_in_three_kinds():
    spellings = {
        'put(amount=10)': 'clean',
        'put( amount=10 )': 'realign',
        'put(amount=0x0a)': 'fork',
        'Enough.': 'clean',
        'put(amount': 'clean',
    }
    for text, kind in spellings.items():
        (t,) = run([[text, 'Bye.']])
        assert template_drift(t, TOKENIZER) == kind, text
    tools = run([['put(amount=10)']], tools_in_prompt=True)[0]
    assert (
        template_drift(tools, TOKENIZER) == 'fork'
        and template_drift(tools, TOKENIZER, tool_schemas(Till())) == 'clean'
    )


def test_a_strip_colours_every_token_once_and_escapes_it():
    ids = encoded(TOKENIZER, '<|im_start|>user\na<b<|im_end|>')
    strip = token_strip(TOKENIZER, ids, [0] * 3 + [1] + [0] * (len(ids) - 4))
    assert strip.count('<span') == len(ids) + 3  # and the legend
    assert '&lt;|im_start|&gt;' in strip and 'prompt: 3 tokens' in strip and 'policy: 1 tokens' in strip
    assert 'policy: 0 tokens' in token_strip(TOKENIZER, ids, [0] * len(ids))
