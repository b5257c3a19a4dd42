"""A model that brings its own tool syntax learns as well as one with ours.

    make bench BENCH=bring [ARGS="--seeds 5"]

Two tiny random models, alike but for the chat template: ours, with calls as `put(amount=3)`, and one in the manner of
Hermes, with JSON between `<tool_call>` tags. The task is to put in the amount that was asked for, of four. Two ways:

- SFT: right episodes, 30 epochs; then the share of right calls, greedily.
- PPO: SFT on episodes of which half are right, so that both policies write calls and read the question, and guess;
  then 48 updates.

Amounts at random would leave to chance which policy reads the question when PPO begins: amounts and questions of a
hundred rows correlate by accident, which our model learns, whose amount is one token of 10, and the Hermes model does
not, where it is one of 39. A policy that ignores the question is on a plateau, and how long PPO takes to leave it
measures neither syntax. With half of the amounts right both begin at the same share.

Every seed trains both models with the same settings. The figure is the paired difference in the share of right
episodes of the last quarter of updates (PPO), or of 64 greedy episodes (SFT), ours less Hermes."""

import argparse
import json
import random
import statistics
import tempfile
import warnings

from _machine import processor

HERMES = """\
{%- if tools %}{{- '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}
{%- for call in m.tool_calls or [] %}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- '}</tool_call>' }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
AMOUNTS = (1, 2, 3, 4)


class Till:
    "A till that wants one amount"

    tools_in_prompt = False  # the schemas cost 200 tokens, and both learn the call from what they are shown to write

    def reset(self, wanted: int, **_) -> str:
        self.wanted, self.right, self.done = wanted, False, False
        return f'Put in {wanted}.'

    def put(self, amount: int) -> str:
        """Put money in.

        Args:
            amount: How much.
        """
        self.right, self.done = amount == self.wanted, True
        return 'in'

    def get_reward(self) -> float:
        return float(self.right)


def model_of(syntax, seed):
    "A tiny random model, and a tokenizer with one of the two templates"
    import torch
    from rlops_lab.models.load import tiny

    model, tokenizer = tiny(seed)
    tags = ['<tool_call>', '</tool_call>']
    torch.manual_seed(seed)  # of the new rows
    tokenizer.add_tokens(tags)  # in both, so that the models are the same
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for weight in model.parameters():
        if weight.dim() == 2:
            weight.data.mul_(4)  # as small as they are drawn, so narrow a model takes long to look anywhere
    if syntax == 'hermes':
        tokenizer.chat_template, tokenizer.response_template = HERMES, None
    return model, tokenizer


def written(syntax, amount):
    if syntax == 'ours':
        return f'put(amount={amount})'
    return f'<tool_call>{{"name": "put", "arguments": {{"amount": {amount}}}}}</tool_call>'


class FakeExpert:
    "Writes what it is told for each row"

    context = 4096

    def __init__(self, tokenizer, replies):
        self.tokenizer, self.replies = tokenizer, replies

    def sample(self, prompts, params, keys):
        from rlops_lab.core import Usage
        from rlops_lab.samplers.sampling import Completion

        encoded = [self.tokenizer(self.replies[key[1]] + '<|im_end|>')['input_ids'] for key in keys]
        return [Completion(ids, [-0.1] * len(ids), 'stop', Usage(len(ids), 0, 0, 0.0, 1)) for ids in encoded]


LIMITS = dict(max_turns=1, max_tokens_per_turn=64, max_total_tokens=256)


def rows(n):
    return [dict(wanted=AMOUNTS[i % 4], prompt=[dict(role='user', content='')]) for i in range(n)]


def fine_tuned(syntax, seed, amounts, epochs):
    "A model that was fine-tuned on episodes with these amounts"
    from rlops_lab.finetune.sft import sft
    from rlops_lab.finetune.training_rows import to_dataset
    from rlops_lab.rollouts.engine import rollout

    model, tokenizer = model_of(syntax, seed)
    asked = rows(len(amounts))
    expert = FakeExpert(tokenizer, [written(syntax, amount) for amount in amounts])
    played = rollout(expert, tokenizer, Till, asked, progress=False, **LIMITS)
    dataset = to_dataset(played, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(epochs=epochs, learning_rate=3e-3, batch_size=16, seed=seed, progress=False)
        model, _ = sft(model, tokenizer, dataset, folder, **settings)
    return model.eval(), tokenizer


def half_right(seed, n=256):
    "Amounts for rows, half of them as asked, the others one of the three wrong ones"
    draw = random.Random(seed)

    def amount(right):
        wrong = [a for a in AMOUNTS if a != right]
        return right if draw.random() < 0.5 else draw.choice(wrong)

    return [amount(row['wanted']) for row in rows(n)]


def by_sft(syntax, seed):
    from rlops_lab.rollouts.engine import rollout
    from rlops_lab.samplers.local import HFSampler

    amounts = [AMOUNTS[i % 4] for i in range(128)]
    model, tokenizer = fine_tuned(syntax, seed, amounts, 30)
    sampler = HFSampler(model, tokenizer)
    played = rollout(sampler, tokenizer, Till, rows(64), temperature=0.0, progress=False, **LIMITS)
    return statistics.mean(t.reward for t in played)


def by_ppo(syntax, seed, updates):
    "Share of right episodes in the first update, and in the last quarter"
    from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer

    model, tokenizer = fine_tuned(syntax, seed, half_right(seed), 30)
    args = PPOConfig(
        num_updates=updates,
        episodes_per_update=64,
        num_mini_batches=2,
        num_ppo_epochs=2,
        learning_rate=3e-4,
        lr_scheduler_type='linear',
        critic='head',
        critic_learning_rate=1e-3,
        kl_coef=0.05,
        seed=seed,
        truncation='terminal',
        **LIMITS,
    )
    trainer = PPOTrainer(
        model,
        args,
        Till,
        train_dataset=rows(64),
        processing_class=tokenizer,
        rollout_options=dict(progress=False),
    )
    rewards = [trainer.step()['reward'] for _ in range(updates)]
    return rewards[0], statistics.mean(rewards[-updates // 4 :])


def interval(differences):
    "Mean and half the width of its 95% t interval"
    from scipy import stats

    n = len(differences)
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(differences) / n**0.5 if n > 1 else float('nan')
    return statistics.mean(differences), half


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--updates', type=int, default=48)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    from rlops_lab.core import git_state

    found = {way: {syntax: [] for syntax in ('ours', 'hermes')} for way in ('sft', 'ppo', 'first')}
    for seed in range(args.seeds):
        for syntax in ('ours', 'hermes'):
            first, last = by_ppo(syntax, seed, args.updates)
            found['first'][syntax].append(first)
            found['ppo'][syntax].append(last)
            found['sft'][syntax].append(by_sft(syntax, seed))
            right = found['sft'][syntax][-1]
            print(f'seed {seed} {syntax:7} SFT {right:.2f}, PPO {first:.2f} to {last:.2f}', flush=True)
    figures = dict(n=args.seeds, updates=args.updates)
    for way in ('sft', 'ppo'):
        ours, hermes = found[way].values()
        mean, half = interval([a - b for a, b in zip(ours, hermes)])
        figures |= {
            f'{way}_ours': round(statistics.mean(ours), 3),
            f'{way}_hermes': round(statistics.mean(hermes), 3),
            f'{way}_difference': [round(mean, 3), round(half, 3)],
        }
    within = all(abs(figures[f'{way}_difference'][0]) < 0.1 for way in ('sft', 'ppo'))
    learns = min(figures['ppo_hermes'], figures['sft_hermes'], figures['ppo_ours'], figures['sft_ours']) > 0.8
    print(
        json.dumps(
            dict(
                name='bring',
                figures=figures,
                goal='both learn (over 0.8), and within 0.1 of each other, by SFT and by PPO',
                holds=within and learns if args.seeds >= 5 else None,
                machine=processor(),
                commit=git_state()[0],
            )
        )
    )


if __name__ == '__main__':
    main()
