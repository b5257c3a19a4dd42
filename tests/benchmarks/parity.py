"""One PPO update by TRL 1.10's PPOTrainer and by ours: do they compute the same?

Both start from the same weights, samples and settings, in float32.

    make bench BENCH=parity

TRL's side is its own `train()` with `num_mini_batches=1`, in its own environment (`_peer.py`, `_trl110.py`); ours
is `PPOTrainer.score`, `update.compute_advantages` and `PPOTrainer.optimize`. A tiny Llama answers prompts of different
lengths; some answers end early, one is cut at the limit. Compared are log-probabilities, reference, values,
scores, advantages (whitened and not), and for each of three epochs both losses and the gradient of every trained
tensor. A case with LoRA has all four roles: policy adapter, critic adapter, reference without adapter, reward
model. A case without trains all weights.

What differs on purpose, why, and how it is set to their convention here:

- TRL 1.10: the critic is trained on one state past the end, where the score is paid (`padding_mask_p1`); ours:
  states before actions only; the score is paid on the last action; why ours: after the end there is nothing to
  expect: a value there is noise that λ<1 carries back; set equal by: a filler action behind each answer that
  leaves room for it: its value counts, its policy weight and its KL are 0
- TRL 1.10: advantages are whitened with n-1 in the variance, n without the extra state; ours: with n; why ours:
  it is a scale, not an estimate; n=1 divides by 0 there; set equal by: the factor √((n-1)/n)
- TRL 1.10: a cut answer ends like a finished one; ours: V(s_T) follows it; why ours: a limit of ours is no
  outcome of the task; set equal by: `truncation='terminal'`
- TRL 1.10: the sampler's probabilities are the old policy's; ours: recomputed, with importance weights; why ours:
  a sampler rounds otherwise than a trainer; set equal by: weights 1; the samples are given
- TRL 1.10: no gradient clipping (`max_grad_norm` is never read); ours: each of policy and critic is clipped to
  norm 1; why ours: one odd batch must not undo a run; set equal by: `max_grad_norm=1e9`
- TRL 1.10: Adam's ε is 1e-8; ours: 1e-5, as in the papers' code; why ours: early moments near 0 make steps of
  full size out of noise; set equal by: `adam_epsilon=1e-8`
- TRL 1.10: one learning rate, the value loss times 0.1, values clipped at 0.2; ours: two learning rates, times 1,
  not clipped; why ours: the critic has to be ahead of the policy; set equal by: `critic_learning_rate`,
  `vf_coef`, `cliprange_value`
- TRL 1.10: the critic is a second backbone, its head has no bias; ours: a LoRA, or a head on the policy's states;
  with bias; why ours: a second backbone is a second model in memory; set equal by: both start from the same base;
  the bias is frozen. Without LoRA our head leaves the trunk alone, so only the first gradients of policy and head
  compare
- TRL 1.10: means over tokens are taken in each micro-batch, then over micro-batches; ours: over all tokens of the
  step; why ours: how memory is cut up must not change the objective; set equal by: one micro-batch; what several
  change is measured below
- TRL 1.10: temperature+1e-7; ours: temperature; why ours: nobody divides by 0 here: the configuration refuses it;
  set equal by: too small to be seen
- TRL 1.10: whitening by process; ours: over all processes' tokens; why ours: one batch, one scale; set equal by:
  one process"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file, safe_open, save_file
from transformers import AutoModelForSequenceClassification

from rlops_lab.core import Trajectory, git_state, rng
from rlops_lab.models.load import tiny
from rlops_lab.ppo.advantages import whiten
from rlops_lab.ppo.update import compute_advantages
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer

sys.path.insert(0, str(Path(__file__).parent))
from _bench import machine
from _peer import python_of_peer

EPISODES, LIMIT, EPOCHS = 8, 12, 3
LORA = dict(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj', 'down_proj'])
SHARED = dict(
    temperature=0.7, kl_coef=0.05, cliprange_value=0.2, vf_coef=0.1, gamma=1.0, lam=0.95, learning_rate=3e-3
)


def samples(tokenizer):
    "Prompts of 5 to 12 tokens, and answers: all but the first end before the limit"
    r, words = (
        rng(0, 'parity'),
        [i for i in range(len(tokenizer)) if i not in (tokenizer.pad_token_id, tokenizer.eos_token_id)],
    )
    draw = lambda n: r.choice(words, n).tolist()
    return [draw(5 + i) for i in range(EPISODES)], [draw(LIMIT)] + [
        draw(int(n)) + [tokenizer.eos_token_id] for n in r.integers(2, LIMIT - 1, EPISODES - 1)
    ]


def ours(lora):
    "Our trainer on a tiny model, with weights that make every part of the loss count"
    model, tokenizer = tiny()
    args = PPOConfig(
        num_ppo_epochs=1,
        num_mini_batches=1,
        episodes_per_update=EPISODES,
        micro_batch_tokens=4096,
        critic='adapter' if lora else 'head',
        truncation='terminal',
        whiten_advantages=False,
        adam_epsilon=1e-8,
        max_grad_norm=1e9,
        clip_range=0.2,
        critic_learning_rate=SHARED['learning_rate'],
        **SHARED,
    )
    trainer = PPOTrainer(
        model,
        args,
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type='CAUSAL_LM', **LORA) if lora else None,
    )
    with torch.no_grad():
        torch.manual_seed(1)
        for name, p in trainer.backbone.model.named_parameters():
            if 'lora_B' in name:
                p.normal_(0, 0.1)
            elif not lora:
                p.add_(torch.randn_like(p) * 0.01)
        trainer.backbone.value_head.weight.normal_(0, 0.1)
    trainer.backbone.value_head.bias.requires_grad_(False)
    return trainer


def folders(trainer, path, lora):
    "What TRL loads: base, policy, critic and reward model, and the files of both adapters"
    b, tokenizer = trainer.backbone, trainer.tokenizer
    base, _ = tiny()
    base.save_pretrained(path / 'base')
    tokenizer.save_pretrained(path / 'base')
    torch.manual_seed(2)
    reward = AutoModelForSequenceClassification.from_pretrained(
        path / 'base', num_labels=1, dtype=torch.float32
    )
    with torch.no_grad():
        reward.score.weight.normal_(0, 0.3)
    reward.config.pad_token_id = tokenizer.pad_token_id
    reward.save_pretrained(path / 'reward')
    where, score = (
        dict(base='base', policy='base', critic='reward', reward='reward'),
        {'score.weight': b.value_head.weight.detach().clone()},
    )
    if lora:
        found = {
            n.replace('.policy.', '.default.'): p.detach()
            for n, p in b.model.named_parameters()
            if '.policy.' in n
        }
        save_file({n: p.clone() for n, p in found.items()}, path / 'policy.safetensors')
        score |= {
            n.removeprefix('base_model.model.').replace('.critic.', '.default.'): p.detach().clone()
            for n, p in b.model.named_parameters()
            if '.critic.' in n
        }
    else:
        b.model.save_pretrained(path / 'policy')
        where['policy'] = 'policy'
        save_file({n: p.detach().clone() for n, p in b.model.named_parameters()}, path / 'policy.safetensors')
        score |= {n: p.detach().clone() for n, p in b.model.named_parameters() if n.startswith('model.')}
    save_file(score, path / 'critic.safetensors')
    return {k: str(path / v) for k, v in where.items()} | {
        f'{r}_weights': str(path / f'{r}.safetensors') for r in ('policy', 'critic')
    }, reward.eval()


def job(path, where, prompts, answers, lora, out, micro=EPISODES, epochs=EPOCHS):
    "Write a job for `_trl110.py`"
    config = dict(
        num_mini_batches=1,
        num_ppo_epochs=epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=EPISODES // micro,
        total_episodes=EPISODES,
        response_length=LIMIT,
        stop_token='eos',
        cliprange=0.2,
        weight_decay=0.0,
        **SHARED,
    )
    file = path / f'{out}.json'
    file.write_text(
        json.dumps(
            dict(
                where,
                dtype='float32',
                attention='eager',
                lora=LORA if lora else None,
                prompts=prompts,
                samples=answers,
                config=config,
                out=str(path / f'{out}.safetensors'),
            )
        )
    )
    return file


def update(trainer, prompts, answers, reward, epochs):
    "The update by our public functions: tensors under TRL's conventions"
    pad, end = trainer.tokenizer.pad_token_id, trainer.tokenizer.eos_token_id
    with torch.no_grad():
        scores = [reward(input_ids=torch.tensor([p + a])).logits.item() for p, a in zip(prompts, answers)]

    def trajectory(p, a, score):
        a = a + [pad] * (len(a) < LIMIT)  # the filler action
        n = len(a)
        return Trajectory(
            {},
            [],
            p + a,
            [0] * len(p) + [1] * n,
            [0.0] * (len(p) + n),
            [-1] * len(p) + [0] * n,
            [score],
            truncated=end not in a,
        )

    episodes = [trajectory(*x) for x in zip(prompts, answers, scores)]
    plan = trainer.plan(episodes, list(range(EPISODES)))
    scored = trainer.score(episodes, plan)
    real = torch.arange(scored.old_logprobs.shape[1]) < torch.tensor([len(a) for a in answers])[:, None]
    scored.ref_logprobs = torch.where(real, scored.ref_logprobs, scored.old_logprobs)  # the filler costs no KL
    s = compute_advantages(episodes, scored, trainer.args)
    n = int(real.sum())
    s.advantages = whiten(s.raw_advantages, real) * ((n - 1) / n) ** 0.5
    s.weights = s.keep = real.float()
    out = dict(old=s.old_logprobs, reference=s.ref_logprobs, values=s.values, errors=s.raw_advantages)
    out |= dict(advantages=s.advantages, real=real, mask=s.mask, scores=torch.tensor(scores))
    named = [
        *trainer.backbone.model.named_parameters(),
        *(('value_head.' + n, p) for n, p in trainer.backbone.value_head.named_parameters()),
    ]
    gradients, losses, clipped = [], [], 0
    hook = trainer.optimizer.register_step_pre_hook(
        lambda *_: gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
    )
    for _ in range(epochs):
        log = trainer.optimize(plan, s)
        losses.append((log.policy_loss, log.value_loss))
        clipped += int(log.clip)
    hook.remove()
    return out | dict(
        clipped=clipped,
        losses=torch.tensor(losses),
        gradients=gradients,
        named={n: p.detach() for n, p in named},
    )


def theirs_named(name, lora):
    "Our name of a tensor of TRL's `PolicyAndValueWrapper`; '' for what has no counterpart"
    if name == 'value_model.score.weight':
        return 'value_head.weight'
    if name.startswith('policy.'):
        return name.removeprefix('policy.').replace('.default.', '.policy.')
    return (
        'base_model.model.' + name.removeprefix('value_model.').replace('.default.', '.critic.')
        if lora
        else ''
    )


def relative(a, b):
    return ((a - b).norm() / b.norm().clamp(min=1e-12)).item()


def compare(a, path, lora, prompts):
    """Largest differences between our update and TRL's file:
    absolute for numbers a token, relative to the norm for gradients"""
    b, found = load_file(path), {}
    with safe_open(path, 'pt') as f:
        context = int(f.metadata()['context'])
    pad = tiny()[1].pad_token_id
    row = {
        tuple(ids[:context][ids[:context] != pad].tolist()): i for i, ids in enumerate(b['ids'])
    }  # TRL shuffles rows
    at = [row[tuple(p)] for p in prompts]
    width = a['mask'].shape[1]
    for name, mask in dict(
        old=a['real'], reference=a['real'], errors=a['mask'], advantages=a['real'], values=a['mask']
    ).items():
        found[name] = ((a[name] - b[name][at, :width]) * mask).abs().max().item()
    found['scores'] = (a['scores'] - b['scores'][at]).abs().max().item()
    theirs = torch.stack([b['policy_loss'], b['value_loss']], 1)
    epochs = len(a['gradients']) if lora else 1
    found['losses'] = (a['losses'][:epochs] - theirs[:epochs]).abs().max().item()
    named = {
        theirs_named(n.partition('.')[2].partition('.')[2], lora): n for n in b if n.startswith('gradient.0.')
    }
    common = {ours: n.removeprefix('gradient.0.') for ours, n in named.items() if ours}
    if missing := set(a['gradients'][0]) ^ set(common):
        raise AssertionError(f'gradients without a counterpart: {sorted(missing)[:3]}')
    for i in range(epochs):
        found[f'gradients_epoch_{i + 1}'] = max(
            relative(a['gradients'][i][ours], b[f'gradient.{i}.{n}']) for ours, n in common.items()
        )
    if lora:
        found['weights_after'] = max(
            (a['named'][ours] - b[f'weight.{n}']).abs().max().item() for ours, n in common.items()
        )
    return found


def case(folder, python, lora):
    "Both sides of a case, and what more than one micro-batch changes"
    folder = Path(folder)
    folder.mkdir(parents=True)
    trainer = ours(lora)
    prompts, answers = samples(trainer.tokenizer)
    where, reward = folders(trainer, folder, lora)
    epochs = EPOCHS if lora else 1
    jobs = [
        job(folder, where, prompts, answers, lora, 'whole', epochs=epochs),
        job(folder, where, prompts, answers, lora, 'parts', micro=2, epochs=epochs),
    ]
    done = subprocess.run(
        [python, Path(__file__).parent / '_trl110.py', *jobs], capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        raise RuntimeError(f'TRL failed: {done.stderr[-2000:]}')
    a = update(trainer, prompts, answers, reward, epochs)
    small = ours(lora)
    small.args.micro_batch_tokens = 24
    parts = update(small, prompts, answers, reward, 1)
    whole, split = (load_file(folder / f'{name}.safetensors') for name in ('whole', 'parts'))

    def apart(a, b, names):
        return relative(*(torch.cat([x[n].flatten() for n in names]) for x in (a, b)))

    found = compare(a, folder / 'whole.safetensors', lora, prompts)
    return dict(
        found,
        value_std=a['values'][a['mask']].std().item(),
        tensors=len(a['gradients'][0]),
        clipped_tokens=a['clipped'],
        theirs_in_micro_batches=apart(split, whole, [n for n in whole if n.startswith('gradient.0.')]),
        ours_in_micro_batches=apart(parts['gradients'][0], a['gradients'][0], list(a['gradients'][0])),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', nargs='+', default=['lora', 'full'], choices=('lora', 'full'))
    args = parser.parse_args()
    python = python_of_peer()
    with tempfile.TemporaryDirectory() as folder:
        figures = {name: case(Path(folder) / name, python, name == 'lora') for name in args.cases}
    aside = ('value_std', 'tensors', 'clipped_tokens', 'theirs_in_micro_batches')
    worst = 0.0
    for found in figures.values():
        worst = max(worst, *(x for name, x in found.items() if name not in aside))
    for name, found in figures.items():
        print(
            f'{name}: '
            + ', '.join(f'{k} {x:.1e}' if isinstance(x, float) else f'{k} {x}' for k, x in found.items())
        )
    print(
        json.dumps(
            dict(
                name='parity',
                figures=dict(worst=worst, **figures),
                goal='<=1e-4',
                holds=worst <= 1e-4,
                machine=machine(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
