"What a TRL user types: settings, reward functions, reward models, environments, data sets, callbacks"

import asyncio
import dataclasses

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from scripted_rollouts import Scripted
from transformers import LlamaConfig, LlamaForSequenceClassification, TrainerCallback, TrainerState

from rlops_lab.models.load import load
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.reward_models import SequenceReward
from rlops_lab.ppo.trainer import PPOTrainer
from rlops_lab.ppo.trl_names import TRL_ARGUMENTS, TRL_SETTINGS

trl = pytest.importorskip('trl')
ROWS = [dict(prompt=[dict(role='user', content=f'Seat {i}?')], answer=str(i)) for i in range(6)]
OURS = {f.name for f in dataclasses.fields(PPOConfig)}
OLD_PPO = (  # TRL's PPOConfig while it had one
    'exp_name reward_model_path model_adapter_name ref_adapter_name num_ppo_epochs whiten_rewards kl_coef '
    'kl_estimator cliprange vf_coef cliprange_value gamma lam ds3_gather_for_generation num_mini_batches '
    'total_episodes local_rollout_forward_batch_size num_sample_generations response_length stop_token '
    'stop_token_id temperature missing_eos_penalty sft_model_path world_size num_total_batches '
    'micro_batch_size local_batch_size batch_size local_mini_batch_size mini_batch_size dataset_num_proc run_name'
)


class Seats:
    "Books seats, and pays for them"

    def __init__(self):
        self.booked = []

    def reset(self, **kwargs) -> str | None:
        self.booked = []
        return None

    def book(self, seat: int) -> str:
        """
        Book a seat.

        Args:
            seat: Its number

        Returns:
            What was booked.
        """
        if seat in self.booked:
            raise ValueError('Taken.')
        self.booked.append(seat)
        return f'booked {seat}'


def reward_func(environments, **kwargs):
    return [float(len(env.booked)) for env in environments]


def trainer(environment=Seats, reward_funcs=reward_func, rows=ROWS, replies=None, settings=None, **options):
    model, tokenizer = load('tiny')
    small = dict(num_updates=2, episodes_per_update=4, max_turns=3, max_tokens_per_turn=32, micro_batch_tokens=4096)
    t = PPOTrainer(
        model,
        reward_funcs=reward_funcs,
        args=PPOConfig(**small | dict(report_to='none') | (settings or {})),
        train_dataset=rows,
        processing_class=tokenizer,
        environment_factory=environment,
        peft_config=LORA(),
        **dict(rollout_options=dict(progress=False)) | options,
    )
    if replies:
        t._push = lambda: setattr(t, 'sampler', Scripted(dict.fromkeys(range(4), replies)))
    return t


def LORA():
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules=['q_proj'])


# ---- settings
def test_every_setting_of_trl_is_ours_or_answered():
    answered = [name for row in TRL_SETTINGS for name in row.names.split()]
    theirs = [f.name for f in dataclasses.fields(trl.GRPOConfig)] + OLD_PPO.split()
    assert not [name for name in theirs if name not in OURS and name not in answered]
    assert len(answered) == len(set(answered)) and not OURS & set(answered)
    places = OURS | {'resume', 'train', 'model', 'peft_config', 'reward_model', 'sampler', 'rollout_options'}
    places |= {'train_dataset', 'eval_dataset', ''}
    assert {row.ours for row in TRL_SETTINGS} <= places


@pytest.mark.parametrize(
    'name, ours',
    [
        ('num_generations', 'episodes_per_update'),
        ('max_completion_length', 'max_tokens_per_turn'),
        ('beta', 'kl_coef'),
        ('per_device_train_batch_size', 'episodes_per_update'),
        ('max_steps', 'num_updates'),
        ('epsilon', 'clip_range'),
        ('gradient_checkpointing', 'micro_batch_tokens'),
        ('cliprange', 'clip_range'),
        ('lerning_rate', 'learning_rate'),
    ],
)
def test_a_name_of_trl_is_answered_with_ours(name, ours):
    with pytest.raises(TypeError, match=f"{name}'.*{ours}"):
        PPOConfig(**{name: 1})
    with pytest.raises(TypeError, match=ours):
        setattr(PPOConfig(), name, 1)
    with pytest.raises(AttributeError, match=ours):
        getattr(PPOConfig(), name)


