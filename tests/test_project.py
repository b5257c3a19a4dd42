"The project's own promises: imports stay light, the package is complete, and each check of `.ci/check.py` can fail."

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

root = Path(__file__).resolve().parent.parent
lib = root / 'rlops_lab'


def settings():
    ini = configparser.ConfigParser(delimiters='=')
    ini.read(root / 'settings.ini')
    return ini['DEFAULT']


def sh(*command, cwd=root, **env):
    "Run a command; its exit status and everything that it said"
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    return done.returncode, done.stdout


# ---- imports


TORCH_FREE = ('core', 'stats', 'html', 'environments', 'rewards', 'judges', 'observe', 'tokenomics')


def torch_free():
    "The modules that promise to import without torch, in the order of their names"
    modules = [p.relative_to(root).with_suffix('').parts for p in lib.rglob('*.py') if p.name[0] != '_']
    return sorted('.'.join(m) for m in modules if m[1] in TORCH_FREE)


def loaded_by(*modules):
    "Every module that importing these loads, in a fresh process"
    status, out = sh(sys.executable, '-X', 'importtime', '-c', 'import ' + ', '.join(modules))
    assert status == 0, out
    return {line.rsplit('|', 1)[1].strip() for line in out.splitlines() if line.startswith('import time:')}


def test_importing_the_package_and_core_loads_nothing_heavy():
    loaded = loaded_by('rlops_lab', 'rlops_lab.core.trajectories')
    assert 'rlops_lab.core.trajectories' in loaded
    assert loaded.isdisjoint({'torch', 'transformers', 'trl', 'datasets', 'matplotlib', 'pandas'})


@pytest.mark.parametrize('module', torch_free())
def test_module_imports_without_torch(module):
    assert loaded_by(module).isdisjoint({'torch', 'trl'})


# ---- packaging


def test_version_is_written_down_once():
    import rlops_lab

    assert rlops_lab.__version__ == settings()['version'] == version('rlops_lab')


def test_every_requirement_is_pinned_and_every_pin_is_allowed():
    lines = [line for line in (root / 'constraints.txt').read_text().splitlines() if line[0] != '#']
    assert lines == sorted(lines, key=str.lower)
    assert all(
        re.fullmatch(r'[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*', line) for line in lines
    )  # no local version, no file, no address
    pins = {re.sub('[_.]', '-', name.lower()): v for name, v in (line.split('==') for line in lines)}
    for key, wanted in settings().items():
        if not key.endswith('requirements') or key == 'vllm_requirements':
            continue
        for requirement in map(Requirement, wanted.split()):
            assert requirement.specifier.contains(pins[re.sub('[_.]', '-', requirement.name.lower())]), (
                f'{key}: {requirement}'
            )


def test_wheel_and_sdist_hold_the_package_and_nothing_else(tmp_path):
    src = tmp_path / 'src'
    src.mkdir()
    for name in (
        'settings.ini',
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'README.md',
        'LICENSE',
        'constraints.txt',
        'CHANGELOG.md',
    ):
        shutil.copy(root / name, src)
    for folder in ('rlops_lab', 'tests', 'nbs'):
        shutil.copytree(root / folder, src / folder, ignore=shutil.ignore_patterns('__pycache__'))
    (src / 'rlops_lab' / 'samples').mkdir(exist_ok=True)
    (src / 'rlops_lab' / 'samples' / 'probe.jsonl').write_text('{}\n')
    status, out = sh(
        sys.executable, '-m', 'build', '--no-isolation', cwd=src
    )  # builds the wheel from the sdist
    assert status == 0, out
    with zipfile.ZipFile(next((src / 'dist').glob('*.whl'))) as wheel:
        names = wheel.namelist()
        entry_points = wheel.read(next(n for n in names if n.endswith('entry_points.txt'))).decode()
    faces = {'rlops_lab/core/trajectories.py', 'rlops_lab/core/__init__.pyi'}
    assert faces | {'rlops_lab/samples/probe.jsonl'} <= set(names)
    assert {n.split('/')[0] for n in names} == {'rlops_lab', f"rlops_lab-{settings()['version']}.dist-info"}
    assert 'rlops-lab = rlops_lab.recipes.cli:main' in entry_points


