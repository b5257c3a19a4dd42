"One step of TRL's GRPO on an environment, as tests of several environments train it."

import pytest


def one_step(folder):
    "TRL's settings for one step on a CPU, with two answers to a prompt"
    trl = pytest.importorskip('trl')
    return trl.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to='none',
        save_strategy='no',
        disable_tqdm=True,
        max_steps=1,
        num_generations=2,
        per_device_train_batch_size=2,
        max_completion_length=8,
    )


def train_a_step(factory, rows, folder):
    "The trainer, after one step on two rows with an empty prompt"
    trl = pytest.importorskip('trl')
    from datasets import Dataset

    from rlops_lab.models.load import load

    model, tokenizer = load('tiny')
    rows = [dict(row, prompt=[dict(role='user', content='')]) for row in rows]
    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=one_step(folder),
        train_dataset=Dataset.from_list(rows),
        environment_factory=factory,
    )
    trainer.train()
    return trainer
