"""Do notebooks, modules and README.md agree, can the code be read, and do the notebooks run?

`python .ci/check.py [name ...]` in the repository's root. The names are the functions in `checks` below,
all of them when none is given. Each fault is one line: file, cause, cure."""

import ast
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import narrative as reading
import readme
from execnb.nbio import read_nb
from IPython.core.inputtransformer2 import TransformerManager
from nbdev.process import extract_directives

root = Path.cwd()
lib, nbs = root / 'rlops_lab', root / 'nbs'
commands = Path(sys.executable).parent
exports = {'export', 'exporti', 'exports'}


def rel(path):
    return path.relative_to(root).as_posix()


def notebooks():
    "Every notebook that nbdev sees: none whose name, or whose folder's, starts with a dot or an underscore"
    return [
        p
        for p in sorted(nbs.rglob('*.ipynb'))
        if not any(part[0] in '._' for part in p.relative_to(nbs).parts)
    ]


def code_cells(path):
    "(position, cell, directives) of each code cell"
    for i, cell in enumerate(read_nb(path).cells):
        if cell.cell_type == 'code':
            yield i, cell, extract_directives(cell, remove=False)


def nbdev(command, folder):
    # under IN_TEST nbdev_export does nothing, silently
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    subprocess.run([commands / command], cwd=folder, env=env, check=True)


