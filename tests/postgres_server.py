"A PostgreSQL server of the tests' own, on a socket in a temporary folder, with a role that can only read."

import contextlib
import os
import shutil
import subprocess
import tempfile
from glob import glob
from pathlib import Path

OWNER = 'postgres' if hasattr(os, 'geteuid') and os.geteuid() == 0 else None  # PostgreSQL does not start as root


def binary(name):
    "A program of PostgreSQL's, which Debian keeps off the PATH; None where it is absent"
    return shutil.which(name) or next(iter(sorted(glob(f'/usr/lib/postgresql/*/bin/{name}'), reverse=True)), None)


def missing():
    "Why no server can be started; '' where one can"
    absent = [name for name in ('initdb', 'pg_ctl', 'psql', 'pg_dump') if binary(name) is None]
    if absent:
        return f'no {", ".join(absent)}: install PostgreSQL (Debian: apt-get install postgresql)'
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "no psycopg: pip install 'rlops_lab[environments]'"
    return ''


class Server:
    "A running server; `load` makes a database of a script"

    def __init__(self, folder):
        self.folder = folder

    def run(self, name, *arguments, text=None):
        command = [binary(name), *arguments]
        given = None if text is None else text.encode()
        done = subprocess.run(command, input=given, capture_output=True, user=OWNER, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f'{name}: {done.stderr.decode().strip()}')
        return done.stdout.decode()  # with its line ends as they are

    def address(self, database, role='reader'):
        return f'postgresql://{role}@/{database}?host={self.folder}'

    def load(self, database, script):
        "A database of that name; its address for the role that can only read"
        owner = self.address('postgres', 'owner')
        self.run('psql', '-q', '-d', owner, '-c', f'CREATE DATABASE {database}')
        self.run('psql', '-q', '-v', 'ON_ERROR_STOP=1', '-d', self.address(database, 'owner'), text=script)
        grant = 'GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader'
        self.run('psql', '-q', '-d', self.address(database, 'owner'), '-c', grant)
        return self.address(database)

    def dump(self, database, *options):
        return self.run('pg_dump', '-d', self.address(database, 'owner'), *options)


@contextlib.contextmanager
def postgres_server():
    "A server that is gone afterwards"
    folder = Path(tempfile.mkdtemp(prefix='pg', dir='/tmp'))  # a socket's path is short
    if OWNER:
        shutil.chown(folder, OWNER)
    server = Server(folder)
    try:
        data = str(folder / 'data')
        server.run('initdb', '-D', data, '-U', 'owner', '-A', 'trust', '-E', 'UTF8', '--no-sync')
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=40"
        subprocess.run(
            [binary('pg_ctl'), '-D', data, '-w', '-l', str(folder / 'log'), '-o', settings, 'start'],
            user=OWNER, cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )
        server.run('psql', '-q', '-d', server.address('postgres', 'owner'), '-c', 'CREATE ROLE reader LOGIN')
        yield server
    finally:
        subprocess.run(
            [binary('pg_ctl'), '-D', str(folder / 'data'), '-m', 'immediate', 'stop'],
            user=OWNER, cwd='/tmp', capture_output=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
