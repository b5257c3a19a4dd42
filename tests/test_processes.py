"Two processes take the same steps as one, and leave the same files"
import json, os, subprocess, sys
from pathlib import Path

import pytest

SCRIPT = '''
import json, sys, torch
from pathlib import Path
from peft import LoraConfig
from rlops_lab.models import load
from rlops_lab.ppo.processes import rank_and_world
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
torch.set_num_threads(1)

class Letters:
    "Two turns"
    def reset(self, word, **_): self.said, self.done, self.user = [], False, self._hear; return word
    def _hear(self, text): self.said.append(text); self.done = len(self.said)==2; return 'and?'

def odd_tokens(prompts, completions, trajectories, **_):
    "Dense, so that random replies differ and something is learnt"
    return [sum(i%2 for i,m in zip(t.token_ids, t.action_mask) if m)/t.n_actions for t in trajectories]

out, options = Path(sys.argv[1]), json.loads(sys.argv[2])
model, tokenizer = load('tiny')
lora = LoraConfig(r=4, target_modules=['q_proj', 'v_proj', 'down_proj'], layers_to_transform=[1])
args = PPOConfig(output_dir=str(out), num_updates=2, episodes_per_update=10, num_mini_batches=3, max_turns=2, max_tokens_per_turn=12, max_total_tokens=128, micro_batch_tokens=128,
                 learning_rate=1e-2, critic_learning_rate=1e-2, save_every=1, **options)
trainer = PPOTrainer(model, args, environment_factory=Letters, reward_funcs=odd_tokens, train_dataset=[dict(prompt=[], word=w) for w in 'one two three four five six seven'.split()], processing_class=tokenizer, peft_config=lora)
records = list(trainer.steps())
if rank_and_world()[0]==0: (out/'records.json').write_text(json.dumps([dict(r, world=rank_and_world()[1]) for r in records]))
'''

def run(folder, processes, options):
    folder.mkdir(); script = folder/'script.py'; script.write_text(SCRIPT)
    launcher = [] if processes==1 else ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, *launcher, str(script), str(folder), json.dumps(options)], capture_output=True, text=True, timeout=300,
                          env=os.environ | dict(ACCELERATE_USE_CPU='true', OMP_NUM_THREADS='1', PYTHONPATH=str(root)))
    assert done.returncode==0, done.stderr[-3000:]
    return json.loads((folder/'records.json').read_text())

@pytest.mark.parametrize('options', [dict(critic='adapter'), dict(critic='head', critic_epochs=3, num_ppo_epochs=2)])
def test_two_processes_take_the_steps_of_one(tmp_path, options):
    one, two = run(tmp_path/'one', 1, options), run(tmp_path/'two', 2, options)
    assert [r['world'] for r in one+two]==[1, 1, 2, 2]
    for a, b in zip(one, two):
        for k in ('reward', 'policy_loss', 'value_loss', 'approx_kl', 'kl_k1', 'entropy', 'policy_grad_norm', 'critic_grad_norm', 'explained_variance', 'clip_fraction', 'ratio_max', 'episodes', 'actions', 'optimizer_steps'):
            assert b[k]==pytest.approx(a[k], rel=1e-5, abs=1e-5), k
        assert b['first_ratio_error']==0 and a['policy_grad_norm']>1e-3 and a['critic_grad_norm']>1e-3, 'nothing was trained, so nothing was compared'
    files = lambda name: sorted(str(p.relative_to(tmp_path/name)) for p in (tmp_path/name).rglob('*') if p.is_file())
    assert files('one')==files('two') and len((tmp_path/'two'/'metrics.jsonl').read_text().splitlines())==2
