"Two processes take the same steps as one, and leave the same files, with and without sharded weights"

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from policies import reward_adapter

from rlops_lab.models.load import load

SCRIPT = '''
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from rlops_lab.models.load import load
from rlops_lab.ppo.processes import rank_and_world
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
from rlops_lab.samplers.local import HFSampler

torch.set_num_threads(1)


class Letters:
    "Two turns"

    def reset(self, word, **_):
        self.replies, self.done, self.user = [], False, self._answer
        return word

    def _answer(self, text):
        self.replies.append(text)
        self.done = len(self.replies) == 2
        return 'and?'


def odd_tokens(prompts, completions, trajectories, **_):
    "Dense, so that random replies differ and something is learnt"

    def share(t):
        return sum(i % 2 for i, m in zip(t.token_ids, t.action_mask) if m) / t.n_actions

    return [share(t) for t in trajectories]


def layers_lora():
    return LoraConfig(r=4, target_modules=['q_proj', 'v_proj', 'down_proj'], layers_to_transform=[1])


out, options = Path(sys.argv[1]), json.loads(sys.argv[2])
model, tokenizer = load('tiny')
lora = layers_lora() if options.pop('lora', True) else None
resume = options.pop('resume', False)
server = options.pop('server', False)
held_out = options.pop('held_out', 0)
judge = options.pop('judge', None)


class FakeServer:
    "Another copy of the model in every process; it has the adapter that the first process pushed"

    def __init__(self):
        self.peft = get_peft_model(load('tiny')[0], lora, adapter_name='policy').eval()

    def push(self, backbone, state):
        torch.save({n: p for n, p in state[0].items() if '.policy.' in n}, out / 'pushed.pt')
        return str(out / 'pushed.pt')

    @property
    def model(self):
        return self.name

    @model.setter
    def model(self, name):
        self.name = name
        self.peft.load_state_dict(torch.load(name), strict=False)

    def sample(self, prompts, params, keys):
        return HFSampler(self.peft.get_base_model(), tokenizer).sample(prompts, params, keys=keys)


settings = dict(num_updates=2, learning_rate=1e-2, critic_learning_rate=1e-2)
if held_out:
    settings |= dict(eval_every=1, metric_for_best='reward')
args = PPOConfig(
    output_dir=str(out),
    episodes_per_update=10,
    num_mini_batches=3,
    max_turns=2,
    max_tokens_per_turn=12,
    max_total_tokens=128,
    micro_batch_tokens=128,
    save_every=1,
    **settings | options,
)
trainer = PPOTrainer(
    model,
    args,
    environment_factory=Letters,
    reward_funcs=odd_tokens,
    train_dataset=[dict(prompt=[], word=word) for word in 'one two three four five six seven'.split()],
    eval_dataset=[dict(prompt=[], word=word) for word in 'eight nine ten'.split()[:held_out]],
    processing_class=tokenizer,
    peft_config=lora,
    sampler=FakeServer() if server else None,
    reward_model=judge,
)
if resume:
    trainer.resume()
played = []


def counted(rows, play=trainer.play, **options):
    played.append(len(rows))
    return play(rows, **options)


trainer.play = counted
records = list(trainer.steps())
rank, world = rank_and_world()
if held_out:
    share = -(-held_out // world)
    assert max(played[1::2]) <= share, 'a process ran more than its share of the held-out rows'
if trainer.backbone.shards:
    layers = list(model.model.layers.parameters())
    part = sum(p.to_local().numel() for p in layers) / sum(p.numel() for p in layers)
    assert 0.45 < part < 0.55, part
if rank == 0:
    (out / 'records.json').write_text(json.dumps([dict(record, world=world) for record in records]))
'''


def run(folder, processes, options, shard=False):
    if options.get('judge') is True:
        reward_adapter(folder.parent / 'judge', load('tiny')[0], layers_to_transform=[1])
        options = options | dict(judge=str(folder.parent / 'judge'))
    folder.mkdir(exist_ok=True)
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    launcher = []
    if processes > 1:
        launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    environment = dict(
        ACCELERATE_USE_CPU='true',
        OMP_NUM_THREADS='1',
        ACCELERATE_USE_FSDP=str(shard).lower(),
        PYTHONPATH=str(Path(__file__).parents[2]),
    )
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / 'records.json').read_text())


ALIKE = (
    'reward',
    'policy_loss',
    'value_loss',
    'value_clip_fraction',
    'approx_kl',
    'kl_k1',
    'kl_k2',
    'entropy',
    'policy_grad_norm',
    'critic_grad_norm',
    'explained_variance',
    'clip_fraction',
    'ratio_max',
    'episodes',
    'actions',
    'optimizer_steps',
)


def compare(one, two):
    assert len(one) == len(two) > 0
    for a, b in zip(one, two):
        assert {k for k in a if k.startswith('eval/')} == {k for k in b if k.startswith('eval/')}
        for k in (*ALIKE, *(k for k in a if k.startswith('eval/'))):
            assert b[k] == pytest.approx(a[k], rel=1e-5, abs=1e-5), k
        assert a['critic_grad_norm'] > 1e-3, 'nothing was trained, so nothing was compared'
    assert one[-1]['policy_grad_norm'] > 1e-3


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


UNSHARDED = [
    dict(critic='adapter', critic_warmup_updates=1, num_updates=3, held_out=3),
    dict(critic='head', critic_epochs=3, num_ppo_epochs=2, judge=True),
]
SHARDED = [
    dict(critic='adapter', held_out=1, judge=True),
    dict(critic='head', critic_epochs=3, num_ppo_epochs=2),
    dict(critic='full', critic_learning_rate=1e-3),
    dict(critic='adapter', server=True),
    dict(critic='head', detach_critic=False, lora=False, learning_rate=1e-3),
]


@pytest.mark.parametrize('options, shard', [(o, False) for o in UNSHARDED] + [(o, True) for o in SHARDED])
def test_two_processes_take_the_steps_of_one(tmp_path, options, shard):
    one, two = run(tmp_path / 'one', 1, options), run(tmp_path / 'two', 2, options, shard)
    assert {r['world'] for r in one} == {1} and {r['world'] for r in two} == {2}
    compare(one, two)
    assert all(r['first_ratio_error'] < (1e-5 if shard else 1e-9) for r in two)
    assert files(tmp_path / 'one') == files(tmp_path / 'two')
    assert len((tmp_path / 'two' / 'metrics.jsonl').read_text().splitlines()) == len(two)


@pytest.mark.parametrize('options', [SHARDED[0], SHARDED[-1]])
def test_checkpoints_do_not_depend_on_the_number_of_processes(tmp_path, options):
    alone = run(tmp_path / 'alone', 1, options | dict(num_updates=3))

    def relay(name, first, then):
        begun = run(tmp_path / name, 1 + first, options | dict(num_updates=2), first)
        return begun + run(tmp_path / name, 1 + then, options | dict(num_updates=3, resume=True), then)

    compare(alone, relay('sharded', False, True))
    compare(alone, relay('gathered', True, False))
