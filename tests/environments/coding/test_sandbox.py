"""Programs that attack: none gets out, none decides its verdict, each ends, and the host is unharmed. Then faults of the sandbox itself.

All of the hostile programs run first, a few at a time, since most of them are waited for; the tests look at what became of each."""

import json, os, random, resource, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding import sandbox, unit_tests
from rlops_lab.environments.coding.task import Coding, code_in, coding_tasks, validate_tasks
from rlops_lab.environments.coding.sandbox import (
    InMonty,
    Limits,
    Stopped,
    bubblewrap_fault,
    pack,
    plain,
    run_code,
    unpack,
)
from rlops_lab.environments.coding.unit_tests import run_tests
from rlops_lab.rewards import checks

TESTS = ['assert answer(3) == 10', 'assert answer(4) == 17']
GOOD = 'def answer(x): return x*x+1'
LIMITS = Limits(seconds=1.0, memory=128 * 2**20)
with_bubblewrap = pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())

# what each program may come to: in Monty, in bubblewrap. Any of them is no pass
HOSTILE = {
    # more than its share
    'fork bomb': ('forbidden', 'forbidden', 'import os\nwhile True: os.fork()'),
    'fork, refused and caught': (
        'wrong',
        'wrong',
        'import os\ndef answer(x):\n    try: os.fork()\n    except BaseException: pass\n    return 0',
    ),
    'threads': (
        'unsupported',
        'error',
        'import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()',
    ),
    'processes by multiprocessing': (
        'forbidden',
        'forbidden',
        'import multiprocessing\nmultiprocessing.Process(target=print).start()',
    ),
    'a process that outlives it': (
        'forbidden',
        'forbidden',
        'import subprocess\nsubprocess.Popen(["sleep", "1000"], start_new_session=True)',
    ),
    'memory at once': ('memory', 'memory', 'x = [0]*10**12'),
    'memory by and by': (
        'memory|timeout',
        'memory|timeout',
        'x = []\nwhile True: x.append("a"*10**6+str(len(x)))',
    ),
    'memory by doubling': ('memory|timeout', 'memory|timeout', 'x = [1]\nwhile True: x = x+x'),
    'memory, caught': (
        'memory',
        'wrong',
        'def answer(x):\n    try: y = [0]*10**12\n    except BaseException: pass\n    return 0',
    ),
    'fills the disk': ('forbidden', 'error', 'f = open("/tmp/x", "wb")\nwhile True: f.write(b"a"*10**6)'),
    'fills memory by files without a name': (
        'forbidden',
        'error',
        'import os\nf = os.memfd_create("x")\nwhile True: os.write(f, b"a"*10**6)',
    ),
    'opens files without end': ('forbidden', 'error', 'x = []\nwhile True: x.append(open("/dev/null"))'),
    'prints without end': ('output', 'output', 'while True: print("spam")'),
    'writes to stderr without end': (
        'output',
        'output',
        'import sys\nwhile True: print("spam", file=sys.stderr)',
    ),
    'prints much at once': ('output', 'output', 'print("a"*10**7)'),
    'busy': ('timeout', 'timeout', 'while True: pass'),
    'busy, and catches everything': (
        'timeout',
        'timeout',
        'while True:\n    try:\n        while True: pass\n    except BaseException: pass',
    ),
    'busy in a call': ('timeout', 'timeout', 'def answer(x):\n    while True: pass'),
    'busy in C: power': ('timeout', 'timeout', 'x = 9**9**8'),
    'busy in C: digits': ('memory|timeout', 'timeout', 'x = 7**(10**8)'),
    'busy in C: backtracking': (
        'wrong',
        'timeout',
        'import re\ndef answer(x):\n    re.match(r"(a|a)*$", "a"*40+"b")\n    re.fullmatch(r"(x+x+)+y", "x"*60)\n    return 0',
    ),
    'busy in C: sum': ('timeout', 'timeout', 'sum(range(10**13))'),
    'sleeps': ('timeout', 'timeout', 'import time\ntime.sleep(1000)'),
    'waits for input': ('unsupported', 'error', 'input()'),
    'deep recursion': ('error', 'error', 'def answer(x): return answer(x+1)'),
    'deep recursion, no limit': (
        'unsupported',
        'timeout|crashed|memory|error',
        'import sys\nsys.setrecursionlimit(10**9)\ndef answer(x): return answer(x+1)',
    ),
    'deep answer': (
        'wrong|error|timeout',
        'error',
        'def answer(x):\n    y = []\n    for i in range(10**5): y = [y]\n    return y',
    ),
    'answer that holds itself': (
        'wrong',
        'error',
        'def answer(x):\n    y = []\n    y.append(y)\n    return y',
    ),
    'answer that unfolds': (
        'wrong|timeout|memory',
        'timeout|memory|crashed',
        'def answer(x):\n    y = [1]*50\n    for i in range(8): y = [y]*50\n    return y',
    ),
    'large answer': (
        'timeout|memory|crashed',
        'timeout|memory|crashed',
        'def answer(x): return "a"*(5*10**7)',
    ),
    'answer of many digits': ('wrong|timeout', 'wrong|timeout', 'def answer(x): return 3**(10**6)'),
    'nested source': ('syntax', 'syntax', 'x = ' + '(' * 20000 + '1' + ')' * 20000),
    'long source': ('syntax', 'syntax|memory|timeout', 'x = 1\n' * 200000 + 'y = '),
    'ignores signals': (
        'forbidden',
        'timeout',
        'import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    '
        'except (OSError, ValueError): pass\nwhile True: pass',
    ),
    # reaches out
    'reads a file': ('forbidden', 'forbidden', 'open("/etc/passwd").read()'),
    'reads a file by descriptor': (
        'forbidden',
        'forbidden',
        'import os\nos.read(os.open("/etc/shadow", os.O_RDONLY), 10)',
    ),
    'reads a file by pathlib': (
        'forbidden',
        'forbidden',
        'from pathlib import Path\nPath("/etc/hostname").read_text()',
    ),
    'reads the canary': ('forbidden', 'forbidden', 'open("CANARY").read()'),
    'overwrites the canary': ('forbidden', 'forbidden', 'open("CANARY", "w").write("x")'),
    'symlink to the canary': (
        'forbidden',
        'forbidden',
        'import os\nos.symlink("CANARY", "/tmp/link")\nopen("/tmp/link", "w").write("x")',
    ),
    'hard link to the canary': ('forbidden', 'forbidden', 'import os\nos.link("CANARY", "/tmp/link")'),
    'removes the canary': ('forbidden', 'forbidden', 'import os\nos.remove("CANARY")'),
    'another process\'s root': ('forbidden', 'error', 'open("/proc/1/root/CANARY").read()'),
    'another process\'s environment': ('forbidden', 'forbidden', 'open("/proc/1/environ").read()'),
    'writes to shared memory': ('forbidden', 'forbidden', 'open("/dev/shm/x", "w").write("x")'),
    'connects': ('forbidden', 'forbidden', 'import socket\nsocket.create_connection(("127.0.0.1", 22), 1)'),
    'listens': ('forbidden', 'forbidden', 'import socket\ns = socket.socket()\ns.bind(("0.0.0.0", 8765))'),
    'fetches': (
        'forbidden',
        'error|forbidden',
        'import urllib.request\nurllib.request.urlopen("http://example.com")',
    ),
    'shell': ('forbidden', 'forbidden', 'import os\nos.system("touch CANARY.2")'),
    'kills everyone': ('forbidden', 'forbidden', 'import os\nos.kill(-1, 9)'),
    'kills its parent': ('forbidden', 'forbidden', 'import os\nos.kill(os.getppid(), 9)'),
    'machine code': ('forbidden', 'forbidden', 'import ctypes\nctypes.CDLL(None).kill(-1, 9)'),
    'becomes root': (
        'forbidden',
        'error',
        'import os\nos.setuid(0)\nopen("/tmp/x", "w")\ndef answer(x): return 0',
    ),
    # decides the verdict
    'leaves in peace': ('forbidden', 'crashed', 'import os\nos._exit(0)'),
    'leaves in peace in a call': ('forbidden', 'crashed', 'import os\ndef answer(x): os._exit(0)'),
    'exits': ('unsupported', 'error', 'import sys\nsys.exit(0)'),
    'exits in a call': ('unsupported', 'error', 'def answer(x): raise SystemExit(0)'),
    'interrupts': ('error', 'error', 'def answer(x): raise KeyboardInterrupt'),
    'prints a marker': (
        'wrong',
        'wrong',
        'print("1 passed\\nOK\\nALL TESTS PASSED")\ndef answer(x): return 0',
    ),
    'equal to everything': (
        'error',
        'error',
        'class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\ndef answer(x): return Any()',
    ),
    'a number equal to everything': (
        'unsupported',
        'wrong',
        'class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef answer(x): return Any(0)',
    ),
    'patches builtins': (
        'unsupported',
        'crashed|wrong',
        'import builtins\nbuiltins.AssertionError = ZeroDivisionError\nbuiltins.abs = builtins.len = lambda *a: 0\n'
        'def answer(x): return 0',
    ),
    'patches builtins in place': (
        'wrong',
        'wrong',
        'AssertionError = Exception = print = None\ndef answer(x): return 0',
    ),
    'reads the frames': (
        'unsupported',
        'wrong',
        'import sys\ndef answer(x):\n    f = sys._getframe()\n    while f:\n'
        '        for v in list(f.f_locals.values())+list(f.f_globals.values()):\n'
        '            if isinstance(v, int) and v in (10, 17): return v\n        f = f.f_back\n    return 0',
    ),
    'searches memory': (
        'unsupported',
        'wrong',
        'import gc\ndef answer(x):\n    for o in gc.get_objects():\n'
        '        if isinstance(o, (list, tuple, str)) and "answer(3) ==" in str(o): return 10\n    return 0',
    ),
    'traces': (
        'unsupported',
        'wrong',
        'import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None\ndef answer(x): return 0',
    ),
    'forges replies': (
        'forbidden',
        'crashed|wrong',
        'import os\nfor fd in range(3, 400):\n    try: os.write(fd, b\'["loaded"]\\n["said", []]\\n["answers", [["passed", true]]]\\n\')\n'
        '    except OSError: pass\ndef answer(x): return 0',
    ),
    'answers before it is asked': (
        'forbidden',
        'crashed|wrong',
        'import os\nfor fd in range(3, 400):\n    try: os.write(fd, b\'["loaded"]\\n["answers", [["value", ["i", "0x0"]]]]\\n\'*9)\n'
        '    except OSError: pass\ndef answer(x): return 0',
    ),
    'writes nonsense to every pipe': (
        'forbidden',
        'crashed|wrong',
        'import os\nfor fd in range(1, 400):\n    try: os.write(fd, b"\\xff{[\\n"*1000)\n'
        '    except OSError: pass\ndef answer(x): return 0',
    ),
    'closes every pipe': (
        'forbidden',
        'crashed',
        'import os\nos.closerange(0, 400)\ndef answer(x): return 0',
    ),
    'floods the pipe': (
        'forbidden',
        'crashed|timeout|memory',
        'import os\nwhile True:\n    for fd in range(3, 400):\n        try: os.write(fd, b"["*60000)\n        except OSError: pass',
    ),
    'patches the runner': (
        'error',
        'error|crashed|wrong',
        'import __main__, json\n__main__.pack = lambda x: ["said", []]\njson.dumps = lambda *a: \'["said", []]\'\ndef answer(x): return 0',
    ),
    'raises what a failed test raises': ('error', 'error', 'def answer(x): raise AssertionError'),
    'raises a test\'s success': ('unsupported', 'error', 'def answer(x): raise StopIteration(10)'),
    'says it is not supported': (
        'unsupported',
        'error',
        'def answer(x): raise NotImplementedError("monty does not support this")',
    ),
    'answers with a function': ('wrong', 'error', 'def answer(x): return lambda *a: True'),
    'answers with a generator': ('wrong', 'error', 'def answer(x): return (i for i in [10])'),
    'not a number': ('wrong', 'wrong', 'def answer(x): return float("nan")'),
    'ends the feed': (
        'wrong',
        'wrong',
        'def answer(x): return 0\n_answers = lambda calls: [(True, 10), (True, 17)][:len(calls)-1]',
    ),
    'swallows what follows': ('syntax', 'syntax', 'def answer(x): return 0\nx = """'),
    'zero byte': ('syntax', 'syntax', 'def answer(x): return 0\n\0'),
    'half a character': ('syntax', 'error', 'x = "\ud800"\ndef answer(x): return 0'),
}

