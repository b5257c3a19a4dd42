"""Families of models: a conversation of five turns, with one call and with two in a turn, in each family's own syntax.

What the policy samples is what the family's template writes for the same messages, so the recorded tokens can be held
against a rendering of the whole conversation."""

import json

import pytest
from families import FAMILIES, family_tokenizer
from family_play import ONE, Shop, Till, final, play, play_turns, written
from family_table import VLLM_PARSERS, facts, known

from rlops_lab.environments.contract import tool_schemas
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import decoded, encoded
from rlops_lab.rollouts.turns import check_template, lasting_text

READ = {
    'Qwen2.5': 'hermes',
    'Qwen3': 'hermes',
    'Qwen3-2507': 'hermes',
    'Qwen3.5': 'tags',
    'Qwen3.5 thinking': 'tags',
    'Nemotron 3': 'tags',
    'Llama 3.1': 'llama',
    'Llama 3.2': 'llama',
    'Mistral': 'mistral',
    'Magistral': 'mistral',
    'GLM-4.5': 'glm',
    'gpt-oss': 'harmony',
    'LFM2 v2': 'lfm2',
    'LFM2.5': 'lfm2',
    'Gemma 4': 'gemma',
}
REFUSED = {
    'Phi-3.5': 'no way that is known',
    'Gemma 3': 'no way that is known',
    'Llama 3': 'no way that is known',
    'Phi-4-mini': 'does not show the tools',
    'DeepSeek V3': 'does not show the tools',
}
REWRITES_THOUGHTS = {'Qwen3', 'Qwen3.5', 'Qwen3.5 thinking', 'Nemotron 3', 'GLM-4.5'}
LAST_END_DIFFERS = {'gpt-oss'}
MOVES_TOOLS = {'Mistral'}  # to the last message of the user, which `check_template` names


def fresh(chat, t, tools=True):
    "The recorded conversation as the template writes it"
    messages = [dict(m) for m in t.messages]
    for message in messages:
        for call in message.get('tool_calls', ()) if chat.calls.as_text else ():
            call['function']['arguments'] = json.dumps(call['function']['arguments'])
    return chat.render(messages, tool_schemas(Till()) if tools else None)


@pytest.mark.parametrize('name', READ)
def test_five_turns_in_the_familys_own_syntax(name):
    chat, t, n_calls = play(name)
    assert chat.calls.syntax.name == READ[name]
    assert t.reward == t.kpis['tool_calls'] == n_calls and t.kpis['failed_calls'] == 0
    assert t.terminated and t.n_turns == 5
    results = [m['content'] for m in t.messages if m['role'] == 'tool']
    assert results[:2] == ['1 in, ""', '1 in, ""' if chat.calls.parallel else '2 in, "say "tips""']


@pytest.mark.parametrize('name', READ)
def test_recorded_tokens_are_a_rendering_of_the_conversation(name):
    chat, t, _ = play(name)
    text = decoded(chat.tokenizer, t.token_ids)
    if name in REWRITES_THOUGHTS | LAST_END_DIFFERS:
        assert lasting_text(chat, fresh(chat, t)).startswith(lasting_text(chat, text).removesuffix(chat.text_end))
    else:
        assert encoded(chat.tokenizer, fresh(chat, t))[: len(t.token_ids)] == t.token_ids


ENDS = [(name, stop) for name in READ for stop in chat_format(family_tokenizer(name)).stop_ids]


@pytest.mark.parametrize('name, stop', ENDS)
def test_a_turn_that_ends_with_any_stop_token_loses_nothing(name, stop):
    "The end that history shows may be another one, or open the next turn; then it stands behind what was sampled"
    chat = chat_format(family_tokenizer(name))
    (stop,) = chat.tokenizer.convert_ids_to_tokens([stop])
    replies = [written(chat, 0, ONE), final(chat, 'Yes.'), written(chat, 2, ONE), final(chat, 'Done.')]
    ends = [chat.calls.end, chat.text_end, chat.calls.end]
    environment = Till if name in MOVES_TOOLS else Shop
    turns = [(text, stop) for text, _ in (replies[::3] if name in MOVES_TOOLS else replies)]
    t = play_turns(chat, turns, environment)
    assert t.reward == t.kpis['tool_calls'] == len(turns) // 2 and t.kpis['failed_calls'] == 0
    text = decoded(chat.tokenizer, t.token_ids)
    for (reply, _), end in zip(turns, ends):
        opens = {stop, end} & chat.openers
        before = reply + stop + (end if opens and stop != end else '')
        assert before in text
        text = text.replace(before, reply + end, 1)
    text = text.removesuffix(stop)
    assert lasting_text(chat, fresh(chat, t)).startswith(lasting_text(chat, text))


