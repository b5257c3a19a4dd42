"Which run is gone on with, and what is said of a change of code"

import warnings
from dataclasses import dataclass

import pytest

from rlops_lab.recipes.staged_run import StagedRun, newest_run


@dataclass
class Settings:
    seed: int = 0


class OneStage(StagedRun):
    stages = ('only',)

    def only(self):
        self.run.log('calls', [dict(stage='only')])

    def report(self):
        return dict(calls=len(self.run.read('calls')))


def test_newest_run_is_the_last_unfinished_one(tmp_path):
    for i in (1, 2, 3):
        (tmp_path / f'demo-{i}').mkdir()
        (tmp_path / f'demo-{i}' / 'state.json').write_text('{}')
    assert newest_run(tmp_path) == tmp_path / 'demo-3'
    (tmp_path / 'demo-3' / 'summary.json').write_text('{}')
    assert newest_run(tmp_path) == tmp_path / 'demo-2'


def test_a_stage_runs_once(tmp_path):
    assert OneStage(Settings(), tmp_path / 'run')() == dict(calls=1)
    assert OneStage(Settings(), tmp_path / 'run', resume=True)() == dict(calls=1)


def test_other_code_warns_and_the_same_code_does_not(tmp_path):
    run = OneStage(Settings(), tmp_path / 'run').run
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        OneStage(Settings(), tmp_path / 'run', resume=True)
    run.save(git=['0' * 40, False])
    with pytest.warns(UserWarning, match='started at commit 0000000000, this is'):
        OneStage(Settings(), tmp_path / 'run', resume=True)