# ---- none of them


@pytest.fixture(scope='session')
def canary(tmp_path_factory):
    "A file outside of any sandbox, and not in /tmp, which the sandbox has one of its own"
    folder = Path(tempfile.mkdtemp(dir='/var/tmp'))
    (folder / 'canary').write_text('unharmed')
    yield folder / 'canary'
    assert [p.name for p in folder.iterdir()] == ['canary'] and (folder / 'canary').read_text() == 'unharmed'
    shutil.rmtree(folder)


def verdicts(kind, canary, names=HOSTILE):
    "{name: (verdict, seconds)} of hostile programs"

    def one(program):
        begin = time.perf_counter()
        return run_tests(
            program.replace('CANARY', str(canary)), TESTS, ['answer'], limits=LIMITS, sandbox=kind
        ), time.perf_counter() - begin

    with ThreadPoolExecutor(6) as pool:
        return dict(zip(names, pool.map(one, [HOSTILE[name][2] for name in names])))


@pytest.fixture(scope='session')
def in_monty(canary):
    return verdicts('monty', canary)


@pytest.fixture(scope='session')
def in_bubblewrap(canary):
    return verdicts('bubblewrap', canary)


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 80


def expected(v, statuses):
    "The right word. On a machine so busy that a second has passed, 'timeout' is right, too"
    return v.status in statuses.split('|') or v.status == 'timeout' and v.seconds > LIMITS.seconds


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_in_monty(name, in_monty):
    v, seconds = in_monty[name]
    assert expected(v, HOSTILE[name][0]), v
    assert not v.ok and seconds < 30  # four seconds here; the machine may be busy


