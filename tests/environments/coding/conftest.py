"A file outside of every sandbox, and what became of the hostile programs, which run once for all tests"

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def canary():
    "A file outside of any sandbox, and not in /tmp, of which a sandbox has one of its own"
    folder = Path(tempfile.mkdtemp(dir='/var/tmp'))
    (folder / 'canary').write_text('unharmed')
    yield folder / 'canary'
    assert [p.name for p in folder.iterdir()] == ['canary'] and (folder / 'canary').read_text() == 'unharmed'
    shutil.rmtree(folder)


@pytest.fixture(scope='session')
def in_monty(canary):
    from hostile_programs import attack

    return attack('monty', canary)


@pytest.fixture(scope='session')
def in_bubblewrap(canary):
    from hostile_programs import attack

    return attack('bubblewrap', canary)
