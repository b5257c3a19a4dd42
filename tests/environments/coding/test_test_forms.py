"Tests as people have them: HumanEval's field, pytest, unittest. They run, and what tests nothing is refused."

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.test_forms import runnable_tests
from rlops_lab.environments.coding.unit_tests import run_tests

KINDS = [
    'monty',
    pytest.param('bubblewrap', marks=pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())),
]
HALF = 'def half(x):\n    if x < 0: raise ValueError("negative")\n    return x/2'
WRONG = [
    'def half(x):\n    if x < 0: raise ValueError("negative")\n    return x',
    'def half(x): return x/2',
    'def half(x): return None',
    'def half(x): raise ValueError("negative")',
]

FILES = {
    'check': 'METADATA = {}\ndef check(candidate):\n    assert candidate(4) == 2\n    try: candidate(-1)\n'
    '    except ValueError: return\n    assert False',
    'pytest': 'import pytest\nfrom solution import half\n\n@pytest.fixture\ndef number(): return 4\n\n'
    '@pytest.mark.parametrize("x, y", [(4, 2), pytest.param(2, 1, id="two")])\n'
    'def test_it(x, y): assert half(x) == y\n'
    'class TestHalf:\n    def setup_method(self): self.x = 4\n    def test_method(self): assert half(self.x) == 2\n'
    'def test_fixture(number): assert half(number) == pytest.approx(2)\n'
    'def test_error():\n    with pytest.raises(ValueError, match="neg"): half(-1)\n',
    'unittest': 'import unittest\nfrom solution import *\n\nclass Half(unittest.TestCase):\n'
    '    def setUp(self): self.x = 4\n'
    '    def test_values(self):\n        self.assertEqual(half(self.x), 2, msg="four")\n'
    '        self.assertAlmostEqual(half(.5), .25)\n'
    '        self.assertTrue(half(1)); self.assertIsInstance(half(1), float); self.assertIn(half(2), [1])\n'
    '        for i in range(3):\n            with self.subTest(i=i): self.assertLessEqual(half(i), i)\n'
    '    def test_error(self):\n        with self.assertRaises(ValueError) as caught: half(-1)\n'
    '        self.assertEqual(str(caught.exception), "negative")\n        self.assertRaises(ValueError, half, -2)\n'
    '        self.assertRaisesRegex(ValueError, "^neg", half, -2)\n\nif __name__ == "__main__":\n'
    '    unittest.main()\n',
    'asserts': 'def check_one(x, y): assert half(x) == y\nfor x in (2, 4): check_one(x, x//2)\n'
    'try:\n    half(-1)\n    assert False, "no error"\nexcept ValueError: pass',
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('form', FILES)
def test_each_form_tells_right_from_wrong(form, kind):
    test = FILES[form].replace('from solution import *\n', '')
    assert run_tests(HALF, [test], ['half'], sandbox=kind).status == 'passed'
    found = [run_tests(program, [test], ['half'], sandbox=kind).status for program in WRONG]
    assert set(found) <= {'wrong', 'error'}, found


@pytest.mark.parametrize('kind', KINDS)
def test_a_program_that_avoids_the_assertions_has_not_passed(kind):
    tests = ['for x, y in zip(half([2, 4]), [1, 2]): assert x == y']
    result = run_tests('def half(x): return []', tests, ['half'], sandbox=kind)
    assert (result.status, result.message) == ('wrong', 'no assertion was reached')
    assert run_tests('def half(x): return [i//2 for i in x]', tests, ['half'], sandbox=kind).ok


@pytest.mark.parametrize(
    'test',
    [
        'half(4) == 2',
        'print(half(4))',
        'def verify():\n    assert half(4) == 2',
        'class Helper:\n    def check(self): assert half(4) == 2',
        'assert True',
        'assert 1, "always"',
        'import unittest\nclass T(unittest.TestCase):\n    def helper(self): self.assertEqual(half(4), 2)',
        'def test_nothing(): half(4)',
        '',
    ],
)
def test_what_asserts_nothing_is_refused(test):
    with pytest.raises(ValueError, match='run no assertion'):
        run_tests(HALF, [test], ['half'])


@pytest.mark.parametrize(
    'test, cause',
    [
        ('def test_it(tmp_path): assert half(4)', 'tmp_path'),
        ('import pytest\npytest.importorskip("x")\nassert half(4) == 2', 'pytest.importorskip'),
        ('async def test_it(): assert half(4) == 2', 'async'),
        (
            'import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n'
            '        with self.assertLogs(): half(4)\n'
            '        self.assertEqual(half(4), 2)',
            'assertLogs',
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(test, cause):
    with pytest.raises(ValueError, match=cause):
        runnable_tests((test,), ('half',))


def test_forms_that_stay_as_they_are():
    form = runnable_tests(('assert half(4) == 2', 'x = 1'), ('half',))
    assert form.sources == ('assert half(4) == 2', 'x = 1') and not form.helpers
