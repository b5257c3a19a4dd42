"The demo on a tiny model: every stage, the files it leaves, and what a kill leaves behind"

import json, os, random, signal, subprocess, sys, time
from pathlib import Path

import pytest

from rlops_lab.recipes import support_desk as recipes
from rlops_lab.core import Trajectory, Usage, read_jsonl
from rlops_lab.recipes.support_desk import Demo, DemoConfig, newest_run
from rlops_lab.recipes.cli import main

TIMES = ('seconds', 'p50_reply', 'p95_reply', 'usd', '_per_s')
TINY = dict(
    model='tiny',
    families=('status_open', 'cancel_open'),
    undemonstrated=('refund_ok',),
    n_prompted=6,
    n_eval=6,
    n_rejection=12,
    rejection_batch=6,
    per_kind=3,
    n_latency=1,
    sft_per_kind=8,
    sft_batch=2,
    sft_lora_layers=2,
    ppo_lora_layers=1,
    lora_rank=4,
    ppo_updates=3,
    ppo_episodes=4,
    max_turns=2,
    max_tokens_per_turn=12,
    batch_size=6,
    threads=1,
)


def odd_tokens(prompts, completions, trajectories, **_):
    "Share of odd token ids: dense, so that updates move the policy"
    return [
        sum(i % 2 for i, m in zip(t.token_ids, t.action_mask) if m) / max(1, t.n_actions)
        for t in trajectories
    ]


def expert(row, tokenizer):
    "The scripted expert's episode as a trajectory: a tiny random model finds no right answer by itself"
    from rlops_lab.environments.support_desk.scenarios import demonstrate, oracle_step, run_scripted_case

    messages = demonstrate(row)
    while messages[-1]['role'] != 'assistant':
        messages.pop()
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask, turns, turn = out['input_ids'], out['assistant_masks'], [], -1
    for i, m in enumerate(mask):
        turn += bool(m and not mask[i - 1])
        turns.append(turn if m else -1)
    return Trajectory(
        task=row,
        messages=messages,
        token_ids=ids,
        action_mask=mask,
        logprobs=[-0.1 * m for m in mask],
        turn_ids=turns,
        turn_rewards=[0.0] * turn + [1.0],
        kpis=dict(run_scripted_case(oracle_step, row).kpis),
        reply_seconds=[0.0] * (turn + 1),
        terminated=True,
        stop_reason='done',
        usage=Usage(prompt_tokens=100, completion_tokens=sum(mask), calls=turn + 1),
    )


class FakeTeacherDemo(Demo):
    "Rejection sampling from the scripted expert, and a reward that a random model earns some of"

    def reward_funcs(self):
        return [*super().reward_funcs(), odd_tokens]

    def rejection(self):
        import rlops_lab.rollouts.engine as rollouts

        real = rollouts.rollout
        rollouts.rollout = lambda sampler, tokenizer, env, rows, **kw: [expert(r, tokenizer) for r in rows]
        try:
            super().rejection()
        finally:
            rollouts.rollout = real


def without_times(rows):
    return [{k: v for k, v in r.items() if not any(t in k for t in TIMES)} for r in rows]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "An uninterrupted run"
    path = tmp_path_factory.mktemp('demo') / 'demo-whole'
    return path, FakeTeacherDemo(DemoConfig(**TINY), path)()


def test_summary_has_what_is_promised(whole):
    path, summary = whole
    saved = json.loads((path / 'summary.json').read_text())
    assert saved.pop('costs') and saved == json.loads(json.dumps(summary))
    for stage in ('prompted', 'sft', 'ppo'):
        assert {
            'verified_resolution',
            'ci95',
            'n',
            'containment',
            'wrongful_action_rate',
            'tokens_per_resolution',
            'usd_per_verified_resolution',
            'p95_reply_s',
        } <= set(summary[stage])
        low, high = summary[stage]['ci95']
        assert (
            0 <= low <= summary[stage]['verified_resolution'] <= high <= 1
            and summary[stage]['n'] == TINY['n_eval']
        )
    assert summary['seed'] == 0 and summary['model'] == 'tiny' and summary['seconds_total'] > 0


def test_files_of_a_run(whole):
    path, _ = whole
    metrics = read_jsonl(path / 'metrics.jsonl')
    updates = [m for m in metrics if m['stage'] == 'ppo' and 'reward' in m]
    assert [m['step'] for m in updates] == [1, 2, 3] and all(
        m['policy_grad_norm'] > 0 and m['critic_grad_norm'] > 0 for m in updates
    )
    assert len(read_jsonl(path / 'trajectories.jsonl')) == 3 * TINY['n_eval']
    for t in read_jsonl(path / 'trajectories.jsonl'):
        t.pop('stage')
        Trajectory.from_dict(t)
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


@pytest.mark.parametrize(
    'bad',
    [
        dict(n_eval=0),
        dict(n_eval=13),
        dict(ppo_episodes=16),
        dict(n_latency=0),
        dict(ppo_updates=0),
        dict(max_turns=0),
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DemoConfig(**bad)


def test_command_names_the_cure(tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        main(['demo', '--resume', '--out', str(tmp_path)])
    assert 'start one without --resume' in str(e.value)
    with pytest.raises(SystemExit):
        main(['--help'])
    assert 'demo' in capsys.readouterr().out
    (tmp_path / 'demo-1').mkdir()
    (tmp_path / 'demo-1' / 'state.json').write_text('{}')
    assert newest_run(tmp_path) == tmp_path / 'demo-1'


def test_newest_run_is_the_last_unfinished_one(tmp_path):
    for i in (1, 2, 3):
        (tmp_path / f'demo-{i}').mkdir()
        (tmp_path / f'demo-{i}' / 'state.json').write_text('{}')
    assert newest_run(tmp_path) == tmp_path / 'demo-3'
    (tmp_path / 'demo-3' / 'summary.json').write_text('{}')
    assert newest_run(tmp_path) == tmp_path / 'demo-2'


def test_a_run_of_another_release_is_named(tmp_path):
    (tmp_path / 'demo-1').mkdir()
    (tmp_path / 'demo-1' / 'state.json').write_text(
        json.dumps(dict(config=dict(families=['vague'], quota=3)))
    )
    with pytest.raises(SystemExit) as e:
        main(['demo', '--resume', '--out', str(tmp_path)])
    assert 'another release' in str(e.value) and 'quota' in str(e.value)


RUN = f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_support_desk import *; FakeTeacherDemo(DemoConfig(**TINY), sys.argv[1], resume=sys.argv[2]=='1')()"


def test_killed_at_any_moment_it_ends_with_the_same_metrics(whole, tmp_path):
    path, r = tmp_path / 'demo-killed', random.Random(0)
    env = dict(os.environ, OMP_NUM_THREADS='1')
    for life in range(40):
        p = subprocess.Popen(
            [sys.executable, '-c', RUN, str(path), str(int((path / 'state.json').exists()))],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        if life < 5:
            began = len(
                read_jsonl(path / 'metrics.jsonl')
            )  # wait until it got further, then kill it a moment later
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
    assert without_times(read_jsonl(path / 'metrics.jsonl')) == without_times(
        read_jsonl(whole[0] / 'metrics.jsonl')
    )
