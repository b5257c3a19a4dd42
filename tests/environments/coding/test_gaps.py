"Monty's gaps are no fault of a program, and no way for it to be spared a grade."

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.gaps import python_tree
from rlops_lab.environments.coding.sandbox import run_code
from rlops_lab.environments.coding.unit_tests import run_tests
from rlops_lab.rewards.checks import tests_pass as passes_tests
from rlops_lab.rewards.compose import WeightedSum

KINDS = [
    'monty',
    pytest.param('bubblewrap', marks=pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())),
]

# each answers 3 for 3, in Python
USES_WHAT_MONTY_LACKS = {
    'a module': 'import heapq\ndef f(x): return heapq.nlargest(1, [x, 2])[0]',
    'a name of a module': 'from collections import Counter, OrderedDict\n'
    'def f(x): return list(OrderedDict([(x, 1)]))[0]',
    'a submodule': 'import collections.abc\ndef f(x): return x if isinstance([], collections.abc.Sequence) else 0',
    'an import in a function': 'def f(x):\n    from operator import itemgetter\n    return itemgetter(0)([x])',
    'a method': 'def f(x): return int(str(x).translate({}))',
    'a method of a type': 'def f(x): return sorted([str(x), "B"], key=str.lower) and x',
    'a method as a value': 'def f(x):\n    found = []\n    list(map(found.append, [x]))\n    return found[0]',
    'a built-in function': 'def f(x): return x if callable(f) else 0',
    'a name of a function': 'def f(x): return x if f.__name__ == "f" else 0',
    'what hasattr knows': 'def f(x): return x if hasattr("a", "upper") else 0',
    'a generator': 'def g(x): yield x\ndef f(x): return next(g(x))',
    'a generator expression': 'def f(x): return next(i for i in [x])',
    'next of a map': 'def f(x): return next(map(int, [x]))',
    'inheritance': 'class A(list): pass\ndef f(x): return A([x])[0]',
    'an exception': 'class E(Exception): pass\ndef f(x):\n    try: raise E\n    except E: return x',
    'a property': 'class A:\n    @property\n    def three(self): return 3\ndef f(x): return A().three',
    'a special method': 'class A:\n    def __len__(self): return 3\ndef f(x): return len(A())',
    'an ordered class': 'class A:\n    def __init__(self, x): self.x = x\n'
    '    def __lt__(self, other): return self.x < other.x\n'
    'def f(x): return sorted([A(4), A(x)])[0].x',
    'a false class': 'class A:\n    def __bool__(self): return False\ndef f(x): return 0 if A() else x',
    'del': 'def f(x):\n    items = [x, 1]\n    del items[1]\n    return items[0]',
    'a function in re.sub': 'import re\ndef f(x): return int(re.sub("a", lambda found: "", f"a{x}"))',
    'an inverse': 'def f(x): return x if pow(3, -1, 7) == 5 else 0',
    'a key by comparison': 'from functools import cmp_to_key\n'
    'def f(x): return sorted([x], key=cmp_to_key(lambda a, b: a-b))[0]',
}


@pytest.mark.parametrize('tests', [['assert f(3) == 3'], ['y = 3\nassert f(y) == y']], ids=['compared', 'run'])
@pytest.mark.parametrize('name', USES_WHAT_MONTY_LACKS)
def test_a_right_program_is_never_failed_for_a_gap(name, tests):
    result = run_tests(USES_WHAT_MONTY_LACKS[name], tests, ['f'], sandbox='monty')
    assert result.status in ('passed', 'unsupported') and result.score in (1.0, None), result
    if not bubblewrap_fault():
        assert run_tests(USES_WHAT_MONTY_LACKS[name], tests, ['f']).status == 'passed'