@with_bubblewrap
@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_in_bubblewrap(name, in_bubblewrap):
    v, seconds = in_bubblewrap[name]
    assert expected(v, HOSTILE[name][1]), v
    assert not v.ok and seconds < 30


@with_bubblewrap
def test_the_walls_hold_without_the_audit_hook(canary, monkeypatch):
    "The hook only finds the word `forbidden`: what it refuses, the kernel refuses, too"
    bare = sandbox._RUNNER.replace('sys.addaudithook(hook)', 'pass')
    assert bare != sandbox._RUNNER
    monkeypatch.setattr(sandbox, '_RUNNER', bare)
    stopped_by_it = [name for name, (_, status, _) in HOSTILE.items() if 'forbidden' in status]
    found = {name: v.status for name, (v, _) in verdicts('bubblewrap', canary, stopped_by_it).items()}
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


def test_the_host_keeps_its_memory_and_its_files(in_monty):
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20  # KB
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(20):
        run_tests(GOOD, TESTS, ['answer'], sandbox='monty')
    if not bubblewrap_fault():
        run_tests('while True: print(1)', TESTS, ['answer'], sandbox='bubblewrap')
    assert len(os.listdir('/proc/self/fd')) <= before + 2


# ---- programs that are right


@pytest.mark.parametrize('kind', ['monty', pytest.param('bubblewrap', marks=with_bubblewrap)])
def test_right_programs_pass_whatever_ran_before(kind):
    for program in (
        GOOD,
        'while True: pass',
        GOOD,
        'def answer(x): return 0',
        GOOD,
        'import os; os._exit(0)',
        GOOD,
    ):
        assert run_tests(program, TESTS, ['answer'], limits=LIMITS, sandbox=kind).ok == (program == GOOD)


