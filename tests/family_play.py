"""A conversation in a family's own syntax, played by a policy that writes what the family's template writes."""

from collections import Counter

from families import family_tokenizer

from rlops_lab.core import Usage
from rlops_lab.models.tool_probes import probe_message
from rlops_lab.models.tool_syntax import ToolCall
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import encoded
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.sampling import Completion

ONE = ToolCall('put', dict(amount=1))
OTHER = ToolCall('put', dict(amount=2, note='say "tips"'))


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


class Shop(Till):
    "A till with a customer in front of it, who speaks once."

    @property
    def user(self):
        return self._speak

    def _speak(self, message):
        self.said = getattr(self, 'said', 0) + 1
        return f'And then? {self.said}' if self.said < 2 else None


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


def play_turns(chat, turns, environment=Till, **options):
    "One episode in which the policy writes these turns, (text, end) each"
    (t,) = rollout(
        FakePolicy(chat, turns),
        chat.tokenizer,
        environment,
        [dict(prompt=[dict(role='user', content='Go. ')])],
        max_tokens_per_turn=400,
        max_total_tokens=20_000,
        progress=False,
        **dict(tools_in_prompt=True) | options,
    )
    return t


def play(name):
    "Chat format, an episode with one call and with two in a turn, and how many calls that makes"
    chat = chat_format(family_tokenizer(name))
    pair = (ONE, OTHER) if chat.calls.parallel else (OTHER,)
    calls = [(ONE,), pair, (OTHER,), pair]
    turns = [written(chat, turn, *each) for turn, each in enumerate(calls)] + [final(chat, 'Done.')]
    return chat, play_turns(chat, turns), 2 + 2 * len(pair)
