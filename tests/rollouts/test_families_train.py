"Every family with tools goes the whole way on a tiny random model: rollout, rows, a step of SFT, an update of PPO"

import math

import pytest
from families import family_tokenizer
from peft import LoraConfig
from test_families import READ, Till

from rlops_lab.finetune.sft import sft
from rlops_lab.finetune.training_rows import to_dataset
from rlops_lab.models.load import load
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.local import HFSampler

LIMITS = dict(max_turns=2, max_tokens_per_turn=6, max_total_tokens=2048)
ROWS = [dict(prompt=[dict(role='user', content=f'Put in {i}. ')]) for i in range(4)]


def family_model(name):
    "The tiny model, with a row for each token of the family"
    model, _ = load('tiny')
    tokenizer = family_tokenizer(name)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id, model.config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


@pytest.mark.parametrize('name', READ)
def test_a_family_is_played_fine_tuned_and_trained(name, tmp_path):
    model, tokenizer = family_model(name)
    played = rollout(
        HFSampler(model, tokenizer), tokenizer, Till, ROWS, tools_in_prompt=True, progress=False, **LIMITS
    )
    assert all(t.n_turns for t in played)
    rows = to_dataset(played, tokenizer)
    model, metrics = sft(model, tokenizer, rows, tmp_path, max_steps=1, batch_size=4, progress=False)
    assert math.isfinite(metrics[0]['loss'])
    trainer = PPOTrainer(
        model,
        PPOConfig(num_updates=1, episodes_per_update=4, num_mini_batches=1, **LIMITS),
        Till,
        reward_funcs=lambda completions, **_: [float(i) for i, _ in enumerate(completions)],
        train_dataset=ROWS,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules=['q_proj', 'v_proj'], task_type='CAUSAL_LM'),
        rollout_options=dict(progress=False, tools_in_prompt=True),
    )
    record = trainer.step()
    assert record['optimizer_steps'] > 0 and record['first_ratio_error'] < 1e-4
