"The command ends with a message that names the cure"

import json

import pytest

from rlops_lab.recipes.cli import main
from rlops_lab.recipes.staged_run import newest_run


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


def test_a_run_of_another_release_is_named(tmp_path):
    (tmp_path / 'demo-1').mkdir()
    saved = dict(config=dict(families=['vague'], quota=3))
    (tmp_path / 'demo-1' / 'state.json').write_text(json.dumps(saved))
    with pytest.raises(SystemExit) as e:
        main(['demo', '--resume', '--out', str(tmp_path)])
    assert 'another release' in str(e.value) and 'quota' in str(e.value)
