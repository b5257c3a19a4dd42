"""Does a reward function pay what `scores` says, and do its probabilities mean what they say on held-out rows?

    make bench BENCH=reward_model_calibration [ARGS="--splits 100"]

Graders are adapters on the two lowest layers of SmolLM2-135M. Rows are the 900 completions of the XSTest files
(`judge_coverage` names them), 300 letters each at most, labelled by people as full compliance or not, and scripted
episodes of the support desk, labelled by its KPI. Three cases:

- `xstest`: trained on half of the prompts, with the completions of both models;
- `another model`: trained on GPT-4's completions, of which half pass, and used on Llama 2's, of which a quarter do;
- `desk`: trained on half of 400 recorded episodes.

What was not trained on is divided by prompt, half to fit the calibration and half to report it, `--splits` times.
Beside Platt's scale and offset stand a temperature alone and the log-odds as they come. The bar is an ECE of at most
twice what true probabilities would show on the same rows.

Rewards are compared on the rows of `xstest` as texts, as messages and as rendered prompts, with endings as trainers
and data sets leave them, and on the desk's episodes as trajectories and as messages."""

import os

os.environ.update(OMP_NUM_THREADS='1')

import argparse
import csv
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _bench import machine
from peft import LoraConfig
from scipy.optimize import minimize_scalar

from rlops_lab.core import git_state
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.faults import mixed_agent
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.finetune.calibration import Platt, fit_platt, log_loss, sigmoid
from rlops_lab.finetune.grader_reports import reliability
from rlops_lab.finetune.reward_models import RewardModel
from rlops_lab.finetune.reward_training import classifier
from rlops_lab.finetune.verdict_data import reply_rows, split_by_case, verdict_rows
from rlops_lab.models.load import load
from rlops_lab.rewards.grading import split_messages
from rlops_lab.rollouts.encoding import rendered
from rlops_lab.rollouts.scripted import record_script

FOLDER = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data')) / 'xstest'
DEPTH = 2
MODULES = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']