# ---- make


def makefile_in(folder, *, pythons=None, installed=False):
    "The Makefile and what it reads, in a folder of their own; `pythons` are the only interpreters that make finds"
    for name in ('Makefile', 'settings.ini', 'setup.py', 'constraints.txt'):
        shutil.copy(root / name, folder)
    (folder / '.venv' / 'bin').mkdir(parents=True)
    if installed:
        for name in ('bin/python', '.demo', '.dev'):
            (folder / '.venv' / name).touch()
    tools = folder / 'tools'
    tools.mkdir()
    for name in ('make', 'sh', 'sed', 'awk', 'bash', 'touch'):
        (tools / name).symlink_to(shutil.which(name))
    for name, script in (pythons or {}).items():
        (tools / name).write_text(f'#!/bin/sh\n{script}\n')
        (tools / name).chmod(0o755)
    return dict(cwd=folder, PATH=str(tools))


def test_make_helps(tmp_path):
    status, out = sh('make', 'help', **makefile_in(tmp_path))
    assert status == 0 and all(
        f'make {name} ' in out for name in ('demo', 'test', 'lab', 'bench', 'readme', 'clean')
    )


def test_make_takes_the_first_python_that_fits(tmp_path):
    where = makefile_in(
        tmp_path, pythons={'python3.11': 'exit 127', 'python3.12': 'exit 0', 'python3': 'exit 1'}
    )
    status, out = sh('make', '.venv/bin/python', **where)
    assert status == 0 and 'python3.12 -m venv .venv' in out


def test_make_says_which_python_it_needs(tmp_path):
    status, out = sh(
        'make',
        'demo',
        **makefile_in(tmp_path, pythons=dict.fromkeys(('python3.11', 'python3.12', 'python3'), 'exit 1')),
    )
    assert status != 0 and 'No usable Python 3.11 or 3.12' in out and 'pip install' not in out


@pytest.mark.parametrize('changed', ['constraints.txt', 'settings.ini', 'setup.py'])
def test_make_installs_again_only_when_the_set_changed(tmp_path, changed):
    where = makefile_in(tmp_path, installed=True)
    assert 'pip install' not in sh('make', '-n', 'test', **where)[1]
    later = (tmp_path / '.venv' / '.dev').stat().st_mtime + 10
    os.utime(tmp_path / changed, (later, later))
    out = sh('make', '-n', 'test', **where)[1]
    assert (
        out.index('-c constraints.txt torch')
        < out.index("-e '.[train,dev,judge,environments,observe]'")
        < out.index('.ci/check.py')
    )


def test_make_bench_names_the_benchmarks(tmp_path):
    where = makefile_in(tmp_path, installed=True)
    (tmp_path / 'tests' / 'benchmarks').mkdir(parents=True)
    (tmp_path / 'tests' / 'benchmarks' / 'rollouts.py').touch()
    status, out = sh('make', 'bench', 'BENCH=nothing', **where)
    assert status != 0 and 'NAME one of: rollouts' in out


# ---- the checks of .ci/check.py, each on a small project that is in order until it is broken

pixel = b64encode(b'not really a picture').decode()


def notebook(*cells):
    cells = [dict(cell, id=f'cell{i:04}', metadata={}) for i, cell in enumerate(cells)]
    kernel = dict(display_name='python3', language='python', name='python3')
    return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


def md(source):
    return dict(cell_type='markdown', source=source.splitlines(True))


def code(source, *outputs):
    return dict(cell_type='code', source=source.splitlines(True), execution_count=None, outputs=list(outputs))