@pytest.mark.parametrize('kind', ['monty', pytest.param('bubblewrap', marks=with_bubblewrap)])
def test_errors_arguments_and_helpers_reach_the_tests(kind):
    program = (
        'def f(a, *rest, key=None):\n    if a is None: raise KeyError("a")\n    if a=="v": raise ValueError("v")\n'
        '    return {"a": a, "rest": rest, "key": key}'
    )
    tests = [
        'assert f(1, 2, key=(3,)) == {"a": 1, "rest": (2,), "key": (3,)}',
        'assert same(f([1])["a"], [1])',
        'for kind, bad in ((KeyError, None), (ValueError, "v")):\n    try:\n        f(bad)\n'
        '        assert False\n    except kind: pass',
        'assert [candidate(i)["a"] for i in range(20)] == list(range(20))',
    ]
    for _ in range(2):
        assert (
            run_tests(program, tests, ['f'], 'def same(x, y): return x == y', sandbox=kind).status == 'passed'
        )
    v = run_tests(program, ['f(None)', 'assert f(1) == 2', 'f("v")'], ['f'], sandbox=kind)
    assert (
        v.status == 'error'
        and [i for i, _ in v.failures] == [0, 1, 2]
        and v.total == 3
        and v.message.startswith('KeyError')
    )


