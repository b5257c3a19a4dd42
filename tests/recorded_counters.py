"An environment that counts, and recordings of its episodes"

from hypothesis import strategies as st

from rlops_lab.environments.recordings import read_log


class Counter:
    "Counts, and says how far; `leak` makes it answer by another rule"

    leak = 0

    def reset(self, start: int, **_):
        self.n, self.done, self.messages = start, False, []
        return f'At {start}.'

    def add(self, k: int) -> str:
        """Add.

        Args:
            k: How much.
        """
        self.n += k
        return str(self.n + self.leak)

    @property
    def user(self):
        return self._reply

    def _reply(self, text):
        self.messages.append(text)
        self.done = text == 'bye'
        return None if self.done else f'you said {text}'

    def get_reward(self):
        return float(self.n)


def record_counter(start, acts):
    env = Counter()
    messages = [dict(role='user', content=env.reset(start))]
    for a in acts:
        if isinstance(a, int):
            messages += [
                dict(
                    role='assistant',
                    content='',
                    tool_calls=[dict(function=dict(name='add', arguments=dict(k=a)))],
                ),
                dict(role='tool', content=env.add(a)),
            ]
        else:
            reply = env._reply(a)
            messages.append(dict(role='assistant', content=a))
            if reply:
                messages.append(dict(role='user', content=reply))
        if env.done:
            break
    return read_log(dict(messages=messages, task=dict(start=start), reward=env.get_reward())), env


acts = st.lists(st.integers(-3, 9) | st.sampled_from(['hello', 'so', 'bye']), min_size=1, max_size=8)
