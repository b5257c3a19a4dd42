"Encoding: text from outside, drift, and the strip of tokens"

from scripted_rollouts import TOKENIZER, Till, run

from rlops_lab.environments.contract import tool_schemas
from rlops_lab.rollouts.encoding import (
    encoded,
    escape_special_tokens,
    template_drift,
    token_strip,
)


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
    (hidden,) = run([['put(amount=10)']], tools_in_prompt=False)
    assert template_drift(hidden, TOKENIZER) == 'clean'
    hidden.tools = tool_schemas(Till())
    assert template_drift(hidden, TOKENIZER) == 'fork'


def test_a_strip_colours_every_token_once_and_escapes_it():
    ids = encoded(TOKENIZER, '<|im_start|>user\na<b<|im_end|>')
    strip = token_strip(TOKENIZER, ids, [0] * 3 + [1] + [0] * (len(ids) - 4))
    assert strip.count('<span') == len(ids) + 3  # and the legend
    assert '&lt;|im_start|&gt;' in strip and 'prompt: 3 tokens' in strip and 'policy: 1 tokens' in strip
    assert 'policy: 0 tokens' in token_strip(TOKENIZER, ids, [0] * len(ids))