def test_every_argument_of_their_trainer_is_ours_or_answered():
    import inspect

    ours = inspect.signature(PPOTrainer).parameters
    answered = [name for row in TRL_ARGUMENTS for name in row.names.split()]
    theirs = inspect.signature(trl.GRPOTrainer).parameters
    assert not [name for name in theirs if name not in ours and name not in answered]
    with pytest.raises(TypeError, match='tools.*methods of an environment class'):
        trainer(tools=[print])
    with pytest.raises(TypeError, match='args is a list'):
        PPOTrainer('tiny', [reward_func], PPOConfig())


@pytest.mark.parametrize('value', ['none', None, [], ['none']])
def test_nothing_is_reported(value):
    assert trainer(settings=dict(report_to=value)).tracker is None


# ---- reward functions
def kinds(arguments):
    return {k: type(v[0]).__name__ if isinstance(v, list) else type(v).__name__ for k, v in arguments.items()}


def test_reward_functions_get_what_trl_passes(tmp_path, monkeypatch):
    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')
    got = {}

    def spy(name):
        def reward(**kwargs):
            got[name] = kinds(kwargs)
            return [0.5 * i for i in range(len(kwargs['prompts']))]

        return reward

    from grpo_step import one_step

    model, tokenizer = load('tiny')
    theirs = trl.GRPOTrainer(
        model,
        spy('trl'),
        one_step(tmp_path),
        datasets.Dataset.from_list(ROWS),
        processing_class=tokenizer,
        environment_factory=Seats,
    )
    theirs.train()
    trainer(reward_funcs=spy('ours')).step()
    own = {'trajectories', 'prompt'}  # ours passes more
    assert {k: v for k, v in got['ours'].items() if k not in own} == got['trl'] | dict(
        log_extra=got['ours']['log_extra'], log_metric=got['ours']['log_metric']
    )


def test_tokens_state_metrics_and_columns_reach_the_record():
    seen = []

    def fading(completions, completion_ids, answer, trainer_state, log_metric, log_extra, **kwargs):
        seen.append((trainer_state.global_step, trainer_state.max_steps))
        log_metric('right', np.float32(0.25))
        log_extra('answer', answer)
        assert isinstance(trainer_state, TrainerState) and len(answer) == len(completions)
        return [1 - trainer_state.global_step / 2] * len(completions)

    async def slow(completion_ids, **kwargs):
        await asyncio.sleep(0.01)
        return [float(len(ids)) for ids in completion_ids]

    t = trainer(reward_funcs=[fading, slow])
    records = list(t.steps())
    assert seen == [(0, 2), (1, 2)] and [r['reward/fading'] for r in records] == [1.0, 0.5]
    assert records[0]['right'] == 0.25 and len(t.reward_log.columns['answer']) == 4
    assert all(r['reward/slow'] > 0 for r in records) and t.state.global_step == 2


def test_tool_results_are_part_of_completion_ids():
    def count(completion_ids, completions, trajectories, **kwargs):
        for ids, t in zip(completion_ids, trajectories):
            assert len(ids) == len(t.token_ids) - t.action_mask.index(1) > t.n_actions
        return [float(c[1]['role'] == 'tool') for c in completions]

    t = trainer(reward_funcs=count, replies=['book(seat=3)', 'Done.'])
    assert t.step()['reward/count'] == 1.0


def test_a_metric_of_a_name_that_is_taken_undoes_the_update():
    def clash(completions, log_metric, **kwargs):
        log_metric('kl_k1', 1.0)
        return [float(i) for i in range(len(completions))]

    t = trainer(reward_funcs=clash)
    with pytest.raises(ValueError, match='choose another'):
        t.step()
    assert t.n_updates == 0


def test_a_reward_function_that_lists_its_arguments_gets_those():
    def listed(completions, answer):
        return [float(len(a)) for a in answer]

    assert trainer(reward_funcs=listed).step()['reward/listed'] == 1.0

    def asks(completions, solution):
        return []

    with pytest.raises(TypeError, match="asks for \\['solution'\\]"):
        trainer(reward_funcs=asks).step()


