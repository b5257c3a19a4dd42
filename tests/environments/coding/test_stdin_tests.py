"Programs that read and print."

import pytest

pytest.importorskip(
    'pydantic_monty', reason='pydantic-monty is not installed: pip install "rlops_lab[environments]"'
)
from rlops_lab.environments.coding.bubblewrap import bubblewrap_fault
from rlops_lab.environments.coding.limits import SandboxLimits
from rlops_lab.environments.coding.unit_tests import run_tests

KINDS = [
    'monty',
    pytest.param('bubblewrap', marks=pytest.mark.skipif(bool(bubblewrap_fault()), reason=bubblewrap_fault())),
    'auto',
]
SUMS = [dict(input='2\n1 2\n', output='3\n'), dict(input='1\n5\n', output='5')]
RIGHT = {
    'input': 'n = int(input())\nprint(sum(map(int, input().split())))',
    'read': 'import sys\nn, *rest = map(int, sys.stdin.read().split())\nprint(sum(rest))',
    'readline': 'import sys\ninput = sys.stdin.readline\ninput()\n'
    'sys.stdout.write(str(sum(map(int, input().split())))+"\\n")',
    'lines': 'import sys\nlines = [line for line in sys.stdin]\n'
    'print(sum(int(x) for x in lines[1].split()), end="  \\n\\n")',
    'main': 'import sys\ndef main():\n    input()\n    print(sum(int(x) for x in input().split()))\n    sys.exit()\n'
    'if __name__ == "__main__": main()',
    'exit': 'input()\nprint(sum(int(x) for x in input().split()))\nexit(0)',
}
WRONG = {
    'one answer': 'print(3)',
    'nothing': 'input()',
    'more': 'n = input()\nprint("n is", n)\nprint(sum(map(int, input().split())))',
    'too many reads': 'while True: input()',
    'an error after the answer': RIGHT['input'] + '\n1/0',
    'an exit with an error': 'import sys\n' + RIGHT['input'] + '\nsys.exit(1)',
    'for ever': 'while True: pass',
    'abstains': 'raise NotImplementedError("monty does not support this")',
}


@pytest.mark.parametrize('kind', KINDS)
def test_right_and_wrong_programs(kind):
    limits = SandboxLimits(seconds=5.0)
    for name, program in RIGHT.items():
        result = run_tests(program, SUMS, limits=limits, sandbox=kind)
        may_abstain = kind == 'monty' and name == 'readline'      # sys.stdin.readline as a value
        assert result.status == 'passed' or may_abstain and result.score is None, (name, result)
    for name, program in WRONG.items():
        result = run_tests(program, SUMS, limits=SandboxLimits(seconds=1.0), sandbox=kind)
        assert result.score == 0.0, (name, result)


@pytest.mark.parametrize('kind', KINDS)
def test_each_test_starts_anew_and_counts(kind):
    program = 'seen = []\nseen.append(input())\nprint(len(seen))'
    tests = [dict(input='a', output='1'), dict(input='b', output='1'), dict(input='c', output='2')]
    result = run_tests(program, tests, sandbox=kind)
    assert (result.status, result.total, [number for number, _ in result.failures]) == ('wrong', 3, [2])


@pytest.mark.parametrize(
    'tests, cause',
    [
        ([dict(input='1')], 'must be dict'),
        ([dict(input=['1'], output='1')], 'must be dict'),
        ([dict(input='1', output='1'), 'assert f(1)'], 'is no dict'),
        ([dict(input='1', output='')], 'expect no output'),
        ([], 'at least one'),
    ],
)
def test_what_is_no_test_is_refused(tests, cause):
    with pytest.raises(ValueError, match=cause):
        run_tests('print(1)', tests)
