"Checkpoints: complete, of the same run, and after a kill anywhere the uninterrupted run"

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from policies import Offline, constant, lora, playing, reward_adapter, timeless, tiny, trainer

from rlops_lab.core.files import read_jsonl
from rlops_lab.ppo.config import PPOConfig

TESTS = str(Path(__file__).parents[1])


def test_only_complete_checkpoints_and_only_the_newest_are_kept(tmp_path):
    t = trainer(output_dir=str(tmp_path), save_every=1, num_updates=4)
    (tmp_path / '.checkpoint-00003.tmp').mkdir()  # left by a kill in the middle of a save
    for _ in t.steps():
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'checkpoint-00003',
        'checkpoint-00004',
        'metrics.jsonl',
    ]
    t.save()  # over an existing one
    assert trainer(output_dir=str(tmp_path), num_updates=4).resume().n_updates == 4


def test_another_run_is_refused_by_name(tmp_path):
    trainer(output_dir=str(tmp_path), num_updates=1, save_every=1).train()
    with pytest.raises(ValueError, match='clip_range was 0.2 and is 0.3'):
        trainer(output_dir=str(tmp_path), clip_range=0.3).resume()
    with pytest.raises(ValueError, match='train_dataset'):
        trainer(output_dir=str(tmp_path), rows=[dict(x=1)]).resume()
    trainer(output_dir=str(tmp_path), num_updates=9).resume()  # going on for longer is no other run
    for text, change in (
        ('peft_config.lora_alpha was 8 and is 32', dict(peft_config=lora(lora_alpha=32))),
        ('peft_config.r was 4 and is 8', dict(peft_config=lora(r=8))),
        ('model was', dict(model=tiny(seed=5))),
        ('peft_config.r was 4 and is None', dict(peft_config=None, critic='head')),
    ):
        with pytest.raises(ValueError, match=text):
            trainer(output_dir=str(tmp_path), **change).resume()
    paid = trainer(output_dir=str(tmp_path))
    paid.reward_funcs = [constant(1.0)]
    with pytest.raises(ValueError, match='reward_funcs was .* and is .*constant'):
        paid.resume()


