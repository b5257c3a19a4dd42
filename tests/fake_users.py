"A tokenizer and a sampler for simulated users: a token a character, and replies made by a function"

from types import SimpleNamespace

from rlops_lab.core import Usage


class FakeTokenizer:
    "A token a character"

    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=True):
        return '\n'.join(f"{m['role']}: {m['content']}" for m in messages)

    def __call__(self, text, add_special_tokens=False):
        return dict(input_ids=[ord(c) for c in text])

    def decode(self, ids, skip_special_tokens=True):
        return ''.join(map(chr, ids))


class FakeSampler:
    "Says what `say(prompt, seed)` returns"

    def __init__(self, say, reason='stop'):
        self.say, self.reason, self.seeds = say, reason, []

    def sample(self, prompts, params, keys=None):
        self.seeds.append(params.seed)
        return [
            SimpleNamespace(
                token_ids=[ord(c) for c in self.say(''.join(map(chr, p)), params.seed)],
                finish_reason=self.reason,
                usage=Usage(calls=1),
            )
            for p in prompts
        ]

    def __deepcopy__(self, memo):
        raise AssertionError('the model was copied')