def value(**data):
    return dict(
        output_type='execute_result',
        execution_count=None,
        metadata={},
        data={k.replace('_', '/'): v for k, v in data.items()},
    )


def printed(text):
    return dict(output_type='stream', name='stdout', text=[text])


class Project:
    "A project in `folder`, to write to and to check"

    def __init__(self, folder):
        self.folder = folder
        self.sums = [
            code('#| default_exp sums'),
            md('# sums\n> Adds.'),
            code('#| export\ndef add(\n    a: int,\n    b: int,\n) -> int:\n    return a + b'),
            code('add(1, 2)', value(text_plain=['3'])),
            code('assert add(1, 2)==3'),
        ]

    def write(self, name, *cells):
        path = self.folder / 'nbs' / f'{name}.ipynb'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook(*cells), indent=1, sort_keys=True, ensure_ascii=False) + '\n')

    def check(self, *names):
        return sh(sys.executable, root / '.ci' / 'check.py', *names, cwd=self.folder)

    def readme(self):
        return sh(sys.executable, root / '.ci' / 'readme.py', cwd=self.folder)

    def faults(self, name, *expected):
        "The check fails, with one line that has every expected text in it"
        status, out = self.check(name)
        assert status == 1, out
        assert any(
            line.startswith(f'{name}: ') and all(e in line for e in expected) for line in out.splitlines()
        ), out


@pytest.fixture(scope='session')
def in_order(tmp_path_factory):
    "A project of one module and an index, in order"
    project = Project(tmp_path_factory.mktemp('in_order'))
    shutil.copy(root / 'settings.ini', project.folder)
    project.write('00_sums', *project.sums)
    project.write(
        'index',
        md('# A project\n\n[read](00_sums.ipynb), or look:\n\n![a](images/a.png)'),
        code('print(1)', printed('1\n')),
        code("'a picture'", value(text_plain=["'x'"], image_png=pixel)),
    )
    (project.folder / 'nbs' / 'images').mkdir()
    (project.folder / 'nbs' / 'images' / 'a.png').write_bytes(b'a')
    for command in ('nbdev_clean', 'nbdev_export'):
        assert sh(Path(sys.executable).parent / command, cwd=project.folder)[0] == 0
    assert project.readme()[0] == 0
    return project.folder


@pytest.fixture
def project(in_order, tmp_path):
    return Project(Path(shutil.copytree(in_order, tmp_path / 'project')))


def test_a_project_in_order_passes_every_check(project):
    status, out = project.check()
    assert status == 0, out
    assert re.findall(r'^(\w+): ok$', out, flags=re.M) == [
        'readable',
        'paths',
        'clean',
        'export',
        'outputs',
        'lint',
        'narrative',
        'readme_fresh',
        'run',
    ]


def test_unknown_check_is_refused(project):
    status, out = project.check('spelling')
    assert status != 0 and 'no check is called spelling' in out


def test_check_sees_a_broken_notebook(project):
    (project.folder / 'nbs' / '00_sums.ipynb').write_text('<<<<<<< HEAD\n')
    project.faults('readable', 'nbs/00_sums.ipynb', 'nbdev_fix')


def test_check_sees_a_module_that_is_not_the_path(project):
    project.write('01_totals', *project.sums[1:], code('#| default_exp total'))
    project.faults('paths', 'nbs/01_totals.ipynb', 'exports total', 'its path says totals')


def test_check_takes_the_numbers_off_folders_too(project):
    project.write('03_far/01_away', code('#| default_exp far.away'))
    assert project.check('paths')[0] == 0
    project.write('03_far/01_away', code('#| default_exp away'))
    project.faults('paths', 'its path says far.away')


def test_check_sees_two_notebooks_of_one_module(project):
    project.write('01_sums', *project.sums)
    project.faults('paths', 'nbs/01_sums.ipynb', 'exports sums, as nbs/00_sums.ipynb does')


