"""Is the project ready for a release? `make release` runs every step and prints what is left to do by hand.

The steps: one version everywhere, a changelog section for it, a clean work tree, a tag that is still free, a wheel
that builds, and that wheel installed into a new environment, where the package imports and its command answers."""

import re
import subprocess
import sys
import tempfile
import venv
from configparser import ConfigParser
from pathlib import Path

ROOT = Path.cwd()
PROBE = """
import rlops_lab
assert rlops_lab.__version__ == {version!r}, rlops_lab.__version__
print(rlops_lab.share(9, 10))
"""


class NotReady(Exception):
    "What stands in the way of the release, and how to mend it"


def run(*command, cwd=ROOT):
    "Standard output of a command; NotReady with its last lines where it fails"
    done = subprocess.run([str(word) for word in command], cwd=cwd, encoding='utf-8', capture_output=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise NotReady('\n  '.join([f"`{' '.join(map(str, command))}` failed:", *said]))
    return done.stdout


def version():
    settings = ConfigParser(delimiters='=')
    settings.read(ROOT / 'settings.ini')
    return settings['DEFAULT']['version']


# ---- the steps: each returns what it found, or raises NotReady


def one_version():
    face = (ROOT / 'rlops_lab' / '__init__.py').read_text(encoding='utf-8')
    written = re.search(r'__version__ = "([^"]*)"', face)[1]
    if written != version():
        raise NotReady(
            f'settings.ini has {version()}, rlops_lab/__init__.py has {written}. Run `nbdev_export`'
        )
    return version()


def changelog():
    text = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    heading = re.search(r'^## (\S+) — (\d{4}-\d{2}-\d{2})$', text, re.M)
    if not heading or heading[1] != version():
        raise NotReady(f'the first section of CHANGELOG.md is not `## {version()} — YYYY-MM-DD`. Write it')
    return heading[0]


def clean_tree():
    if changes := run('git', 'status', '--porcelain').strip():
        raise NotReady(f'uncommitted changes:\n  {changes}\n  Commit or stash them')
    return run('git', 'rev-parse', '--short', 'HEAD').strip()


def free_tag():
    tag = f'v{version()}'
    if run('git', 'tag', '--list', tag).strip():
        raise NotReady(f'the tag {tag} exists. Raise `version` in settings.ini')
    return tag


def built_and_installed():
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, '-m', 'build', '--outdir', folder)
        wheel = next(Path(folder).glob('*.whl'))
        venv.create(Path(folder) / 'venv', with_pip=True)
        commands = Path(folder) / 'venv' / 'bin'
        run(commands / 'pip', 'install', '--quiet', '-c', ROOT / 'constraints.txt', wheel)
        found = run(commands / 'python', '-c', PROBE.format(version=version()), cwd=folder)
        run(commands / 'rlops-lab', '--help', cwd=folder)
        return f'{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB; in a new environment: {found.strip()}'


STEPS = {
    'one version': one_version,
    'changelog': changelog,
    'clean work tree': clean_tree,
    'free tag': free_tag,
    'wheel': built_and_installed,
}


def main():
    failed = False
    for name, step in STEPS.items():
        try:
            print(f'{name}: ok, {step()}', flush=True)
        except NotReady as fault:
            failed = True
            print(f'{name}: {fault}', flush=True)
    if failed:
        return 1
    print(
        f'\nLeft to do: make test; git tag -a v{version()} -m "rlops_lab {version()}"; git push --follow-tags;'
    )
    print('python -m build; upload the two files in dist/')
    return 0


if __name__ == '__main__':
    sys.exit(main())
