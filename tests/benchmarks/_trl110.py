"""TRL 1.10's own `PPOTrainer.train()` on a job that another process wrote; runs in the peer's environment
(`_peer.py`), which has no rlops_lab.

    python _trl110.py JOB.json

A job names folders and settings; see `trainer`. With `samples` the trainer gets these responses instead of
drawing some, and everything that it computes from them is written to `out` (a .safetensors file). With `limits`
it draws them, each to a length of its own, and seconds an update and the peak memory are printed as one line of
JSON. Nothing of TRL's is rewritten: functions that `train` calls are wrapped, and the wrappers only look, except
for `generate`."""

import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def trainer(job, callbacks=()):
    """PPOTrainer with policy, reference, critic and reward model from the job's folders;
    with `lora` the critic is a LoRA on a base of its own, TRL's leanest way"""
    options = dict(dtype=getattr(torch, job['dtype']), attn_implementation=job['attention'])
    tokenizer = AutoTokenizer.from_pretrained(job['base'], padding_side='left')
    policy = AutoModelForCausalLM.from_pretrained(job['policy'], **options)
    critic, reward = (
        AutoModelForSequenceClassification.from_pretrained(job[role], num_labels=1, **options)
        for role in ('critic', 'reward')
    )
    reference = (
        AutoModelForCausalLM.from_pretrained(job['base'], **options) if job['lora'] is None else None
    )  # with LoRA: the policy without its adapter
    if job['lora'] is not None:
        config = LoraConfig(task_type='CAUSAL_LM', **job['lora'])
        policy = get_peft_model(policy, config)
        critic = inject_adapter_in_model(config, critic)
        critic.score.requires_grad_(True)
    for role, model in (('policy', policy), ('critic', critic)):
        if file := job.get(f'{role}_weights'):
            found = model.load_state_dict(load_file(file), strict=False)
            assert not found.unexpected_keys, found.unexpected_keys
    for model in (policy, critic, reward):
        model.config.pad_token_id = tokenizer.pad_token_id
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    rows = Dataset.from_dict(dict(input_ids=job['prompts']))
    config = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        report_to='none',
        save_strategy='no',
        num_sample_generations=0,
        disable_tqdm=True,
        optim='adamw_torch',
        logging_steps=1,
        gradient_checkpointing=False,
        bf16=job['dtype'] == 'bfloat16',
        **job['config'],
    )
    return PPOTrainer(
        config,
        tokenizer,
        policy,
        reference,
        reward,
        rows,
        critic,
        eval_dataset=rows.select([0]),
        callbacks=list(callbacks),
    )


def given(responses, pad):
    """In place of `ppo_trainer.generate`: these responses {prompt:
    response}, with the logits of the policy that is to be trained"""

    def generate(model, queries, pad_token_id, config):
        rows = [responses[tuple(q[q != pad_token_id].tolist())] for q in queries]
        both = torch.cat(
            [queries, torch.tensor([r + [pad] * (config.max_new_tokens - len(r)) for r in rows])], 1
        )
        return both, ppo_trainer.forward(model, both, pad_token_id).logits[
            :, queries.shape[1] - 1 : -1
        ] / config.temperature

    return generate