def test_check_sees_a_numbered_notebook_without_a_module(project):
    project.write('01_more', code('x = 1'))
    project.faults('paths', 'nbs/01_more.ipynb', '`#| default_exp more`')


def test_check_sees_an_export_into_another_module(project):
    project.write('00_sums', *project.sums, code('#| export other\ny = 1'))
    project.faults('paths', 'nbs/00_sums.ipynb', 'names another module')


def test_check_sees_a_tutorial_that_exports(project):
    project.write('tutorials/01_first', code('#| export\nz = 1'))
    project.faults('paths', 'nbs/tutorials/01_first.ipynb', 'export nothing')


def test_check_sees_an_unclean_notebook(project):
    path = project.folder / 'nbs' / '00_sums.ipynb'
    path.write_text(path.read_text().replace('"execution_count": null', '"execution_count": 7', 1))
    project.faults('clean', 'nbs/00_sums.ipynb', 'nbdev_clean --fname')


def test_check_sees_a_hand_edited_module(project):
    path = project.folder / 'rlops_lab' / 'sums.py'
    path.write_text(path.read_text().replace('a + b', 'a - b'))
    project.faults('export', 'rlops_lab/sums.py', 'differs', 'nbdev_update')


def test_check_sees_a_notebook_that_was_not_exported(project):
    project.write('00_sums', *project.sums, code('#| export\ndef double(a: int) -> int: return 2 * a'))
    project.faults('export', 'rlops_lab/sums.py', 'nbdev_export')
    project.faults('export', 'rlops_lab/_modidx.py')


def test_check_sees_a_module_without_a_notebook(project):
    (project.folder / 'rlops_lab' / 'extra.py').write_text('x = 1\n')
    project.faults('export', 'rlops_lab/extra.py', 'no notebook exports it')


def test_check_sees_a_deleted_notebook(project):
    (project.folder / 'nbs' / '00_sums.ipynb').unlink()
    project.faults('export', 'rlops_lab/sums.py', 'no notebook exports it')


def test_check_sees_a_missing_module(project):
    (project.folder / 'rlops_lab' / 'sums.py').unlink()
    project.faults('export', 'rlops_lab/sums.py', 'missing')


def test_check_sees_re_exports_in_a_folder(project):
    project.write('03_far/01_away', code('#| default_exp far.away'), code('#| export\nx = 1'))
    assert sh(Path(sys.executable).parent / 'nbdev_export', cwd=project.folder)[0] == 0
    init = project.folder / 'rlops_lab' / 'far' / '__init__.py'
    init.write_text('from ..sums import add\n')
    project.faults('export', 'rlops_lab/far/__init__.py', 'differs')


def test_check_sees_a_version_that_the_package_does_not_have(project):
    init = project.folder / 'rlops_lab' / '__init__.py'
    init.write_text('__version__ = "9.9.9"\n')
    project.faults('export', 'rlops_lab/__init__.py', 'differs')


# ---- can the code be read?

READABLE = '#| export\ndef total(rows: list) -> int: return sum(rows)'


@pytest.mark.parametrize(
    'source, fault',
    {
        READABLE + '  # ' + 'x' * 120: '120',
        '#| export\nfirst = 1; second = 2': 'two statements on a line',
        '#| export\ndef total(rows): return sum(rows)': 'no type for rows',
        '#| export\ndef unseen(rows: list) -> int: return 1': 'in no example',
        '#| export\n' + '\n'.join(f'def _part{i}(): pass' for i in range(4)): '4 definitions',
        '#| export\nNUMBERS = [' + '\n'.join(f'{i},' for i in range(210)) + ']': 'tokens: at most 400',
        '#| export\nNUMBERS = [' + '\n'.join(f'{i},' for i in range(70)) + ']': 'tokens in the middle',
        '#| export\nNUMBERS = [1, 2, 3, 4, 5, 6, 7, 8, 9]': 'tokens a line',
        '[a + b for a in range(3) for b in range(3) if a < b];': 'write the loop',
    }.items(),
)
def test_check_sees_what_cannot_be_read(project, source, fault):
    project.write('01_more', code('#| default_exp more'), code(source), code('total'))
    project.faults('narrative', 'nbs/01_more.ipynb', fault)