def completions(model):
    "Prompts, replies and labels of one response model"
    with open(FOLDER / f'{model}_streval.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    labels = [row['final_label'] == '1_full_compliance' for row in rows]
    return [row['prompt'] for row in rows], [row['completion'][:300] for row in rows], labels


def trained(policy, rows, folder, **options):
    "A grader of the rows"
    config = LoraConfig(r=16, lora_alpha=32, target_modules=MODULES, layers_to_transform=list(range(DEPTH)))
    settings = dict(depth=DEPTH, epochs=3, learning_rate=8e-4, warmup=0.1, progress=False) | options
    classifier(*policy, rows, folder, peft_config=config, **settings)
    return RewardModel(*policy, [folder])


def temperature_alone(logits, labels):
    "The scale under which the labels are likeliest"

    def loss(log_temperature):
        return log_loss(logits / np.exp(log_temperature), labels).sum()

    return Platt(float(np.exp(minimize_scalar(loss, bounds=(-3, 4), method='bounded').x)))


WAYS = dict(
    as_it_comes=lambda logits, labels: Platt(), temperature=temperature_alone, scale_and_offset=fit_platt
)


def over_splits(logits, labels, cases, splits):
    "ECE on held-out rows, over that of true probabilities: by way of calibration, over divisions of the rows"
    found = {way: [] for way in WAYS}
    told = dict.fromkeys(WAYS, 0)
    for seed in range(splits):
        fit, held = split_by_case(cases, (0.5, 0.5), seed=seed)
        for way, fitted in WAYS.items():
            p = sigmoid(fitted(logits[fit], labels[fit])(logits[held]))
            report = reliability(p, labels[held], draws=100)
            found[way].append((report.ece.value, report.ece_if_true))
            told[way] += report.level.p < 0.01
    figures = dict(n_held=len(held), pass_share=round(float(labels.mean()), 3), splits=splits)
    for way, pairs in found.items():
        ece, chance = np.array(pairs).T
        ratio = ece / chance
        figures[way] = dict(
            ece=round(float(ece.mean()), 3),
            if_true=round(float(chance.mean()), 3),
            mean_ratio=round(float(ece.mean() / chance.mean()), 2),
            within_twice=round(float((ratio <= 2).mean()), 3),
            level_told=round(told[way] / splits, 3),
        )
    return figures


def doors(grader, prompts, replies, rows):
    "Largest difference between a reward and `scores`, over the forms of texts and messages"
    want = grader.scores(rows['input_ids'])['reward']
    tokenizer = grader.tokenizer
    asked = [[dict(role='user', content=prompt)] for prompt in prompts]
    opened = [rendered(tokenizer, messages, reply=True) for messages in asked]
    found = {}
    for ending in ('', '\n', ' \n\n', tokenizer.eos_token, f'{tokenizer.eos_token}\n'):
        texts = [reply + ending for reply in replies]
        messages = [[dict(role='assistant', content=text)] for text in texts]
        forms = dict(texts=(prompts, texts), messages=(asked, messages), rendered=(opened, texts))
        for name, form in forms.items():
            gap = np.abs(np.array(grader(*form)) - want).max()
            found[name] = max(found.get(name, 0.0), float(gap))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--splits', type=int, default=100)
    args = parser.parse_args()
    if not FOLDER.exists():
        parser.error(f'{FOLDER} is absent: put the XSTest files there, or set RLOPS_REAL_DATA')
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    began = time.process_time()
    policy = load('smollm2', torch.float32)
    tokenizer = policy[1]
    work = Path(tempfile.mkdtemp())
    by_model = {model: completions(model) for model in ('gpt4', 'llama2orig')}
    prompts, replies, labels = (sum(columns, []) for columns in zip(*by_model.values()))
    whole = reply_rows(prompts, replies, labels, tokenizer)
    labels = np.array(labels, float)
    figures, gaps = {}, {}

    train, rest = split_by_case(prompts, (0.5, 0.5))
    grader = trained(policy, whole.select(train), work / 'xstest')
    logits = grader.logits(whole.select(rest)['input_ids']).mean(0)
    figures['xstest'] = over_splits(logits, labels[rest], [prompts[i] for i in rest], args.splits)
    some = rest[:40]
    gaps |= doors(grader, [prompts[i] for i in some], [replies[i] for i in some], whole.select(some))
    print('xstest', figures['xstest'], gaps, flush=True)

    other = trained(policy, whole.select(range(450)), work / 'gpt4')
    logits = other.logits(whole.select(range(450, 900))['input_ids']).mean(0)
    figures['another_model'] = over_splits(logits, labels[450:], prompts[450:], args.splits)
    print('another model', figures['another_model'], flush=True)

    episodes = record_script(mixed_agent(0.5), SupportDesk, scenarios(400, 'train', 'calibrated'), tokenizer)
    rows = verdict_rows(episodes, tokenizer)
    cases = [t.task['seed'] for t in episodes]
    train, rest = split_by_case(cases, (0.5, 0.5))
    desk = trained(policy, rows.select(train), work / 'desk')
    kept = rows.select(rest)
    logits = desk.logits(kept['input_ids']).mean(0)
    figures['desk'] = over_splits(logits, np.array(kept['label']), [cases[i] for i in rest], args.splits)
    want = desk.scores(kept['input_ids'])['reward']
    of_rest = [episodes[i] for i in rest]
    pairs = [split_messages(t) for t in of_rest]
    by_messages = desk(*zip(*pairs), tools=[t.tools for t in of_rest])
    for name, rewards in (
        ('trajectories', desk(None, None, trajectories=of_rest)),
        ('conversations', by_messages),
    ):
        gaps[name] = float(np.abs(np.array(rewards) - want).max())
    print('desk', figures['desk'], gaps, flush=True)

    lengths = {}
    train, rest = split_by_case(prompts, (0.5, 0.5))
    kept = whole.select(rest)
    for epochs in (0.1, 0.5, 3):
        folder = work / f'epochs {epochs}'
        grader = RewardModel(*policy, [work / 'xstest']) if epochs == 3 else None
        grader = grader or trained(policy, whole.select(train), folder, epochs=epochs, learning_rate=2e-4)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            grader.fit(kept['input_ids'], kept['label'])
        said = any('too short' in str(warning.message) for warning in caught)
        p = grader.scores(kept['input_ids'])['probability']
        lengths[str(epochs)] = dict(said=said, auroc=round(reliability(p, kept['label']).auroc.value, 3))
    print('training length', lengths, flush=True)
    figures |= dict(
        gaps=gaps, training_length=lengths, processor_seconds=round(time.process_time() - began)
    )
    ratios = [figures[case]['scale_and_offset']['mean_ratio'] for case in ('xstest', 'another_model', 'desk')]
    commit, dirty = git_state()
    print(
        json.dumps(
            dict(
                name='reward_model_calibration',
                figures=figures,
                goal='rewards equal to `scores` to 1e-3; ECE at most twice that of true probabilities',
                holds=bool(max(gaps.values()) < 1e-3 and max(ratios) <= 2),
                machine=machine(),
                commit=commit + ('+' if dirty else ''),
            )
        )
    )


if __name__ == '__main__':
    main()