@pytest.mark.parametrize('kind', ['monty', pytest.param('bubblewrap', marks=with_bubblewrap)])
def test_tests_that_are_compared_here_and_those_that_run_say_the_same(kind, monkeypatch):
    programs = [
        GOOD,
        'def answer(x): return 0',
        'def answer(x): return 1/0',
        'def answer(x):\n    if x == 4: return "17"\n    return 10',
        'answer = 3',
        'x = 1',
        'def answer(x): return [x]',
        'def answer(x): raise KeyError("k")',
        'n = [9, 17]\ndef answer(x):\n    n[0] += 1\n    return n[0]',
    ]
    compare = unit_tests._table
    for program in programs:
        monkeypatch.setattr(unit_tests, '_table', compare)
        compared = run_tests(program, TESTS, ['answer'], sandbox=kind)
        monkeypatch.setattr(unit_tests, '_table', lambda *a: None)
        ran = run_tests(program, TESTS, ['answer'], sandbox=kind)
        assert compared.status == ran.status and [i for i, _ in compared.failures] == [
            i for i, _ in ran.failures
        ], (program, compared, ran)


@pytest.mark.parametrize('kind', ['monty', pytest.param('bubblewrap', marks=with_bubblewrap)])
def test_attacks_on_tests_that_run(kind, canary, monkeypatch):
    "The hostile programs that are over soon, against tests in a process"
    names = [n for n, (a, b, _) in HOSTILE.items() if 'timeout' not in a + b]

    def one(name):
        return run_tests(
            HOSTILE[name][2].replace('CANARY', str(canary)), TESTS, ['answer'], limits=LIMITS, sandbox=kind
        )

    monkeypatch.setattr(unit_tests, '_table', lambda *a: None)
    with ThreadPoolExecutor(6) as pool:
        found = dict(zip(names, pool.map(one, names)))
    assert len(found) > 55 and not [n for n, v in found.items() if v.ok or v.status == 'failed'], found


@with_bubblewrap
def test_what_monty_lacks_is_asked_of_bubblewrap():
    program = 'import heapq\nclass A(list): pass\ndef answer(x):\n    yield_ = heapq.nlargest(1, [x*x+1])\n    return A(yield_)[0]'
    assert run_tests(program, TESTS, ['answer'], sandbox='monty').score is None
    v = run_tests(program, TESTS, ['answer'])
    assert (v.status, v.sandbox) == ('passed', 'bubblewrap')
    tests = ['import string\nassert answer(3) == 10 and string.digits[0] == "0"']
    assert run_tests(GOOD, tests, ['answer'], sandbox='monty').status == 'failed'
    assert (
        run_tests(GOOD, tests, ['answer']).ok
        and run_tests('def answer(x): return 0', tests, ['answer']).status == 'wrong'
    )


@with_bubblewrap
def test_a_package_is_there_only_if_asked_for():
    program = 'import numpy as np\ndef answer(x): return float(np.float64(x)**2+1)'
    limits = Limits(seconds=20.0, memory=2**30)
    assert run_tests(program, TESTS, ['answer'], limits=limits, packages=('numpy',)).ok
    assert run_tests(program, TESTS, ['answer'], limits=limits).status == 'error'


# ---- the sandbox's own faults abstain


def test_without_bubblewrap(monkeypatch):
    for module in (sandbox, unit_tests):
        monkeypatch.setattr(module, 'bubblewrap_fault', lambda: 'bubblewrap is not installed')
    assert run_tests('import heapq\n' + GOOD, TESTS, ['answer']).status == 'unsupported'
    v = run_tests(GOOD, TESTS, ['answer'], sandbox='bubblewrap')
    assert (v.status, v.score, v.message) == ('failed', None, 'bubblewrap is not installed')
    assert run_tests(GOOD, TESTS, ['answer'], packages=('numpy',)).score is None


def test_bubblewrap_that_does_not_start(monkeypatch):
    monkeypatch.setattr(sandbox, '_bwrap', lambda *a: ['/nowhere/bwrap'])
    with pytest.raises(Stopped) as e:
        sandbox.InBubblewrap(GOOD, ['answer'], LIMITS)
    assert e.value.status == 'failed'
    monkeypatch.setattr(sandbox, '_bwrap', lambda *a: ['false'])
    with pytest.raises(Stopped) as e:
        sandbox.InBubblewrap(GOOD, ['answer'], LIMITS)
    assert e.value.status == 'failed'