def test_check_sees_three_exported_cells_without_prose(project):
    cells = [code(f'#| export\ndef _part{i}(): pass') for i in range(3)]
    project.write('01_more', code('#| default_exp more'), *cells)
    project.faults('narrative', 'nbs/01_more.ipynb', '3 exported cells in a row')
    project.write('01_more', code('#| default_exp more'), *cells[:2], md('Why.'), cells[2])
    assert project.check('narrative')[0] == 0


def test_check_reads_tests_too(project):
    (project.folder / 'tests').mkdir()
    (project.folder / 'tests' / 'test_sums.py').write_text('first = 1; second = 2\n')
    project.faults('narrative', 'tests/test_sums.py', 'two statements on a line')


def test_the_baseline_of_what_cannot_be_read_only_shrinks(project):
    baseline = project.folder / '.ci' / 'narrative_baseline.json'
    baseline.parent.mkdir()
    baseline.write_text('{"nbs/01_more.ipynb": {"semicolon": 2}}')
    project.write('01_more', code('#| default_exp more'), code('a = 1; b = 2'))
    project.faults('narrative', 'nbs/01_more.ipynb', 'the baseline allows 2 of semicolon, there are 1')
    project.write('01_more', code('#| default_exp more'), code('a = 1; b = 2; c = 3'))
    assert project.check('narrative')[0] == 0
    status, out = sh(sys.executable, root / '.ci' / 'narrative.py', '--update', cwd=project.folder)
    assert status == 0 and json.loads(baseline.read_text()) == {'nbs/01_more.ipynb': {'semicolon': 2}}
    project.write('01_more', code('#| default_exp more'), code('a = 1'))
    sh(sys.executable, root / '.ci' / 'narrative.py', '--update', cwd=project.folder)
    assert json.loads(baseline.read_text()) == {}


def test_check_sees_an_unused_import(project):
    (project.folder / 'tests').mkdir()
    (project.folder / 'tests' / 'test_sums.py').write_text('import os\n')
    project.faults('lint', 'tests/test_sums.py', 'F401')


shows = [
    'add(1, 3)',
    'x = 1\nx',
    'print(1)',
    'for i in range(2): print(i)',
    'await f()',
    '#| slow\nadd(1, 3)',
    '!ls',
    'with f():\n    display(x)',
    'test_eq(1, 1)\nadd(1, 1)',
    'x.sorted()',
]
shows_nothing = [
    'import os',
    'x = 1',
    'assert True',
    'test_eq(add(1, 2), 3)',
    'with expect_fail(ValueError): int("x")',
    'def f(): print(1)',
    'f();',
    'xs.append(1)',
    'np.random.seed(0)',
    '%matplotlib inline',
    'if x: print(x)',
    '#| hide\nadd(1, 3)',
    '#| export\nadd(1, 3)',
    '#| eval: false\nadd(1, 3)',
]


def test_check_sees_every_missing_output(project):
    project.write('00_sums', *map(code, shows))
    status, out = project.check('outputs')
    assert status == 1 and re.findall(r'cell (\d+) \(\w+\) has no stored output', out) == [
        str(i) for i in range(len(shows))
    ]


def test_check_asks_no_output_of_a_cell_that_shows_nothing(project):
    project.write('00_sums', *map(code, shows_nothing))
    status, out = project.check('outputs')
    assert status == 0, out


def test_check_sees_a_stored_error(project):
    project.write(
        '00_sums',
        *project.sums,
        code('1/0', dict(output_type='error', ename='ZeroDivisionError', evalue='', traceback=[])),
    )
    project.faults('outputs', 'cell 5', 'has stored an error')


