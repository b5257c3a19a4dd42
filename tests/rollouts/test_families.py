"""Families of models: a conversation of five turns, with one call and with two in a turn, in each family's own syntax.

What the policy samples is what the family's template writes for the same messages, so the recorded tokens can be held
against a rendering of the whole conversation."""

import json
from collections import Counter

import pytest
from families import family_tokenizer

from rlops_lab.core import Usage
from rlops_lab.environments.contract import tool_schemas
from rlops_lab.models.tool_probes import probe_message
from rlops_lab.models.tool_syntax import ToolCall
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import decoded, encoded
from rlops_lab.rollouts.engine import rollout
from rlops_lab.rollouts.turns import check_template, lasting_text
from rlops_lab.samplers.sampling import Completion

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
    'GLM-4.5': 'glm',
    'gpt-oss': 'harmony',
    'LFM2 v2': 'lfm2',
    'LFM2.5': 'lfm2',
    'Gemma 4': 'response template',
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


class Till:
    "A till that counts."

    def reset(self, **_):
        self.log = []
        return 'Open the till.'

    def put(self, amount: int, note: str = '', big: bool = False) -> str:
        """Put money in.

        Args:
            amount: How much.
            note: Why.
            big: Is it a note?
        """
        self.log.append((amount, note, big))
        return f'{amount} in, "{note}"'

    def get_reward(self) -> float:
        return float(len(self.log))


class FakePolicy:
    "Writes what it is told, turn by turn"

    context = 1 << 20

    def __init__(self, chat, turns):
        self.chat, self.turns, self.turn = chat, turns, Counter()

    def sample(self, prompts, params, keys):
        assert set(self.chat.stop_ids) <= set(params.stop_token_ids)
        return [self.reply(key) for key in keys]

    def reply(self, key):
        text, stop = self.turns[self.turn[key]]
        self.turn[key] += 1
        ids = encoded(self.chat.tokenizer, text + stop)
        return Completion(ids, [-0.5] * len(ids), 'stop', Usage(completion_tokens=len(ids), calls=1))


def shared(prompt, text):
    "Place behind what two texts have in common, in front of a token that is cut"
    place = next((i for i, (a, b) in enumerate(zip(prompt, text)) if a != b), len(prompt))
    return text.rindex('<', 0, place + 1) if prompt[:place].count('<') > prompt[:place].count('>') else place


def written(chat, turn, *calls):
    "The calls as the family's template writes them in a turn, and the token that ends them"
    question = dict(role='user', content='q')
    action = probe_message(*calls, as_text=chat.calls.as_text)
    if not chat.calls.needs_ids:
        for call in action['tool_calls']:
            del call['id']
    results = [dict(role='tool', name=c.name, content='r3s', tool_call_id=f'call{i:05}') for i, c in enumerate(calls)]
    history = chat.render([question, action, *results], reply=True)
    prompt = chat.render([question], reply=True)
    begin = shared(prompt, history)
    text = history[begin : history.rindex(chat.calls.end, begin, history.index('r3s'))]
    return text.replace('call000', f'call{turn}00'), chat.calls.end


def final(chat, text):
    "A text reply as the template writes it, and what ends it when it is the last"
    talk = [dict(role='user', content='q'), dict(role='assistant', content=text)]
    last, prompt = chat.render(talk), chat.render(talk[:1], reply=True)
    reply = last[shared(prompt, last) : last.index(text) + len(text)]
    stop = chat.text_end
    for token in chat.tokenizer.convert_ids_to_tokens(chat.stop_ids):
        if last.partition(text)[2].startswith(token):
            stop = token
    return reply, stop


ONE = ToolCall('put', dict(amount=1))
OTHER = ToolCall('put', dict(amount=2, note='say "tips"'))


def play(name):
    chat = chat_format(family_tokenizer(name))
    pair = (ONE, OTHER) if chat.calls.parallel else (OTHER,)
    calls = [(ONE,), pair, (OTHER,), pair]
    turns = [written(chat, turn, *each) for turn, each in enumerate(calls)] + [final(chat, 'Done.')]
    (t,) = rollout(
        FakePolicy(chat, turns),
        chat.tokenizer,
        Till,
        [dict(prompt=[dict(role='user', content='Go. ')])],
        tools_in_prompt=True,
        max_tokens_per_turn=400,
        max_total_tokens=20_000,
        progress=False,
    )
    return chat, t, 2 + 2 * len(pair)


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
    messages = [dict(m) for m in t.messages]
    for message in messages:
        for call in message.get('tool_calls', ()) if chat.calls.as_text else ():
            call['function']['arguments'] = json.dumps(call['function']['arguments'])
    fresh = chat.render(messages, tool_schemas(Till()))
    text = decoded(chat.tokenizer, t.token_ids)
    if name in REWRITES_THOUGHTS | LAST_END_DIFFERS:
        assert lasting_text(chat, fresh).startswith(lasting_text(chat, text).removesuffix(chat.text_end))
    else:
        assert encoded(chat.tokenizer, fresh)[: len(t.token_ids)] == t.token_ids


@pytest.mark.parametrize('name', REFUSED)
def test_families_without_tools_are_refused_by_name(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        check_template(chat_format(family_tokenizer(name)), tool_schemas(Till()))
