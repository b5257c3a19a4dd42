"Tests: right programs pass whatever ran before, and tests that run decide as those that are compared."

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from hostile_programs import GOOD, HOSTILE, LIMITS, TESTS, attack

from rlops_lab.environments.coding import sandbox, unit_tests
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.unit_tests import run_tests

with_bubblewrap = pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())
KINDS = ['monty', pytest.param('bubblewrap', marks=with_bubblewrap)]


@pytest.mark.parametrize('kind', KINDS)
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


@pytest.mark.parametrize('kind', KINDS)
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


EXPECTING = [
    'try:\n    answer(-1)\n    assert False, "no error"\nexcept ValueError: pass',
    'try: answer(None)\nexcept (TypeError, KeyError): pass\nelse: assert False',
    'import pytest\nwith pytest.raises(LookupError): answer("k")',
    'for x, y in ((3, 10), (4, 17)): assert answer(x) == y',
]
STRICT = (
    'def answer(x):\n    if x is None: raise TypeError("none")\n    if x == "k": raise KeyError(x)\n'
    '    if x < 0: raise ValueError("negative")\n    return x*x+1'
)


@pytest.mark.parametrize('tests', [TESTS, EXPECTING], ids=['values', 'errors'])
@pytest.mark.parametrize('kind', KINDS)
def test_tests_that_are_compared_here_and_those_that_run_say_the_same(kind, tests, monkeypatch):
    programs = [
        GOOD,
        STRICT,
        STRICT.replace('ValueError', 'KeyError'),
        STRICT.replace('KeyError(x)', 'IndexError()'),
        STRICT.replace('KeyError(x)', 'Exception(x)'),
        STRICT.replace('if x < 0', 'if x > 3'),
        'def answer(x): return 0',
        'def answer(x): return 1/0',
        'def answer(x):\n    if x == 4: return "17"\n    return 10',
        'answer = 3',
        'x = 1',
        'def answer(x): return [x]',
        'def answer(x): raise KeyError("k")',
        'n = [9, 17]\ndef answer(x):\n    n[0] += 1\n    return n[0]',
    ]
    compare = unit_tests.comparisons
    for program in programs:
        monkeypatch.setattr(unit_tests, 'comparisons', compare)
        compared = run_tests(program, tests, ['answer'], sandbox=kind)
        monkeypatch.setattr(unit_tests, 'comparisons', lambda *a: None)
        ran = run_tests(program, tests, ['answer'], sandbox=kind)
        assert compared.status == ran.status and [i for i, _ in compared.failures] == [
            i for i, _ in ran.failures
        ], (program, compared, ran)
    form = unit_tests.runnable_tests(tuple(tests), ('answer',))
    assert compare(form.sources, ('answer',))


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_that_the_setup_renames_is_the_setups(kind):
    tests = ['try:\n    answer(1)\n    assert False\nexcept ValueError: pass']
    result = run_tests(
        'def answer(x): raise TypeError("other")', tests, ['answer'], 'ValueError = TypeError', sandbox=kind
    )
    assert result.ok, result


@pytest.mark.parametrize('kind', KINDS)
def test_what_a_program_does_to_its_arguments_is_seen(kind):
    program = (
        'def change(x):\n    if isinstance(x, list): x.append(3)\n    elif isinstance(x, set): x.add(3)\n'
        '    else: x["k"].append(3)'
    )
    tests = [
        's = {1}\nchange(s)\nassert s == {1, 3}',
        'd = {"k": [1]}\ninner = d["k"]\nchange(d)\nassert d == {"k": [1, 3]} and inner is d["k"]',
        'x = [1]\ny = x\nchange(x)\nassert y == [1, 3]',
    ]
    result = run_tests(program, tests, ['change'], sandbox=kind)
    assert result.status == 'passed', result


@pytest.mark.parametrize('kind', KINDS)
def test_attacks_on_tests_that_run(kind, canary, monkeypatch):
    "The hostile programs that are over soon, against tests in a process"
    names = [name for name, it in HOSTILE.items() if 'timeout' not in it.in_monty + it.in_bubblewrap]
    monkeypatch.setattr(unit_tests, 'comparisons', lambda *a: None)
    found = {name: result for name, (result, _) in attack(kind, canary, names).items()}
    assert len(found) > 55
    assert not [name for name, v in found.items() if v.ok or v.status == 'failed'], found


@with_bubblewrap
def test_what_monty_lacks_is_asked_of_bubblewrap():
    program = (
        'import heapq\nclass A(list): pass\ndef answer(x):\n    yield_ = heapq.nlargest(1, [x*x+1])\n '
        '   return A(yield_)[0]'
    )
    assert run_tests(program, TESTS, ['answer'], sandbox='monty').score is None
    v = run_tests(program, TESTS, ['answer'])
    assert (v.status, v.sandbox) == ('passed', 'bubblewrap')
    tests = ['import string\nassert answer(3) == 10 and string.digits[0] == "0"']
    assert run_tests(GOOD, tests, ['answer'], sandbox='monty').status == 'failed'
    assert (
        run_tests(GOOD, tests, ['answer']).ok
        and run_tests('def answer(x): return 0', tests, ['answer']).status == 'wrong'
    )


def test_without_bubblewrap(monkeypatch):
    for module in (sandbox, unit_tests):
        monkeypatch.setattr(module, 'bubblewrap_fault', lambda: 'bubblewrap is not installed')
    assert run_tests('import heapq\n' + GOOD, TESTS, ['answer']).status == 'passed'
    needs_it = 'import heapq\ndef answer(x): return heapq.nlargest(1, [x*x+1])[0]'
    result = run_tests(needs_it, TESTS, ['answer'])
    assert (result.status, result.score) == ('unsupported', None) and 'heapq' in result.message
    v = run_tests(GOOD, TESTS, ['answer'], sandbox='bubblewrap')
    assert (v.status, v.score, v.message) == ('failed', None, 'bubblewrap is not installed')
    assert run_tests(GOOD, TESTS, ['answer'], packages=('numpy',)).score is None


def test_broken_tests_are_no_grade():
    assert run_tests(GOOD, ['assert anser(3) == 10'], ['answer'], sandbox='monty').score is None
    with pytest.raises(ValueError, match='test 0 is not Python'):
        run_tests(GOOD, ['assert'], ['answer'])
    with pytest.raises(ValueError, match='must be a list'):
        run_tests(GOOD, 'assert 1', ['answer'])
    with pytest.raises(ValueError, match='name the program'):
        run_tests(GOOD, TESTS, ['answer()'])


def test_many_at_once():
    "More checks under way than workers"
    with ThreadPoolExecutor(16) as pool:

        def one(i):
            return run_tests(
                GOOD if i % 2 else 'def answer(x): return 0', TESTS, ['answer'], sandbox='monty'
            ).status

        found = list(pool.map(one, range(64)))
    assert found == ['wrong', 'passed'] * 32


@pytest.mark.parametrize('kind', KINDS)
def test_an_answer_that_is_too_much_for_the_tests_is_the_programs_fault(kind):
    "Or a program could have its tests break down, and be spared a grade"
    tests = ['x = 3\nfor _ in range(40): y = answer(x)*1000\nassert y == 1']
    result = run_tests('def answer(x): return [0]*10**5', tests, ['answer'], limits=LIMITS, sandbox=kind)
    assert result.score == 0.0, result