def test_check_sees_a_stale_readme(project):
    project.write('index', md('# Another project'))
    project.faults('readme_fresh', 'README.md', 'make readme')
    project.faults('readme_fresh', 'nbs/images/index_cell0002_0.png')  # a picture that nothing shows any more


def test_check_sees_a_notebook_that_fails(project):
    project.write('00_sums', *project.sums, code('assert add(1, 2)==4'))
    project.faults('run', 'nbs/00_sums.ipynb: fails')


def test_check_sees_a_notebook_left_out(project):
    (project.folder / 'nbs' / 'tutorials').mkdir()
    project.write('tutorials/first', code('1/0'))
    (project.folder / 'nbs' / 'tutorials' / '.notest').touch()
    project.faults('run', '2 of 3 notebooks ran', '.notest')


def test_check_sees_that_there_is_nothing_to_run(project):
    shutil.rmtree(project.folder / 'nbs')
    project.faults('run', 'no notebook to run')


# ---- the README's renderer


def test_readme_has_prose_code_and_stored_outputs(project):
    text = (project.folder / 'README.md').read_text()
    assert (
        text
        == '''# A project

[read](nbs/00_sums.ipynb), or look:

![a](nbs/images/a.png)

```python
print(1)
```

```
1
```

```python
'a picture'
```

![](nbs/images/index_cell0002_0.png)
'''
    )
    assert (
        project.folder / 'nbs' / 'images' / 'index_cell0002_0.png'
    ).read_bytes() == b'not really a picture'


def test_readme_leaves_out_what_is_hidden_and_what_went_to_stderr(project):
    project.write(
        'index',
        code('#| hide\n1', value(text_plain=['1'])),
        code('#| echo: false\n2', value(text_plain=['2'])),
        code('#| output: false\n3', value(text_plain=['3'])),
        code('4;', dict(output_type='stream', name='stderr', text=['100%'])),
    )
    assert project.readme()[0] == 0
    assert (
        project.folder / 'README.md'
    ).read_text() == '```\n2\n```\n\n```python\n3\n```\n\n```python\n4;\n```\n'


def test_readme_keeps_web_links_and_code_and_refuses_a_dead_link(project):
    project.write(
        'index', md('[w](https://example.org) [up](../settings.ini#x) [here](#a)\n\n```\n[x](gone.md)\n```')
    )
    assert project.readme()[0] == 0
    assert (
        '[w](https://example.org) [up](settings.ini#x) [here](#a)\n\n```\n[x](gone.md)\n```'
        in (project.folder / 'README.md').read_text()
    )
    project.write('index', md('[x](gone.md)'))
    status, out = project.readme()
    assert status != 0 and 'links to gone.md, which does not exist' in out


# ---- the hooks


def test_no_stored_output_has_a_path_of_somebodys_machine():
    for path in (root / 'nbs').rglob('*.ipynb'):
        outputs = json.dumps(
            [c['outputs'] for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']
        )
        assert not re.search('site-packages|/dist-packages', outputs), path.name


def test_pre_commit_hooks_call_commands_that_exist():
    import yaml

    hooks = [
        h
        for repo in yaml.safe_load((root / '.pre-commit-config.yaml').read_text())['repos']
        for h in repo['hooks']
    ]
    assert {h['id'] for h in hooks} == {'nbdev_clean', 'nbdev_export', 'ruff', 'narrative'}
    assert all(
        h['language'] == 'system'
        and (Path(sys.executable).parent / Path(h['entry'].split()[0]).name).exists()
        for h in hooks
    )


# ---- the benchmarks' figures


def test_the_table_of_results_is_made_from_the_rows():
    import _results

    text = _results.RESULTS.read_text()
    assert text == _results.rendered(text), 'run python tests/benchmarks/_results.py'
    scripts = {path.stem for path in (root / 'tests' / 'benchmarks').glob('[!_]*.py')}
    assert scripts == set(_results.goals())