# ---- reward models
def scorer(folder, **changes):
    model, tokenizer = load('tiny')
    torch.manual_seed(3)
    shape = model.config.to_dict() | dict(num_labels=1, architectures=None) | changes
    LlamaForSequenceClassification(LlamaConfig(**shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_reward_model_by_folder_scores_as_in_trl(tmp_path):
    from grpo_step import one_step

    model, tokenizer = load('tiny')
    folder = scorer(tmp_path / 'judge')
    theirs = trl.GRPOTrainer(
        model, folder, one_step(tmp_path / 'run'), datasets.Dataset.from_list(ROWS), processing_class=tokenizer
    )
    talk = [dict(role='assistant', content='x' * n) for n in (1, 40, 7)]
    prompts, completions = [row['prompt'] for row in ROWS[:3]], [[message] for message in talk]
    want = theirs._calculate_rewards(ROWS[:3], prompts, completions, [[1]] * 3)[:, 0]
    t = trainer(environment=None, reward_funcs=folder)
    (ours,) = t.reward_funcs
    assert ours(prompts, completions) == pytest.approx(want.tolist(), abs=1e-5)
    assert 'reward/judge' in t.step()
    assert SequenceReward(ours.model)(prompts, completions) == ours(prompts, completions)


def test_what_is_no_reward_model_is_refused_before_anything_is_sampled(tmp_path):
    load('tiny')[0].save_pretrained(tmp_path / 'causal')
    two = scorer(tmp_path / 'two', num_labels=2)
    for name, text in ((tmp_path / 'causal', 'score head would be random'), (two, 'a classifier of 2 labels')):
        with pytest.raises(ValueError, match=text):
            trainer(reward_funcs=str(name))
    with pytest.raises(TypeError, match='give functions'):
        trainer(reward_funcs=[3])


# ---- data
def test_data_sets_of_every_kind():
    table = datasets.Dataset.from_list(ROWS)
    for data in (table, pd.DataFrame(ROWS), table.data.table, tuple(ROWS)):
        assert trainer(rows=data).rows == ROWS
    for data, text in (
        (datasets.DatasetDict(train=table), "train_dataset is a DatasetDict with the splits 'train'"),
        (table.to_iterable_dataset(), 'IterableDataset without a length'),
        (iter(ROWS), 'can be read once'),
        ('some/dataset', "is the text 'some/dataset'"),
        ({'prompt': []}, "the columns 'prompt'"),
    ):
        with pytest.raises(TypeError, match=text):
            trainer(rows=data)
        with pytest.raises(TypeError, match='eval_dataset'):
            trainer(eval_dataset=data)


def test_an_environment_may_own_its_data():
    class Owner(Seats):
        def reset(self, **kwargs):
            return 'Book seat 3.'

    t = trainer(environment=Owner, rows=None)
    assert t.step()['episodes'] == 4
    assert t.trajectories[0].messages[0] == dict(role='user', content='Book seat 3.')
    with pytest.raises(ValueError, match='train_dataset is missing'):
        trainer(environment=None, rows=None).step()
    with pytest.raises(ValueError, match='train_dataset is missing'):
        trainer(environment=dict(a=Owner), rows=None)


def test_completions_without_an_environment_are_text_whatever_they_look_like():
    def text(completions, **kwargs):
        return [float(c == [dict(role='assistant', content='print(x=1)')]) for c in completions]

    t = trainer(environment=None, reward_funcs=text, replies=['print(x=1)'])
    assert t.step()['reward'] == 1.0
    assert all(x.terminated and x.n_turns == 1 and 'failed_calls' not in x.kpis for x in t.trajectories)
    with pytest.raises(ValueError, match='row 0 has no prompt'):
        trainer(environment=None, rows=[dict(answer='1')]).step()
    with pytest.raises(ValueError, match='nothing pays'):
        trainer(environment=None, reward_funcs=None).step()


# ---- environments of the kinds that TRL's guide shows
def played(environment, replies, rows=ROWS[:4], reward_funcs=None):
    t = trainer(environment, reward_funcs, rows, replies)
    record = t.step()
    return t.trajectories, record


def test_a_client_that_echoes_and_keeps_its_reward():
    class FakeClient:
        def step(self, message):
            return message, len(message) / 10

    class EchoTool:
        def __init__(self):
            self.env = FakeClient()
            self.reward = 0.0

        def reset(self, **kwargs) -> str | None:
            self.reward = 0.0
            return None

        def echo(self, message: str) -> str:
            """
            Send a message, and hear it.

            Args:
                message: What to send

            Returns:
                The message.
            """
            text, self.reward = self.env.step(message)
            return text

    def from_environment(environments, **kwargs):
        return [env.reward for env in environments]

    episodes, record = played(EchoTool, ['echo(message="Hello")', 'Done.'], reward_funcs=from_environment)
    assert record['reward'] == 0.5 and episodes[0].messages[2]['content'] == 'Hello'


def test_a_game_that_says_by_an_exception_that_it_is_over():
    class Guess:
        def reset(self, **kwargs) -> str | None:
            self.done_by, self.reward = 0, 0.0
            return '\nGuess a number.'

        def guess(self, number: int) -> str:
            """
            Guess.

            Args:
                number: The number

            Returns:
                What was right.
            """
            if self.done_by:
                raise ValueError('Game over.')
            self.done_by, self.reward = 1, 1.0
            return 'right'

        def get_reward(self) -> float:
            return self.reward

    episodes, record = played(Guess, ['guess(number=3)', 'guess(number=3)', 'Bye.'])
    assert record['reward'] == 1.0 and 'Game over.' in episodes[0].messages[4]['content']
    assert episodes[0].messages[0]['content'].endswith('\nGuess a number.')


def test_several_environments_by_name_with_async_tools_and_rewards():
    class Later(Seats):
        async def wait(self, seconds: float) -> str:
            """
            Wait.

            Args:
                seconds: How long

            Returns:
                A word.
            """
            return 'waited'

        async def get_reward(self) -> float:
            return 2.0

    rows = [row | dict(environment=name) for row, name in zip(ROWS, ['a', 'b', 'a', 'b'])]

    def one(prompts, **kwargs):
        return [1.0] * len(prompts)

    factory = dict(a=Seats, b=Later)
    episodes, record = played(factory, ['wait(seconds=1)', 'Done.'], rows, one)
    assert (record['reward/a'], record['reward/b']) == (1.0, 3.0)
    assert {x.messages[2]['content'] for x in episodes if x.task['environment'] == 'b'} == {'waited'}


def test_an_environment_that_pays_nothing_is_refused():
    with pytest.raises(ValueError, match='nothing pays'):
        trainer(reward_funcs=None)

    class Later(Seats):
        def reset(self, **kwargs):
            self.turn_reward = 1.0

    replies = ['book(seat=3)', 'Done.']
    assert trainer(environment=Later, reward_funcs=None, replies=replies).step()['reward'] == 2.0


# ---- callbacks
class Notes(TrainerCallback):
    def __init__(self):
        self.events = []

    def _note(name):
        def method(self, args, state, control, **kwargs):
            more = [k for k in ('metrics', 'logs') if k in kwargs]
            self.events.append((name, state.global_step, *more))
            assert args.num_updates == 2 and kwargs['model'] is not None and state.max_steps == 2

        return method

    for _name in 'init_end train_begin step_begin step_end evaluate log save train_end'.split():
        locals()[f'on_{_name}'] = _note(_name)


def test_callbacks_are_called_where_they_expect_it(tmp_path):
    notes = Notes()
    files = dict(output_dir=str(tmp_path), save_every=2, eval_every=2, metric_for_best='reward')
    trainer(callbacks=[notes], settings=files, eval_dataset=ROWS[4:]).train()
    assert notes.events == [
        ('init_end', 0),
        ('train_begin', 0),
        ('step_begin', 0),
        ('step_end', 1),
        ('log', 1, 'logs'),
        ('step_begin', 1),
        ('step_end', 2),
        ('evaluate', 2, 'metrics'),
        ('log', 2, 'logs'),
        ('save', 2),
        ('train_end', 2),
    ]


def test_a_callback_stops_and_saves(tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = control.should_save = True

    t = trainer(callbacks=[Stop], settings=dict(output_dir=str(tmp_path)))
    assert len(t.train()) == 1 and 'callback' in t.stopped
    assert (tmp_path / 'checkpoint-00001').exists()


def test_a_callback_that_would_never_be_called_is_refused():
    class Epochs(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            pass

    with pytest.raises(TypeError, match='on_epoch_end, which this trainer never calls'):
        trainer(callbacks=[Epochs()])
    with pytest.raises(TypeError, match='derived from transformers'):
        trainer(callbacks=[lambda **_: None])
