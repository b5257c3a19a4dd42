"""verifiers has pins of its own, so it runs in an environment of its own: `.bench/verifiers`, or the Python of
VERIFIERS_PYTHON."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = [
    'asked_and_answered',
    'a_game_with_turns',
    'what_a_seat_cannot_give_is_refused',
    'ours_as_a_package_of_verifiers',
]


def python_with_verifiers():
    found = os.environ.get('VERIFIERS_PYTHON', ROOT / '.bench' / 'verifiers' / 'bin' / 'python')
    if Path(found).exists():
        return str(found)
    if find_spec('verifiers'):
        return sys.executable
    pytest.skip(
        "no verifiers: python -m venv .bench/verifiers && "
        ".bench/verifiers/bin/pip install 'verifiers>=0.4' 'fastcore<2' lazy_loader tqdm numpy"
    )


def test_tasks_of_verifiers_here_and_ours_there():
    run = subprocess.run(
        [python_with_verifiers(), Path(__file__).parents[1] / 'verifiers_peer.py'],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split() == CHECKS
