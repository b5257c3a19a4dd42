"The package's plan: everyday names from the package itself, imports that point up the table, no circle."

import ast
import sys
import time
from pathlib import Path
from subprocess import run

import pytest

import rlops_lab

PACKAGE = Path(rlops_lab.__file__).parent

# DESIGN's table, the reading order of the notebooks: a room imports rooms that stand above it
TABLE = """
core stats
models samplers
environments environments.support_desk environments.text_to_sql environments.coding environments.extraction
rollouts rewards judges rejection finetune ppo
tokenomics observe serve widgets recipes
""".split()


def modules():
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob('*.py'))
    return [path for path in found if path.name[0] != '_' and path.parts[0] != 'samples']


def room(parts):
    "The innermost folder of a module, or the module itself where it stands alone"
    name = '.'.join(parts[:-1])
    return name if name in TABLE else parts[0]


def imports(path):
    "Parts of each of our modules that a module imports, wherever in it"
    package = ('rlops_lab', *path.with_suffix('').parts[:-1])
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else ()
        target = (*base, *(node.module or '').split('.')) if node.module else base
        if target[:1] == ('rlops_lab',):
            for name in node.names:
                whole = (*target[1:], name.name)
                is_module = (PACKAGE.joinpath(*whole).with_suffix('.py')).exists()
                yield whole if is_module else target[1:]


def arrows():
    "{(importing room, imported room): modules that do so}"
    found = {}
    for path in modules():
        parts = path.with_suffix('').parts
        for target in imports(path):
            if target and room(parts) != room(target):
                found.setdefault((room(parts), room(target)), set()).add(path.as_posix())
    return found


def test_every_room_stands_in_the_table():
    assert {room(path.with_suffix('').parts) for path in modules()} <= set(TABLE)


def test_imports_point_up_the_table():
    place = {name: i for i, name in enumerate(TABLE)}
    down = {pair: who for pair, who in arrows().items() if place[pair[1]] > place[pair[0]]}
    assert not down


def test_no_module_imports_itself_by_a_detour():
    "Depth first: a module that is met again while its imports are followed closes a circle"
    graph = {path.with_suffix('').parts: set(imports(path)) for path in modules()}
    done, trail = set(), []

    def follow(module):
        assert module not in trail, f'a circle: {trail[trail.index(module) :] + [module]}'
        if module in done or module not in graph:
            return
        trail.append(module)
        for target in graph[module] - {module}:
            follow(target)
        trail.pop()
        done.add(module)

    for module in graph:
        follow(module)


# ---- the face


@pytest.mark.parametrize('name', rlops_lab.__all__)
def test_an_everyday_name_is_there(name):
    assert getattr(rlops_lab, name).__module__.startswith('rlops_lab.')


def test_there_are_some_25_of_them():
    assert 20 <= len(rlops_lab.__all__) <= 30
    assert set(rlops_lab.__all__) <= set(dir(rlops_lab))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='nothing'):
        rlops_lab.nothing  # noqa: B018


def test_the_package_imports_fast_and_without_torch():
    code = "import rlops_lab, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    began = time.perf_counter()
    assert run([sys.executable, '-c', code]).returncode == 0
    assert time.perf_counter() - began < 3  # 0.3 s is the goal; a busy machine gets ten times that


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert (PACKAGE / 'py.typed').exists() and (PACKAGE / '__init__.pyi').exists()