@pytest.mark.parametrize(
    'file',
    [
        'identity.json',
        'files.json',
        'trainer.pt',
        'value_head.safetensors',
        'policy/adapter_model.safetensors',
        'critic/adapter_model.safetensors',
        'policy/adapter_config.json',
    ],
)
def test_any_damage_to_the_newest_checkpoint_is_found(tmp_path, file):
    trainer(output_dir=str(tmp_path), num_updates=2, save_every=1).train()
    path = tmp_path / 'checkpoint-00002' / file
    whole = path.read_bytes()
    for damaged in (
        None,
        b'',
        whole[: len(whole) // 2],
        b'\xff' * len(whole),
        whole[:-8] + bytes(8),
    ):  # the last one leaves the format intact where it ends with numbers
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.warns(UserWarning, match='checkpoint-00002 is damaged .* going back to checkpoint-00001'):
            assert trainer(output_dir=str(tmp_path)).resume().n_updates == 1
    with pytest.raises(OSError):
        trainer(output_dir=str(tmp_path)).resume(tmp_path / 'checkpoint-00002')


def test_a_new_run_in_the_folder_of_an_old_one_is_refused(tmp_path):
    "Its first checkpoints would be the oldest by number, and be deleted as they are written"
    trainer(output_dir=str(tmp_path), num_updates=3, save_every=1).train()
    with pytest.raises(FileExistsError, match='choose another output_dir'):
        trainer(output_dir=str(tmp_path), num_updates=1, save_every=1).train()
    assert len(trainer(output_dir=str(tmp_path), num_updates=4).resume().train()) == 1
    fresh = trainer(output_dir=str(tmp_path / 'new'), num_updates=1, save_every=1)
    fresh.save()
    fresh.train()  # what it wrote itself is no other run


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_critic_that_is_a_whole_model_trains_and_resumes(tmp_path, dtype):
    frozen = tiny(dtype).requires_grad_(False)  # as a user may bring it
    t = trainer(frozen, critic='full')
    before = [p.detach().clone() for p in t.backbone.critic_parameters()]
    t.step()
    t.save(tmp_path / 'c')
    moved = [not torch.equal(a, b) for a, b in zip(before, t.backbone.critic_parameters())]
    assert (
        len(moved) > 20
        and sum(moved) >= len(moved) - 1
        and {p.dtype for p in t.backbone.critic_parameters()} == {torch.float32}
    )  # an embedding may have no token of this batch
    again = trainer(tiny(dtype), critic='full').resume(tmp_path / 'c')
    assert timeless(again.step()) == timeless(t.step())


def test_another_reward_model_or_other_held_out_rows_make_another_run(tmp_path):
    args = PPOConfig(
        num_updates=1,
        episodes_per_update=8,
        max_total_tokens=64,
        micro_batch_tokens=128,
        output_dir=str(tmp_path / 'run'),
        eval_every=1,
        metric_for_best='reward',
    )
    for seed in (0, 1):
        reward_adapter(tmp_path / f'{seed}', tiny(), seed)

    def run(seed=0, held_out=({},)):
        return Offline(
            tiny(),
            args,
            train_dataset=[{}],
            eval_dataset=held_out,
            peft_config=lora(),
            reward_model=None if seed is None else tmp_path / f'{seed}',
        )

    run().save(tmp_path / 'saved')
    assert run().resume(tmp_path / 'saved').n_updates == 0
    for change, text in (
        (dict(seed=1), 'reward_model was'),
        (dict(seed=None), 'reward_model was .* and is None'),
        (dict(held_out=[dict(x=1)]), 'eval_dataset was'),
    ):
        with pytest.raises(ValueError, match=text):
            run(**change).resume(tmp_path / 'saved')


KILLED = '''
import sys
sys.path.insert(0, {tests!r})
from policies import trainer
t = trainer(output_dir=sys.argv[1], num_updates=6, save_every=1)
if len(sys.argv) > 2:
    t.resume()
for r in t.steps():
    print(r['update'], flush=True)
'''


def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path):
    code, env = KILLED.format(tests=TESTS), os.environ | dict(OMP_NUM_THREADS='1')
    child = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert any(line.strip() == '2' for line in child.stdout)
    child.send_signal(signal.SIGKILL)
    child.wait()
    again = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path), 'resume'], capture_output=True, text=True, env=env
    )
    assert again.returncode == 0, again.stderr[-2000:]
    want = [timeless(r) for r in trainer(num_updates=6).steps()]
    assert [timeless(r) for r in read_jsonl(tmp_path / 'metrics.jsonl')] == want


KILLS_ITSELF = '''
import os, signal, sys
sys.path.insert(0, {tests!r})
from policies import playing
from rlops_lab.ppo import update as ppo_update
from rlops_lab.samplers.local import HFSampler

folder, where, update = sys.argv[1], sys.argv[2], int(sys.argv[3])
t = playing(folder)
backbone = type(t.backbone)
owners = dict(
    rollout=(HFSampler, 'pick', 5),
    score=(backbone, 'values', 2),
    update=(ppo_update, 'backward', 3),
    save=(backbone, 'state', 1),
)
if where in owners:
    owner, name, call = owners[where]
    real, calls = getattr(owner, name), []

    def deadly(*args, **keywords):
        out = real(*args, **keywords)
        if t.n_updates == update - (where != 'save'):
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
        return out

    setattr(owner, name, deadly)
if os.listdir(folder):
    t.resume()
for r in t.steps():
    pass
'''


def test_killed_in_each_phase_and_resumed_is_the_uninterrupted_run(tmp_path):
    "SIGKILL in the middle of a rollout, of scoring, of an optimizer step's micro-batches and of writing a checkpoint"
    code, env = KILLS_ITSELF.format(tests=TESTS), os.environ | dict(OMP_NUM_THREADS='1')
    for update, where in enumerate(('rollout', 'score', 'update', 'save', 'nowhere'), 2):
        child = subprocess.run(
            [sys.executable, '-c', code, str(tmp_path), where, str(update)],
            capture_output=True,
            text=True,
            env=env,
        )
        assert child.returncode == (0 if where == 'nowhere' else -signal.SIGKILL), (
            f'{where}: {child.stderr[-2000:]}'
        )
        if where != 'nowhere':
            assert len(read_jsonl(tmp_path / 'metrics.jsonl')) == update - (where != 'save'), (
                f'killed elsewhere than in {where} of update {update}'
            )
    assert [timeless(r) for r in read_jsonl(tmp_path / 'metrics.jsonl')] == [
        timeless(r) for r in playing().steps()
    ]
