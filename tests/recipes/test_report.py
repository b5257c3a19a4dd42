"The report is the UTF-8 that its head promises, in whatever locale it is written"

import os
import subprocess
import sys

import pytest

FINISHED = r'''
import sys
from rlops_lab.core import Trajectory, Usage
from rlops_lab.recipes.demo_config import DemoConfig
from rlops_lab.recipes.stage_figures import by_family, stage_figures
from rlops_lab.recipes.support_desk import Demo

def episode(family, seed):
    said = 'Gr\u00fc\u00dfe \u2192 ' + sys.argv[2]
    messages = [dict(role='user', content=said), dict(role='assistant', content='Bye')]
    kpis = dict(verified_resolution=1., containment=1., wrongful_actions=0.)
    tokens = dict(token_ids=[1, 2], action_mask=[0, 1], logprobs=[0., -.1], turn_ids=[-1, 0])
    return Trajectory(
        dict(family=family, seed=seed), messages, **tokens, turn_rewards=[1.], reply_seconds=[.1], kpis=kpis,
        terminated=True, stop_reason='done', usage=Usage(10, 0, 2, .1, 1))

config = DemoConfig(model='tiny')
demo = Demo(config, sys.argv[1])
episodes = [episode(family, seed) for seed, family in enumerate(config.all_families)]
families = by_family(episodes)
for stage in ('prompted', 'sft', 'ppo'):
    demo._log_stage(stage, episodes, stage_figures(episodes, 3., episodes[:2]))
demo.run.log('metrics', [
    dict(stage='sft', step=1, loss=1.),
    dict(stage='ppo', step=1, reward=1., kl_k3=.1, explained_variance=.5, families=families),
])
demo.run.state.update(selection={}, seconds=dict(ppo=1.))
demo.run.save()
demo.report()
'''
ASCII = dict(PYTHONUTF8='0', PYTHONCOERCECLOCALE='0', LC_ALL='C', LANG='C', PYTHONPATH=os.pathsep.join(sys.path))


@pytest.mark.parametrize('said', ['naïve 🙂', r'half \ud83d'], ids=['unicode', 'half an emoji'])
def test_a_report_written_in_an_ascii_locale_is_utf8(tmp_path, said):
    path = tmp_path / 'run'
    given = said.replace(r'\ud83d', '\ud83d')
    code = FINISHED.replace('sys.argv[2]', ascii(given))
    done = subprocess.run([sys.executable, '-c', code, str(path)], env=os.environ | ASCII, capture_output=True)
    assert not done.returncode, done.stderr.decode()
    page = (path / 'report.html').read_bytes().decode('utf-8')
    assert 'charset="utf-8"' in page.lower() and '→' in page
