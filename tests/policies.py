"A tiny policy, its episodes and trainers of it, for tests of backbone, trainer, processes and widgets"

import copy
import json

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from rlops_lab.core import Trajectory, rng
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.load import load
from rlops_lab.models.lora import fingerprint
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.trainer import PPOTrainer

torch.set_num_threads(1)
SHAPE = dict(
    vocab_size=16,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)


def tiny(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, initializer_range=0.1)).to(dtype)


def lora(**changes):
    return LoraConfig(**(dict(r=4, lora_alpha=8, target_modules='all-linear') | changes))


def shaken(backbone, seed=1, size=0.05):
    "Adapters away from their start, where the LoRA adds nothing"
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in backbone.policy_parameters() + backbone.critic_parameters():
            p.add_(size * torch.randn(p.shape, generator=noise).to(p))
    return backbone


def episode(i, seed=0, turns=2, **ending):
    "Random turns with observations between them; each token 3 is paid 1"
    draw = rng(seed, i)
    ids, turn_ids, rewards = [1, 2], [-1, -1], []
    for k in range(turns):
        turn = [*draw.integers(3, 8, int(draw.integers(1, 6))).tolist(), 0]
        ids += turn
        turn_ids += [k] * len(turn)
        rewards.append(float(turn.count(3)))
        if k < turns - 1:
            observed = int(draw.integers(1, 9))
            ids += [9] * observed
            turn_ids += [-1] * observed
    mask = [int(k >= 0) for k in turn_ids]
    logprobs = [-2.77 * m for m in mask]
    ending = dict(terminated=True, stop_reason='done') | ending
    return Trajectory(dict(task=i), [], ids, mask, logprobs, turn_ids, rewards, **ending)


def episodes(n=8, seed=0, turns=2, **ending):
    return [episode(i, seed, turns, **ending) for i in range(n)]


class Offline(PPOTrainer):
    "Samples nothing: episodes come from a seed, so that runs are quick"

    def collect(self, rows):
        return self.grade(episodes(self.args.episodes_per_update, seed=self.n_updates))


SMALL = dict(num_updates=3, episodes_per_update=8, max_total_tokens=64, micro_batch_tokens=128)


def trainer(model=None, peft_config='lora', rows=({},), **settings):
    args = PPOConfig(**(SMALL | dict(learning_rate=1e-3) | settings))
    adapters = lora() if peft_config == 'lora' else peft_config
    return Offline(model or tiny(), args, train_dataset=rows, peft_config=adapters)


def flat(parameters):
    return torch.cat([p.detach().flatten().clone() for p in parameters])


def timeless(record):
    return {k: v for k, v in record.items() if 'seconds' not in k and '_per_s' not in k}


def constant(x, name='constant'):
    "A reward function that always pays the same"

    def f(trajectories, **_):
        return [x] * len(trajectories)

    f.__name__ = name
    return f


def checksum(trajectories, **_):
    return [sum(t.token_ids) % 11 for t in trajectories]


def playing(folder=None):
    "A run that samples its episodes, with several micro-batches"
    model, tokenizer = load('tiny')
    files = dict(output_dir=str(folder), save_every=1) if folder else {}
    args = PPOConfig(
        num_updates=5,
        episodes_per_update=6,
        max_turns=2,
        max_tokens_per_turn=8,
        max_total_tokens=320,
        micro_batch_tokens=400,
        learning_rate=1e-3,
        report_to=None,
        **files,
    )
    return PPOTrainer(model, args, SupportDesk, checksum, scenarios(15, 'train'), tokenizer, lora())


def reward_adapter(path, model, seed=0, **where):
    "An adapter with its head, as `finetune.reward_model` keeps it, with random weights"
    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    config.num_labels, config.pad_token_id = 1, 15
    scorer = LlamaForSequenceClassification(config)
    scorer.model = copy.deepcopy(model.model)
    adapter = LoraConfig(
        task_type='SEQ_CLS', r=4, target_modules=['q_proj', 'down_proj'], modules_to_save=['score'], **where
    )
    peft = get_peft_model(scorer, adapter)
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if 'lora_B' in name or 'modules_to_save' in name:
                p.normal_(std=0.3)
    peft.save_pretrained(path)
    (path / 'base.json').write_text(json.dumps(dict(fingerprint=fingerprint(model))))
    return peft.eval()