@pytest.mark.parametrize('end', ['<|eom_id|>', '<|eot_id|>'])
def test_a_call_of_llama_3_ends_either_way(end):
    chat = chat_format(family_tokenizer('Llama 3.1'))
    t = play_turns(chat, [(written(chat, 0, ONE)[0], end), final(chat, 'Done.')])
    assert t.reward == 1 and end in decoded(chat.tokenizer, t.token_ids)


def test_a_call_in_the_thoughts_of_magistral_is_not_made():
    chat = chat_format(family_tokenizer('Magistral'))
    call, end = written(chat, 0, ONE)
    t = play_turns(chat, [(f'[THINK]{call}?[/THINK]{call}', end), (f'[THINK]{call}[/THINK]Done.', end)])
    assert t.reward == t.kpis['tool_calls'] == 1 and t.kpis['failed_calls'] == 0
    assert t.messages[-1] == dict(role='assistant', content='Done.', reasoning_content=call)
    t = play_turns(chat, [(f'[THINK]{call}', end), (call, end), ('Done.', end)])
    assert 'close the thought' in t.messages[2]['content'] and t.kpis['failed_calls'] == t.reward == 1


@pytest.mark.parametrize('name', REFUSED)
def test_families_without_tools_are_refused_by_name(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        check_template(chat_format(family_tokenizer(name)), tool_schemas(Till()))


@pytest.mark.parametrize('name', [name for name in READ if name not in MOVES_TOOLS])
def test_a_name_that_would_end_a_turn_is_refused_before_anything_is_sampled(name):
    chat = chat_format(family_tokenizer(name))
    turns = [(written(chat, 0, ONE)), final(chat, 'Done.')]
    for odd in (chat.text_end, '</tool_call>', '<|channel|>', 'a b'):
        with pytest.raises(ValueError, match='is no name that a template could write'):
            play_turns(chat, turns, type('Odd', (Till,), {odd: Till.put}), tools_in_prompt=False)
        schema = tool_schemas(Till())
        schema[0]['function']['parameters']['properties'][odd] = dict(type='string')
        with pytest.raises(ValueError, match='of the tool .put., is no name'):
            check_template(chat, schema)
    check_template(chat, tool_schemas(Till()))


@pytest.mark.parametrize('name', ['Qwen3', 'gpt-oss', 'LFM2.5'])
def test_a_name_that_the_syntax_cannot_hold_is_refused(name):
    chat = chat_format(family_tokenizer(name))
    schema = tool_schemas(Till())
    schema[0]['function']['name'] = 'put-in'
    if READ[name] != 'lfm2':
        return check_template(chat, schema)
    with pytest.raises(ValueError, match='a call of put-in with .* is not read back'):
        check_template(chat, schema)


@pytest.mark.parametrize('name', ['gpt-oss', 'Gemma 4', 'Mistral'])
def test_a_call_under_no_name_at_all_is_told_and_ends_no_turn(name):
    "Templates paste the name in front of the result"
    chat = chat_format(family_tokenizer(name))
    call, end = written(chat, 0, ONE)
    odd = call.replace('put', f'put{chat.text_end}')
    (told,) = [m for m in play_turns(chat, [(odd, end), final(chat, 'Done.')]).messages[2:3]]
    assert chat.text_end not in told['content'] and told['role'] in ('user', 'tool')


@pytest.mark.parametrize('name', FAMILIES)
def test_the_notebooks_table_says_what_templates_do(name):
    row = known()[name]
    found = facts(name)
    assert found == {key: row[key] for key in found}
    assert READ.get(name, row['syntax']) == row['syntax']


def test_the_table_has_all_families_and_vllm_their_parsers():
    assert list(known()) == list(FAMILIES)
    parsers = pytest.importorskip('vllm.tool_parsers', reason='vLLM is not installed').ToolParserManager
    assert set(VLLM_PARSERS.values()) <= set(parsers.list_registered())
