"A checkpoint is resumed by the run that wrote it, and what differs is named"

import copy

import pytest
from peft import LoraConfig

from rlops_lab.models.load import load
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.identity import code_identity
from rlops_lab.ppo.trainer import PPOTrainer
from rlops_lab.rewards.compose import Gate, WeightedSum

BONUS = 1.0


def helper(x):
    return x + BONUS


class Desk:
    version = '1'

    def reset(self, **_):
        return 'Hi'

    def look(self) -> str:
        "Look around."
        return 'nothing'

    def get_reward(self):
        return 1.0


class NewTool(Desk):
    def look(self) -> str:
        "Look around."
        return 'a table'


class NewVersion(Desk):
    version = '2'


def paid(bound=3):
    def reward(completions, **_):
        return [helper(float(len(c) > bound)) for c in completions]

    return reward


def run(folder, environment=Desk, bound=3, template='', token=None, **options):
    model, tokenizer = load('tiny')
    tokenizer.chat_template += template
    if token:
        tokenizer.bos_token = token
    args = PPOConfig(output_dir=str(folder), episodes_per_update=4, max_turns=1, max_tokens_per_turn=6)
    return PPOTrainer(
        model,
        args,
        environment,
        paid(bound),
        [dict(prompt=[dict(role='user', content='a')])],
        tokenizer,
        LoraConfig(r=2, target_modules=['q_proj']),
        rollout_options=dict(progress=False) | options,
    )


CHANGES = [
    (dict(environment=NewTool), 'environment.code'),
    (dict(environment=NewVersion), "environment.version was '1' and is '2'"),
    (dict(environment=lambda: NewTool()), 'environment'),
    (dict(environment=dict(desk=Desk)), 'environment desk'),
    (dict(bound=4), 'reward_funcs.reward.code'),
    (dict(template='\n'), 'chat_template'),
    (dict(token='<|endoftext|>'), 'tokenizer'),
    (dict(tools_in_prompt=True), 'rollout_options.tools_in_prompt was None and is True'),
    (dict(prompt=lambda row: row['prompt']), 'rollout_options.prompt'),
]


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    run(folder).save()
    return folder


@pytest.mark.parametrize('change, text', CHANGES, ids=[text.split()[0] for _, text in CHANGES])
def test_what_differs_is_named(saved, change, text):
    t = run(saved, **change) if 'desk' not in text else None
    if t is None:
        with pytest.raises(ValueError, match='environment'):
            run(saved, **change)
        return
    with pytest.raises(ValueError, match='belongs to a run with other settings') as caught:
        t.resume()
    assert text in str(caught.value) and str(caught.value).count(' was ') <= 3


def test_what_only_watches_may_differ(saved):
    seen = []
    assert run(saved, on_episode=seen.append, batch_size=2).resume().n_updates == 0


def test_helpers_and_constants_of_the_module_count(monkeypatch):
    same = code_identity(paid())
    assert same == code_identity(paid()) == code_identity(copy.deepcopy(paid()))
    monkeypatch.setitem(globals(), 'BONUS', 2.0)
    assert code_identity(paid()) != same


def test_objects_are_their_class_and_settings_not_their_counts():
    gate = Gate(paid(), 0.5)
    same = code_identity(gate)
    gate([None], [[]])
    assert code_identity(gate) == same != code_identity(Gate(paid(), 0.6))
    assert code_identity(WeightedSum([gate])) != code_identity(WeightedSum([Gate(paid(), 0.6)]))


def test_code_without_a_source_has_an_identity():
    space = {}
    exec('def f(x):\n    def g(): return x\n    return [y + 1 for y in g()]', space)
    other = {}
    exec('def f(x):\n    def g(): return x\n    return [y + 2 for y in g()]', other)
    assert code_identity(space['f']) == code_identity(space['f']) != code_identity(other['f'])
    assert code_identity(len) == code_identity(len) and code_identity(print) != ''
