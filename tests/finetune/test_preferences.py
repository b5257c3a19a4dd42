"Preferences: DPO and KTO are their formulas, on the policy's own tokens"

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from datasets import Dataset
from finetuning import lora, pair_rows, tiny, tokenizer
from peft import LoraConfig

from rlops_lab.finetune.preferences import _kto_collator, kto, preference
from rlops_lab.rollouts.encoding import encoded, rendered

pytestmark = pytest.mark.filterwarnings('ignore')


def log_probability(model, prompt, completion, mask=None):
    "Of the completion's tokens behind the prompt, those of the mask"
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.log_softmax(-1)[torch.arange(len(completion)), torch.tensor(completion)]
    return (chosen if mask is None else chosen * torch.tensor(mask)).sum().item()


def test_preference_begins_at_log_2_and_moves_the_margin(tmp_path):
    options = dict(peft_config=lora(), epochs=3, batch_size=8, learning_rate=1e-2)
    _, log = preference(tiny(), tokenizer, pair_rows(), tmp_path, **options)
    assert log[0]['loss'] == pytest.approx(math.log(2), abs=1e-5)
    assert log[-1]['rewards/margins'] > 0


def test_preference_learns_nothing_from_tools(tmp_path):
    mask = [1] * 3 + [0] * 4

    def other_answers(row):
        first_turn = row['chosen_ids'][:3]
        chosen, rejected = first_turn + [20] * 4, first_turn + [30] * 4
        return dict(chosen_ids=chosen, chosen_mask=mask, rejected_ids=rejected, rejected_mask=mask)

    data = pair_rows(same_actions=True).map(other_answers)
    options = dict(peft_config=lora(), epochs=2, batch_size=8, learning_rate=1e-2)
    _, log = preference(tiny(), tokenizer, data, tmp_path, **options)
    assert [entry['loss'] for entry in log] == pytest.approx([math.log(2)] * 2, abs=1e-5)


def test_preference_needs_masks_and_adapters(tmp_path):
    with pytest.raises(ValueError, match='chosen_mask'):
        preference(tiny(), tokenizer, pair_rows().remove_columns('chosen_mask'), tmp_path, peft_config=lora())
    with pytest.raises(ValueError, match='peft_config'):
        preference(tiny(), tokenizer, pair_rows(), tmp_path, peft_config=None)


def test_pairs_in_micro_batches_and_in_another_state_of_the_generator(tmp_path):
    def losses(state, micro):
        torch.manual_seed(state)
        options = dict(batch_size=4, epochs=2, micro_batch_size=micro, learning_rate=1e-2)
        _, log = preference(tiny(), tokenizer, pair_rows(), tmp_path, peft_config=lora(), **options)
        return [entry['loss'] for entry in log]

    assert losses(1, None) == losses(2, None) == pytest.approx(losses(3, 2), rel=1e-3)


def test_dpo_is_the_formula(tmp_path):
    "The second step's loss from log-probabilities of the policy's tokens, by hand"
    data, start, beta = pair_rows(4), tiny(), 0.3

    def trained(**how):
        options = dict(beta=beta, batch_size=4, learning_rate=1e-2, warmup=0, schedule='constant')
        return preference(tiny(), tokenizer, data, tmp_path, peft_config=lora(), **options, **how)

    one, log = trained(max_steps=1)[0], trained(epochs=2)[1]

    def gain(row, side):
        "How much likelier the first step has made an episode"
        episode = row['prompt_ids'], row[f'{side}_ids'], row[f'{side}_mask']
        return log_probability(one, *episode) - log_probability(start, *episode)

    margins = [beta * (gain(row, 'chosen') - gain(row, 'rejected')) for row in data]
    assert log[1]['loss'] == pytest.approx(np.mean([np.logaddexp(0, -margin) for margin in margins]), rel=1e-4)
    assert log[1]['loss'] < 0.69