def fresh_copy(folder):
    "The notebooks, the settings and the package's faces, in a folder where nbdev can work"
    shutil.copy(root / 'settings.ini', folder)
    for face in (lib / '__init__.py', lib / 'core' / '__init__.py'):  # written by hand: no notebook exports them
        copy = folder / face.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if face.exists():
            shutil.copy(face, copy)
    shutil.copytree(nbs, folder / 'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    return folder


# ---- the checks: each yields its faults


def readable():
    "Every notebook is JSON that nbdev can read"
    for p in notebooks():
        try:
            json.loads(p.read_text(encoding='utf-8'))['cells']
        except (ValueError, KeyError) as e:
            yield f'{rel(p)}: not a notebook ({e}). After a merge conflict run `nbdev_fix {rel(p)}`'


def paths():
    "A notebook's path with the numbers taken off is its module"
    owner = {}
    for p in notebooks():
        directives = [d for _, _, d in code_cells(p)]
        module = next((d['default_exp'][0] for d in directives if d.get('default_exp')), None)
        parts = p.relative_to(nbs).with_suffix('').parts
        want = '.'.join(re.sub(r'^\d+_', '', part) for part in parts)
        exporting = [d for d in directives if exports & d.keys()]
        if parts == ('index',) or parts[0] == 'tutorials':
            if module or exporting:
                yield (
                    f'{rel(p)}: exports code, but index and tutorials export nothing. '
                    'Move it to a numbered notebook'
                )
            continue
        if module is None:
            yield (
                f'{rel(p)}: has no `#| default_exp`. '
                f'Add `#| default_exp {want}`, or move the notebook to nbs/tutorials'
            )
        elif module in owner:
            yield (
                f'{rel(p)}: exports {module}, as {owner[module]} does; one would replace the other. '
                'Rename one of them'
            )
        elif module != want:
            yield (
                f'{rel(p)}: exports {module}, its path says {want}. '
                'Rename the notebook or change its `#| default_exp`'
            )
        if any(d[name] for d in exporting for name in exports & d.keys()):
            yield (
                f'{rel(p)}: an `#| export` names another module. '
                'A notebook exports one module, its own: take the name away'
            )
        owner.setdefault(module, rel(p))


def clean():
    "What `nbdev_clean` would change"
    with tempfile.TemporaryDirectory() as tmp:
        copy = fresh_copy(Path(tmp))
        nbdev('nbdev_clean', copy)
        for p in notebooks():
            if not filecmp.cmp(p, copy / 'nbs' / p.relative_to(nbs), shallow=False):
                yield f'{rel(p)}: not clean. Run `nbdev_clean --fname {rel(p)}`'


def export():
    "The modules are what the notebooks export, and nothing else"

    def modules(folder):
        names = [p.relative_to(folder) for p in folder.rglob('*.py')]
        return {name: folder / name for name in names if name.parts[0] != 'samples'}

    with tempfile.TemporaryDirectory() as tmp:
        copy = fresh_copy(Path(tmp))
        nbdev('nbdev_export', copy)
        here, made = modules(lib), modules(copy / lib.name)
        for name in sorted(here.keys() | made.keys()):
            path = f'{lib.name}/{name.as_posix()}'
            if name not in made:
                yield f'{path}: no notebook exports it. Write the notebook, or delete the module'
            elif name not in here:
                yield f'{path}: missing. Run `nbdev_export`, and add the file'
            elif here[name].read_bytes() != made[name].read_bytes():
                yield (
                    f'{path}: differs from its notebook. Run `nbdev_export`; '
                    'to keep what was edited in the module, `nbdev_update` first'
                )


shows_nothing = re.compile(
    r'(test|assert)_\w+|seed_everything|.*\.(append|extend|sort|seed|close|update|run_line_magic|run_cell_magic)'
)


def should_show(source):
    "Does a cell with this source leave something on the page: a value at its end, or something printed?"
    if source.rstrip().endswith(';'):
        return False
    body = ast.parse(TransformerManager().transform_cell(source)).body

    def called(node):
        return ast.unparse(node.func) if isinstance(node, ast.Call) else ''

    def prints(stmt):
        return any(called(node) in ('print', 'display') for node in ast.walk(stmt))

    if any(prints(stmt) for stmt in body if isinstance(stmt, ast.Expr | ast.For | ast.While | ast.With)):
        return True
    if not body or not isinstance(body[-1], ast.Expr):
        return False
    value = body[-1].value
    return not shows_nothing.fullmatch(called(value.value if isinstance(value, ast.Await) else value))


def outputs():
    "Stored outputs: every cell that shows something has kept it, and none has kept an error"
    for p in notebooks():
        for i, cell, directives in code_cells(p):
            where, kept = f'{rel(p)}: cell {i} ({cell.id})', cell.get('outputs', [])
            if any(o.output_type == 'error' for o in kept):
                yield (
                    f'{where} has stored an error. Mend it or put it under `expect_fail`; '
                    'run the notebook and save it'
                )
            not_run = directives.get('eval:') == ['false']
            silent = not_run or directives.keys() & (exports | {'hide', 'default_exp'})
            if not kept and not silent and should_show(cell.source):
                yield (
                    f'{where} has no stored output. Run the notebook and save it; '
                    'a last line that shows nothing on purpose ends in `;`'
                )


def run():
    "Every notebook runs, each cell that no `#| slow` or the like keeps back"
    here = notebooks()
    if not here:
        yield 'nbs: no notebook to run. Is this the root of the repository?'
        return
    done, failed, listing = 0, [], False
    with subprocess.Popen(
        [commands / 'nbdev_test', '--do_print', '--timing', '--n_workers', str(min(4, os.cpu_count()))],
        cwd=root,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        encoding='utf-8',
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as tests:
        for line in tests.stdout:
            print(line, end='', flush=True)
            done += line.count('- Completed ')
            listing |= line.startswith('nbdev Tests Failed')
            if listing:
                failed += [p for p in here if p.name == line.strip()]
    for p in failed:
        yield (
            f'{rel(p)}: fails, with the traceback above. Mend it; '
            f'`nbdev_test --path {rel(p)} --do_print` runs it alone'
        )
    if tests.returncode and not failed:
        yield 'nbs: nbdev_test broke down, with the message above'
    if done != len(here):
        yield f'nbs: {done} of {len(here)} notebooks ran. Look for a `.notest` file'  # nbdev_test passes when none ran


def readme_fresh():
    "README.md and its pictures are what nbs/index.ipynb renders to"
    made = readme.render(root)
    stale = [
        path
        for path, content in made.items()
        if not (root / path).exists() or (root / path).read_bytes() != content
    ]
    for path in stale + [rel(p) for p in readme.left_over(root, made)]:
        yield f'{path}: not what nbs/index.ipynb gives. Run `make readme`'


def lint():
    "What ruff finds in modules, tests and tools, by the rules in pyproject.toml"
    folders = [name for name in ('rlops_lab', 'tests', '.ci') if (root / name).exists()]
    command = [commands / 'ruff', 'check', '--quiet', '--output-format', 'concise', *folders]
    found = subprocess.run(command, cwd=root, encoding='utf-8', capture_output=True)
    yield from (found.stdout + found.stderr).splitlines()


def narrative():
    "Can the code be read? The rules are in `.ci/narrative.py`"
    yield from reading.check(root)


checks = [readable, paths, clean, export, outputs, lint, narrative, readme_fresh, run]


def main(names):
    known = {c.__name__: c for c in checks}
    if unknown := set(names) - known.keys():
        raise SystemExit(f"no check is called {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    failed = False
    for name in names or known:
        faults = list(known[name]())
        for fault in faults:
            print(f'{name}: {fault}')
        if not faults:
            print(f'{name}: ok', flush=True)
        if faults and name == 'readable':
            raise SystemExit(1)  # the others read the notebooks
        failed |= bool(faults)
    raise SystemExit(failed)


if __name__ == '__main__':
    main(sys.argv[1:])
