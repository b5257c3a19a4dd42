"Bubblewrap: its walls are the kernel's, nothing is left behind, and its own faults are no grade."

import os
import time
from pathlib import Path

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from hostile_programs import GOOD, HOSTILE, LIMITS, TESTS, attack

import rlops_lab
from rlops_lab.environments.coding import bubblewrap
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.limits import SandboxLimits, Stopped
from rlops_lab.environments.coding.unit_tests import run_tests

with_bubblewrap = pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())


@with_bubblewrap
def test_the_walls_hold_without_the_audit_hook(canary, monkeypatch):
    "The hook only finds the word `forbidden`: what it refuses, the kernel refuses, too"
    bare = bubblewrap._RUNNER.replace('sys.addaudithook(hook)', 'pass')
    assert bare != bubblewrap._RUNNER
    monkeypatch.setattr(bubblewrap, '_RUNNER', bare)
    stopped_by_it = [name for name, (_, status, _) in HOSTILE.items() if 'forbidden' in status]
    found = {name: v.status for name, (v, _) in attack('bubblewrap', canary, stopped_by_it).items()}
    assert len(found) >= 20 and not {'passed', 'failed', 'unsupported', 'forbidden'} & set(found.values()), (
        found
    )
    assert canary.read_text() == 'unharmed'


def children():
    "Processes that this one started"
    found = []
    for p in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = p.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != 'Z':
            found.append(p.parent.name)
    return found


@with_bubblewrap
def test_nothing_is_left_behind(in_bubblewrap):
    commands = [Path(f'/proc/{pid}/cmdline').read_bytes() for pid in children()]
    assert not [c for c in commands if c.startswith(b'bwrap')]

    def alive():
        return [p for p in Path('/proc').glob('[0-9]*') if os.getuid() == 0 and uid(p) > 2**30]

    deadline = time.monotonic() + 10  # what was killed takes the kernel a moment
    while alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive()


def uid(p):
    try:
        return p.stat().st_uid
    except OSError:
        return 0


@with_bubblewrap
def test_a_package_is_there_only_if_asked_for():
    program = 'import numpy as np\ndef answer(x): return float(np.float64(x)**2+1)'
    limits = SandboxLimits(seconds=20.0, memory=2**30)
    assert run_tests(program, TESTS, ['answer'], limits=limits, packages=('numpy',)).ok
    assert run_tests(program, TESTS, ['answer'], limits=limits).status == 'error'


@with_bubblewrap
def test_arrays_are_compared_as_numpy_compares_them():
    program = (
        'import numpy as np\ndef grid(n): return np.arange(n)*.5\n'
        'def count(x): return np.int64(3)\ndef double(x): x *= 2'
    )
    tests = [
        'import numpy as np\nassert (grid(3) == np.array([0, .5, 1])).all() and grid(2).shape == (2,)',
        'import numpy as np\nnp.testing.assert_allclose(grid(2), [0, .5])',
        'assert grid(2).tolist() == [0, .5]',
        'assert count(1) == 3',
        'import numpy as np\nx = np.ones(2)\ndouble(x)\nassert x.sum() == 4',
    ]
    limits = SandboxLimits(seconds=20.0, memory=2**30)
    names = ['grid', 'count', 'double']
    assert run_tests(program, tests, names, limits=limits, packages=('numpy',)).status == 'passed'
    wrong = program.replace('.5', '.25')
    found = run_tests(wrong, tests[:3], names, limits=limits, packages=('numpy',))
    assert found.status == 'wrong' and len(found.failures) == 3, found


def test_bubblewrap_that_does_not_start(monkeypatch):
    monkeypatch.setattr(bubblewrap, '_command', lambda *a: ['/nowhere/bwrap'])
    with pytest.raises(Stopped) as e:
        bubblewrap.InBubblewrap(GOOD, LIMITS)
    assert e.value.status == 'failed'
    monkeypatch.setattr(bubblewrap, '_command', lambda *a: ['false'])
    with pytest.raises(Stopped) as e:
        bubblewrap.InBubblewrap(GOOD, LIMITS)
    assert e.value.status == 'failed'


def test_this_library_is_hidden_where_the_sandbox_would_see_it(monkeypatch):
    "It holds the hidden tests of its own tasks"
    library = Path(rlops_lab.__file__).resolve().parent
    monkeypatch.setattr(bubblewrap, '_roots', lambda: ['/usr', str(library.parent)])
    command = bubblewrap._command(3, 4, LIMITS, ())
    place = command.index('--tmpfs', command.index('/site'))
    assert command[place - 2 : place + 4] == [
        *('--perms', '0555', '--tmpfs', str(library), '--remount-ro', str(library))
    ]
    assert command.index(str(library.parent)) < place < command.index('--clearenv')