PRETENDS = {
    'says so': 'def f(x): raise NotImplementedError("monty does not support this")',
    'in its words': 'def f(x): raise NotImplementedError("The monty syntax parser does not yet support yield")',
    'a module': 'def f(x): raise ModuleNotFoundError("No module named \'heapq\'")',
    'while it is loaded': 'raise NotImplementedError("monty does not support this")',
    'a name': 'def f(x): raise NameError("name \'bytearray\' is not defined")',
    'an attribute': 'def f(x): raise AttributeError("\'str\' object has no attribute \'translate\'")',
    'an internal error': 'def f(x): raise RuntimeError("Internal error in monty: no")',
    'by a variable': 'def f(x):\n    error = NotImplementedError("monty")\n    raise error',
    'by a function': 'def error(): return NotImplementedError("monty")\ndef f(x): raise error()',
    'again': 'def f(x):\n    try: raise NotImplementedError("monty")\n    except Exception: raise',
    'again, by name': 'def f(x):\n    try: raise NotImplementedError("monty")\n'
    '    except Exception as error: raise error',
    'in a text': 'def f(x): exec("raise NotImplementedError(\'monty\')")',
    'in umlauts': 'def f(x): "äöü"; raise NotImplementedError("äöü monty support")',
    'a cut name': 'import heapq\ndef f(x): raise NameError("name \'heapq\' is not defined")',
    'an exit': 'import sys\ndef f(x): sys.exit(0)',
    'quits': 'def f(x): quit()',
    'imports and is wrong': 'import heapq\ndef f(x): return 0',
    'yields elsewhere and is wrong': 'def g(): yield 1\ndef f(x): return 0',
    'inherits elsewhere and is wrong': 'class A(list): pass\ndef f(x): return 0',
    'an object that is equal to all': 'class A:\n    def __eq__(self, other): return True\n'
    '    def __lt__(self, other): return True\n'
    'def f(x): return A()',
    'needs it for one test, and is wrong in the other': 'import heapq\n'
    'def f(x): return heapq.nlargest(1, [3])[0] if x == 3 else 0',
}


@pytest.mark.parametrize('kind', [*KINDS, 'auto'])
@pytest.mark.parametrize('name', PRETENDS)
def test_who_only_pretends_is_graded(name, kind):
    compared = ['assert f(3) == 3', 'assert f(4) == 4']
    run = ['for y in (3, 4): assert f(y) == y', 'z = 4\nassert f(z) == 4']
    for tests in (compared, run):
        result = run_tests(PRETENDS[name], tests, ['f'], sandbox=kind)
        assert result.score == 0.0, result


def test_nothing_is_paid_for_abstaining():
    def polite(prompts, completions, **columns):
        return [1.0] * len(completions)

    reward = WeightedSum(dict(tests=passes_tests(sandbox='monty'), polite=polite), weights=dict(tests=0.9, polite=0.1))
    programs = [PRETENDS['says so'], PRETENDS['imports and is wrong'], 'def f(x): return x']
    columns = dict(tests=[['assert f(3) == 3']] * 3, functions=[['f']] * 3)
    assert reward(['?'] * 3, programs, **columns) == pytest.approx([0.1, 0.1, 1.0])


def test_a_program_that_pretends_while_it_runs_is_an_error():
    assert run_code('raise NotImplementedError("monty does not support this")', sandbox='monty').status == 'error'
    assert run_code('import string\nstring.digits', sandbox='monty').status == 'unsupported'
    assert run_code('import string', sandbox='monty').status == 'passed'


def test_a_program_has_no_part_in_what_tests_need():
    "One program must not make the tests look broken for the next"
    tests = ['assert f(1).count(1) == 1', 'x = f(2)\nassert x == [2]']
    for program in ('def f(x): return (1).conjugate', 'def f(x): return {1: 2}', 'def f(x): return "".translate({})'):
        assert run_tests(program, tests, ['f'], sandbox='monty').status != 'failed'
    assert run_tests('def f(x): return [x]', tests, ['f'], sandbox='monty').ok


class _Cycle:
    "Garbage whose end runs Python, so that another thread gets its turn while a tree is built"

    def __init__(self):
        self.me = self

    def __del__(self):
        sum(range(50))


def test_threads_that_parse_at_once_each_get_their_tree():
    "Python before 3.11.8 raises SystemError then, and a gap would be taken for the program's error"
    source = 'x = [1, (2, 3), {4: [5, [6, [7]]]}]\n' * 200

    def trees(_):
        _Cycle()
        return python_tree(source)

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20, 2, 2)
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(trees, range(120)))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert None not in found
