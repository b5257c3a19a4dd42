"The demo on a tiny model: every stage, the files it leaves, and what a kill leaves behind"

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_demo import TINY, FakeTeacherDemo

from rlops_lab.core import Trajectory
from rlops_lab.core.files import read_jsonl
from rlops_lab.recipes.demo_config import DemoConfig
from rlops_lab.recipes.support_desk import Demo

TIMES = ('seconds', 'p50_reply', 'p95_reply', 'usd', '_per_s')


def without_times(rows):
    return [{k: v for k, v in row.items() if not any(t in k for t in TIMES)} for row in rows]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "An uninterrupted run"
    path = tmp_path_factory.mktemp('demo') / 'demo-whole'
    return path, FakeTeacherDemo(DemoConfig(**TINY), path)()


def test_summary_has_what_is_promised(whole):
    path, summary = whole
    saved = json.loads((path / 'summary.json').read_text())
    assert saved.pop('costs') and saved == json.loads(json.dumps(summary))
    promised = {
        'verified_resolution',
        'ci95',
        'n',
        'containment',
        'wrongful_action_rate',
        'tokens_per_resolution',
        'usd_per_verified_resolution',
        'p95_reply_s',
    }
    for stage in ('prompted', 'sft', 'ppo'):
        figures = summary[stage]
        assert promised <= set(figures)
        low, high = figures['ci95']
        assert 0 <= low <= figures['verified_resolution'] <= high <= 1
        assert figures['n'] == TINY['n_eval']
    assert summary['seed'] == 0 and summary['model'] == 'tiny' and summary['seconds_total'] > 0


def test_files_of_a_run(whole):
    path, _ = whole
    metrics = read_jsonl(path / 'metrics.jsonl')
    updates = [row for row in metrics if row['stage'] == 'ppo' and 'reward' in row]
    assert [row['step'] for row in updates] == [1, 2, 3]
    assert all(row['policy_grad_norm'] > 0 and row['critic_grad_norm'] > 0 for row in updates)
    trajectories = read_jsonl(path / 'trajectories.jsonl')
    assert len(trajectories) == 3 * TINY['n_eval']
    for row in trajectories:
        row.pop('stage')
        Trajectory.from_dict(row)
    for folder in ('sft', 'ppo'):
        assert (path / folder / 'config.json').exists()


def test_report_needs_nothing_from_outside(whole):
    page = (whole[0] / 'report.html').read_text()
    assert 'http://' not in page and 'https://' not in page and '<script' not in page
    assert page.count('data:image/png;base64,') >= 1 and 'a person' in page and 'before and after' in page


def test_a_finished_run_resumes_to_the_same_summary(whole):
    path, summary = whole
    before = (path / 'metrics.jsonl').read_bytes()
    again = FakeTeacherDemo(DemoConfig(**TINY), path, resume=True)()
    assert again == summary and (path / 'metrics.jsonl').read_bytes() == before


def test_other_settings_are_refused(whole):
    with pytest.raises(ValueError, match='ppo_updates=3, now 4'):
        FakeTeacherDemo(DemoConfig(**TINY | dict(ppo_updates=4)), whole[0], resume=True)
    with pytest.raises(FileExistsError, match='resume'):
        FakeTeacherDemo(DemoConfig(**TINY), whole[0])


def test_nothing_accepted_says_what_to_do(tmp_path):
    with pytest.raises(RuntimeError, match='raise n_rejection'):
        Demo(DemoConfig(**TINY), tmp_path / 'demo-none')()


RUN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tiny_demo import TINY, FakeTeacherDemo
from rlops_lab.recipes.demo_config import DemoConfig
FakeTeacherDemo(DemoConfig(**TINY), sys.argv[1], resume=sys.argv[2] == '1')()
"""


def test_killed_at_any_moment_it_ends_with_the_same_metrics(whole, tmp_path):
    path, r = tmp_path / 'demo-killed', random.Random(0)
    env = dict(os.environ, OMP_NUM_THREADS='1')
    for life in range(40):
        resume = str(int((path / 'state.json').exists()))
        command = [sys.executable, '-c', RUN, str(path), resume]
        p = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        if life < 5:  # wait until it got further, then kill it a moment later
            began = len(read_jsonl(path / 'metrics.jsonl'))
            while p.poll() is None and len(read_jsonl(path / 'metrics.jsonl')) <= began:
                time.sleep(0.02)
            time.sleep(r.random() * 0.6)
            if p.poll() is None:
                p.send_signal(signal.SIGKILL)
        _, err = p.communicate()
        if p.returncode == 0:
            break
        assert p.returncode == -signal.SIGKILL, err[-2000:]
    assert life >= 3, 'the run was over before it could be killed'
    left, expected = (read_jsonl(folder / 'metrics.jsonl') for folder in (path, whole[0]))
    assert without_times(left) == without_times(expected)
