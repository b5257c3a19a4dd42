"""The peer's own environment.

TRL 1.10.0, whose PPOTrainer later releases no longer have, beside the torch, transformers and peft of this
interpreter.

`python_of_peer()` gives the interpreter in `.bench/trl110`; the first call makes the environment, a later one
only looks. Into it goes TRL 1.10.0 alone. All else is found, behind it, in the site-packages of the interpreter
that makes it: the very same torch, so that a difference in speed is one between the trainers, and no second
gigabyte of it. An environment that was left half-made, or made for another interpreter, is made anew."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER, RELEASE = Path(__file__).resolve().parents[2] / '.bench' / 'trl110', 'trl==1.10.0'


def identity():
    "What the environment is made of"
    return f"{RELEASE}\n{sys.version}\n{sysconfig.get_path('purelib')}\n"


def peer_python(folder=FOLDER):
    "The peer's interpreter, or None where its environment is absent, half-made, or made for another one"
    stamp = folder / 'made.txt'
    return folder / 'bin' / 'python' if stamp.exists() and stamp.read_text() == identity() else None


def python_of_peer(folder=FOLDER):
    "The peer's interpreter; its environment is made if need be"
    if found := peer_python(folder):
        return found
    print(
        f'making {folder.parent.name}/{folder.name}: {RELEASE}, beside what {sys.executable} has',
        file=sys.stderr,
        flush=True,
    )
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    own = next(folder.glob('lib/python*/site-packages'))
    command = [
        sys.executable,
        '-m',
        'pip',
        'install',
        '--disable-pip-version-check',
        '--quiet',
        '--no-deps',
        '--target',
        own,
        RELEASE,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        raise SystemExit(
            f'could not install {RELEASE} for the peer: {reason}\n'
            f'Cure: see that pip reaches a package index (`pip download --no-deps {RELEASE}`), then run this again'
        )
    (own / 'behind.pth').write_text(
        '\n'.join(dict.fromkeys(sysconfig.get_path(p) for p in ('purelib', 'platlib'))) + '\n'
    )
    (folder / 'made.txt').write_text(identity())
    return folder / 'bin' / 'python'


if __name__ == '__main__':
    print(python_of_peer())
