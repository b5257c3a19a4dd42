"Bad input is refused before anything is sampled, by a message that names the cause and the cure."

import pytest

from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.load import load
from rlops_lab.rollouts.engine import rollout


class Untouched:
    "A sampler that must not be called"

    context = 2048

    def sample(self, prompts, params, keys):
        pytest.fail('something was sampled')


class NoReset:
    def look(self) -> str:
        "Look."


class NoDocstring(SupportDesk):
    def hang_up(self):
        pass


def refused(*parts, environment=SupportDesk, rows=None, tokenizer=None, **options):
    "Start a rollout; its error must contain all of `parts`"
    with pytest.raises(ValueError) as caught:
        rollout(
            Untouched(),
            tokenizer or load('tiny')[1],
            environment,
            scenarios(4) if rows is None else rows,
            **options,
        )
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, f'{missing} not in: {caught.value}'


def without(column):
    return [{k: v for k, v in row.items() if k != column} for row in scenarios(4)]


def long_prompt(words):
    return [
        dict(row, prompt=[dict(role='system', content='word ' * words), row['prompt'][-1]])
        for row in scenarios(4)
    ]


def test_unknown_model(tmp_path):
    for name in (str(tmp_path / 'nowhere'), 'tiny-ish'):
        with pytest.raises(ValueError) as caught:
            load(name)
        message = str(caught.value)
        assert f'no model {name!r}' in message
        assert "use 'tiny', 'smollm2', a folder with config.json, or a hub id" in message


def test_tool_without_docstring():
    refused("tool 'hang_up' has no docstring", 'add one', environment=NoDocstring)


def test_environment_without_reset():
    refused('NoReset has no `reset`', 'add `def reset(self, **row) -> str`', environment=NoReset)


def test_prompt_longer_than_the_context():
    refused(
        'a prompt has', 'does not fit max_total_tokens=2048', 'Shorten the prompt', rows=long_prompt(2100)
    )


def test_more_tokens_than_the_model_has_context():
    refused("max_total_tokens=4096 exceeds the model's context of 2048", 'lower it', max_total_tokens=4096)


def test_the_text_of_reset_counts_too():
    room = 2048 - 48 - 20
    fits = next(n for n in range(room, 0, -1) if len(load('tiny')[1]('word ' * n)['input_ids']) < room - 30)

    class Wordy(SupportDesk):
        def reset(self, **row):
            return super().reset(**row) + ' please' * 200

    refused('the prompt of row 0 has', 'Shorten the prompt', environment=Wordy, rows=long_prompt(fits))


def test_pad_token_equal_to_eos():
    _, tokenizer = load('tiny')
    tokenizer.pad_token = tokenizer.eos_token
    refused(
        "padding and end token are both '<|im_end|>'",
        'set tokenizer.pad_token to another token',
        tokenizer=tokenizer,
    )


@pytest.mark.parametrize('column', ['family', 'seed'])
def test_data_without_the_columns_of_reset(column):
    refused(f"SupportDesk.reset needs ['{column}']", 'add the columns', rows=without(column))


def test_one_row_without_a_column_is_enough():
    refused("needs ['seed']", rows=scenarios(3) + without('seed')[3:])


@pytest.mark.parametrize(
    'options, parts',
    [
        (dict(rows=[]), ('rows is empty', 'give at least one')),
        (dict(batch_size=0), ('batch_size=0', 'at least 1')),
        (dict(max_turns=0), ('max_turns=0', 'at least 1')),
        (dict(max_tokens_per_turn=0), ('max_tokens=0', 'at least one')),
        (dict(temperature=-1.0), ('temperature=-1.0', 'positive')),
        (
            dict(prompt=lambda row: 'Help the customer.'),
            ('the prompt of row 0 is no list of messages', 'write it as'),
        ),
    ],
)
def test_settings_that_cannot_work(options, parts):
    refused(*parts, **options)