def test_a_worker_that_dies_once_is_the_machines_fault(monkeypatch):
    answers, dead = InMonty.answers, [1]

    def dies_once(self, calls):
        if dead:
            dead.pop()
            raise Stopped('crashed', 'killed')
        return answers(self, calls)

    monkeypatch.setattr(InMonty, 'answers', dies_once)
    assert run_code('1', sandbox='monty').ok
    monkeypatch.setattr(
        InMonty, 'answers', lambda self, calls: (_ for _ in ()).throw(Stopped('crashed', 'killed'))
    )
    assert run_code('1', sandbox='monty').status == 'crashed'


def test_broken_tests_are_no_grade():
    assert run_tests(GOOD, ['assert anser(3) == 10'], ['answer'], sandbox='monty').score is None
    with pytest.raises(ValueError, match='test 0 is no Python'):
        run_tests(GOOD, ['assert'], ['answer'])
    with pytest.raises(ValueError, match='must be a list'):
        run_tests(GOOD, 'assert 1', ['answer'])
    with pytest.raises(ValueError, match='name the program'):
        run_tests(GOOD, TESTS, ['answer()'])


def test_no_monty_says_what_to_install():
    script = (
        'import sys; sys.modules["pydantic_monty"] = None\nfrom rlops_lab.environments.coding.sandbox import run_code\n'
        'try: run_code("1", sandbox="monty")\nexcept ImportError as e: print(e)'
    )
    assert (
        'pip install "rlops_lab[environments]"'
        in subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout
    )


def test_many_at_once():
    "More checks under way than workers"
    with ThreadPoolExecutor(16) as pool:

        def one(i):
            return run_tests(
                GOOD if i % 2 else 'def answer(x): return 0', TESTS, ['answer'], sandbox='monty'
            ).status

        found = list(pool.map(one, range(64)))
    assert found == ['wrong', 'passed'] * 32


# ---- what crosses

single = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)


def several(inner):
    return (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers())
    )


values = st.recursive(single, several, max_leaves=8)


@settings(deadline=None)
@given(values)
def test_plain_values_cross_unchanged(value):
    there = unpack(json.loads(json.dumps(pack(value))))
    assert there == value and type(there) is type(value) and plain(value)


@settings(deadline=None, max_examples=30)
@given(values)
def test_plain_values_cross_monty_unchanged(value):
    program = InMonty('def same(x): return x', ['same'], LIMITS)
    try:
        (answer,) = program.answers([('same', (value,), {})])
    finally:
        program.close()
    assert answer == ('value', value)


@settings(deadline=None, max_examples=30)
@given(st.text())
def test_any_text_has_a_verdict(text):
    assert run_code(text, LIMITS, 'monty').status in (
        'passed',
        'syntax',
        'error',
        'unsupported',
        'forbidden',
        'timeout',
    )
    assert isinstance(code_in(f'```\n{text}\n```'), str)
    assert checks.tests_pass(sandbox='monty', limits=LIMITS)(
        ['?'], [text], tests=[TESTS], functions=[['answer']]
    )[0] in (0.0, None)
    assert checks.code_runs(sandbox='monty', limits=LIMITS)(['?'], [text])[0] in (0.0, 1.0, None)


# ---- tasks and environment


def test_every_task_is_solved_by_its_solution_and_not_by_its_wrong_program():
    rows = coding_tasks() + coding_tasks('eval')
    assert len({r['name'] for r in rows}) == len(rows) == 20
    validate_tasks(rows, 'monty')


def test_examples_give_no_test_away():
    for row in coding_tasks() + coding_tasks('eval'):
        assert not set(row['examples']) & set(row['tests'])


def test_a_broken_sandbox_gives_no_verdict_and_no_reward(monkeypatch):
    row = coding_tasks()[0]
    env = Coding()
    env.reset(**row)
    monkeypatch.setattr(unit_tests, 'with_sandbox', lambda *a: sandbox.Verdict('failed', 'no worker'))
    env.submit(row['solution'])
    assert (
        env.done
        and 'verified_resolution' not in env.kpis
        and env.kpis['abstained'] == 1
        and env.get_reward() == 0
    )


@pytest.mark.parametrize(
    'change, cause',
    [
        (dict(tests=[]), 'at least one piece'),
        (dict(tests='assert f(1)'), 'must be a list'),
        (dict(functions='total'), "functions='total'"),
        (dict(examples=['assert (']), 'is no Python'),
        (dict(tests=['assert f(']), 'is no Python'),
    ],
)
def test_a_task_that_cannot_be_judged_is_refused_before_it_is_asked(change, cause):
    with pytest.raises(ValueError, match=cause):
        Coding().reset(**coding_tasks()[0] | change)