def test_trl_itself_takes_our_pairs_and_verdicts(tmp_path):
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    def reply(text):
        return [dict(role='assistant', content=text)]

    prompt = [dict(role='user', content='hello')]
    ours = dict(prompt_ids=[1], chosen_ids=[2], chosen_mask=[1], rejected_ids=[3], rejected_mask=[1])
    pair = dict(prompt=prompt, chosen=reply('yes'), rejected=reply('no'), margin=1.0, group='a') | ours
    accepted = dict(prompt=prompt, completion=reply('yes'), label=True)
    rejected = dict(prompt=prompt, completion=reply('no'), label=False)
    common = dict(
        per_device_train_batch_size=2,
        max_steps=1,
        report_to='none',
        use_cpu=True,
        bf16=False,
        save_strategy='no',
        disable_tqdm=True,
    )
    for trainer, config, rows in (
        (DPOTrainer, DPOConfig, [pair] * 2),
        (KTOTrainer, KTOConfig, [accepted, rejected] * 2),
    ):
        run = trainer(
            tiny(),
            args=config(str(tmp_path), **common),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora(),
        )
        assert math.isfinite(run.train().training_loss)


def verdict_data(texts, labels):
    "Replies to one question, each with a verdict"
    question = [dict(role='user', content='Hello?')]
    prompt = encoded(tokenizer, rendered(tokenizer, question, reply=True))
    rows = []
    for text, label in zip(texts, labels):
        ids = encoded(tokenizer, text) + [tokenizer.eos_token_id]
        rows.append(dict(prompt_ids=prompt, completion_ids=ids, completion_mask=[1] * len(ids), label=label))
    return Dataset.from_list(rows)


def small_lora():
    return LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj'])


def test_collator_without_masks_is_trls():
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    rows = [
        dict(prompt_ids=[5, 6], completion_ids=[7, 8, 9], completion_mask=[1] * 3, label=True),
        dict(prompt_ids=[4], completion_ids=[3], completion_mask=[1], label=False),
    ]
    neighbours = rows[-1:] + rows[:-1]
    with_neighbours = [
        row | dict(KL_completion_ids=other['completion_ids']) for row, other in zip(rows, neighbours)
    ]
    ours = _kto_collator(0)(rows)
    theirs = DataCollatorForUnpairedPreference(pad_token_id=0)(with_neighbours)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_rarer_verdict_weighs_more(tmp_path):
    labels = [bool(i % 4) for i in range(8)]
    rows = verdict_data(['Done.' if label else 'No.' for label in labels], labels)
    _, log = kto(tiny(), tokenizer, rows, tmp_path, peft_config=small_lora(), batch_size=8, learning_rate=1e-3)
    # two rejected of eight: each weighs three times as much
    assert log[0]['loss'] == pytest.approx(0.5 * (6 * 1 + 2 * 3) / 8, abs=1e-4)
    assert math.isfinite(log[0]['grad_norm'])


def test_kto_needs_adapters_columns_and_a_full_batch(tmp_path):
    rows = verdict_data(['Done.', 'No.'], [True, False])
    with pytest.raises(ValueError, match='needs a peft_config'):
        kto(tiny(), tokenizer, rows, tmp_path, peft_config=None)
    with pytest.raises(ValueError, match='make it with kto_rows'):
        kto(tiny(), tokenizer, Dataset.from_list([dict(a=1)]), tmp_path, peft_config=small_lora())
    with pytest.raises(ValueError, match='2 rows do not fill a batch of 16'):
        kto(tiny(), tokenizer, rows, tmp_path, peft_config=small_lora())


def test_the_second_loss_of_kto_is_the_formula(tmp_path):
    "Log-probabilities of the policy's tokens, and the KL of prompts with their neighbours' completions, by hand"
    rows = verdict_data(['Done.', 'No.', 'Please wait.', 'Yes, it is.'], [True, False, False, True])
    start, beta = tiny(), 0.3
    options = dict(batch_size=4, beta=beta, learning_rate=1e-2, warmup=0, schedule='constant')
    one = kto(tiny(), tokenizer, rows, tmp_path, peft_config=small_lora(), max_steps=1, **options)[0]
    _, log = kto(tiny(), tokenizer, rows, tmp_path, peft_config=small_lora(), epochs=2, **options)

    def moved(row):
        episode = row['prompt_ids'], row['completion_ids']
        return log_probability(one, *episode) - log_probability(start, *episode)

    # all prompts are the same, so whichever neighbour a row gets, the mean is that of all completions
    kl = max(0.0, sum(moved(row) for row in rows) / 4)
    gains = [moved(row) - kl if row['label'] else kl - moved(row) for row in rows]
    loss = sum(1 - 1 / (1 + math.exp(-beta * gain)) for gain in gains) / 4
    assert log[1]['loss'] == pytest.approx(loss, rel=1e-3)
    assert abs(loss - 0.5) > 1e-3