def record(job):
    "One update on given samples, and what train() made of them"
    t, seen, tensors = trainer(job), defaultdict(list), {}
    originals = {
        name: getattr(ppo_trainer, name)
        for name in ('generate', 'get_reward', 'selective_log_softmax', 'masked_whiten', 'masked_mean')
    }

    def watch(name, keep):
        def watched(*args, **options):
            out = originals[name](*args, **options)
            seen[name].append(keep(out, *args))
            return out

        setattr(ppo_trainer, name, watched)

    ppo_trainer.generate = given(
        {tuple(p): r for p, r in zip(job['prompts'], job['samples'])}, t.processing_class.pad_token_id
    )
    watch('get_reward', lambda out, *a: (out[0].squeeze(-1), out[1], a[3], a[1]))
    watch('selective_log_softmax', lambda out, *a: out.detach().clone())
    watch('masked_whiten', lambda out, x, mask: (x.clone(), out * mask))
    watch('masked_mean', lambda out, *a: out.detach().clone())
    backward = t.accelerator.backward

    def look(loss, **options):
        seen['loss'].append(loss.detach().clone())
        backward(loss, **options)

    t.accelerator.backward = look
    named = {n: p for n, p in t.model.named_parameters() if p.requires_grad}

    def before_step(*_):
        seen['gradients'].append({n: p.grad.clone() for n, p in named.items() if p.grad is not None})

    t.optimizer.optimizer.register_step_pre_hook(before_step)
    try:
        t.train()
    finally:
        for name, f in originals.items():
            setattr(ppo_trainer, name, f)
    (values, _, context, ids), (_, scores, *_) = seen['get_reward']
    old, reference = seen['selective_log_softmax'][:2]
    errors, advantages = seen['masked_whiten'][0]
    tensors |= dict(
        ids=ids,
        old=old,
        reference=reference,
        values=values[:, context - 1 : -1],
        last=values[:, context:],
        scores=scores,
        errors=errors,
        advantages=advantages,
    )
    means = (
        torch.stack(seen['masked_mean']).view(-1)[-4 * len(seen['loss']) :].view(-1, 4)
    )  # of each micro-batch: value loss, its clipping, policy loss, its clipping
    value, policy, loss = 0.5 * means[:, 0], means[:, 2], torch.stack(seen['loss'])
    assert torch.allclose(policy + t.args.vf_coef * value, loss, atol=1e-6), (
        'these are not the two parts of the loss that TRL went back through'
    )
    steps = len(seen['gradients'])
    tensors |= dict(policy_loss=policy.view(steps, -1).mean(1), value_loss=value.view(steps, -1).mean(1))
    for i, gradients in enumerate(seen['gradients']):
        tensors |= {f'gradient.{i}.{n}': g for n, g in gradients.items()}
    tensors |= {f'weight.{n}': p.detach() for n, p in named.items()}
    save_file(
        {k: v.contiguous().clone() for k, v in tensors.items()},
        job['out'],
        metadata=dict(context=str(context)),
    )


class Stops(StoppingCriteria):
    "Ends each row at its own length; `eos_token_id` makes `generate` pad behind it"

    eos_token_id = None

    def __init__(self, limits, width):
        self.limits, self.width = torch.tensor(limits), width

    def __call__(self, input_ids, scores, **_):
        return input_ids.shape[1] - self.width >= self.limits


class Clock(TrainerCallback):
    "When updates end"

    def __init__(self):
        self.times = [time.perf_counter()]

    def on_train_begin(self, *_, **__):
        self.times = [time.perf_counter()]

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter())


def timed(job):
    "Several updates, each response drawn to its own length"
    clock = Clock()
    t = trainer(job, [clock])
    limits = {tuple(p): n for p, n in zip(job['prompts'], job['limits'])}
    generate, policy, seconds, tokens = t.policy_model.generate, t.policy_model, [], []

    def drawn(input_ids, **options):
        began = time.perf_counter()
        here = [limits[tuple(row.tolist())] for row in input_ids]
        out = generate(
            input_ids=input_ids,
            stopping_criteria=StoppingCriteriaList([Stops(here, input_ids.shape[1])]),
            **options,
        )
        seconds.append(time.perf_counter() - began)
        tokens.append(sum(here))
        return out

    policy.generate = drawn
    t.train()
    updates = [b - a for a, b in zip(clock.times, clock.times[1:])]
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path('/proc/self/status').read_text().splitlines()
        if line.startswith('VmHWM')
    )
    print(json.dumps(dict(seconds=updates, seconds_rollout=seconds, sampled=tokens, peak=peak)), flush=True)


if __name__ == '__main__':
    for path in sys.argv[1:]:
        job = json.loads(Path(path).read_text())
        (record if 'samples' in job else timed)(job)
