"A MariaDB server of the tests' own, on a socket in a temporary folder, for scripts and dumps of MySQL."

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

OWNER = 'mysql' if hasattr(os, 'geteuid') and os.geteuid() == 0 else None  # the server does not start as root
PROGRAMS = 'mariadbd', 'mariadb-install-db', 'mariadb', 'mariadb-dump'


def binary(name):
    "A program of MariaDB's; None where it is absent"
    return shutil.which(name) or shutil.which(name, path='/usr/sbin:/usr/local/sbin')


def missing():
    "Why no server can be started; '' where one can"
    absent = [name for name in PROGRAMS if binary(name) is None]
    return f'no {", ".join(absent)}: install MariaDB (Debian: apt-get install mariadb-server)' if absent else ''


class Server:
    "A running server; `load` makes a database of a script"

    def __init__(self, folder):
        self.folder = folder

    def run(self, name, *arguments, text=''):
        "What a program writes, as bytes"
        client = ['--no-defaults', f'--socket={self.folder}/socket', '-uroot', '--default-character-set=utf8mb4']
        done = subprocess.run([binary(name), *client, *arguments], input=text.encode(), capture_output=True)
        if done.returncode:
            raise RuntimeError(f'{name}: {done.stderr.decode().strip()}')
        return done.stdout

    def load(self, database, script):
        anew = f'DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} CHARACTER SET utf8mb4'
        self.run('mariadb', '-e', anew)
        self.run('mariadb', database, text=script)

    def dump(self, database, *options):
        return self.run('mariadb-dump', *options, database)

    def rows(self, database, query):
        "Rows of a query whose columns are all hexadecimal texts, as bytes; None for NULL"
        found = self.run('mariadb', '--batch', '--skip-column-names', database, text=query).decode()
        fields = (line.split('\t') for line in found.splitlines())
        return [tuple(None if field == 'NULL' else bytes.fromhex(field) for field in row) for row in fields]

    def columns(self, database):
        "{table or view: [(column, type)]}"
        query = 'SELECT hex(table_name), hex(column_name), hex(data_type) FROM information_schema.columns '
        query += f"WHERE table_schema = '{database}' ORDER BY table_name, ordinal_position"
        found = {}
        for table, *column in self.rows(database, query):
            found.setdefault(table.decode(), []).append(tuple(part.decode() for part in column))
        return found


@contextlib.contextmanager
def mysql_server():
    "A server that is gone afterwards"
    folder = Path(tempfile.mkdtemp(prefix='my', dir='/tmp'))  # a socket's path is short
    user = [f'--user={OWNER}'] if OWNER else []
    if OWNER:
        shutil.chown(folder, OWNER)
    data = [f'--datadir={folder}/data', *user]
    install = [binary('mariadb-install-db'), '--no-defaults', *data, '--auth-root-authentication-method=normal']
    settings = ['--skip-networking', f'--socket={folder}/socket', f'--pid-file={folder}/pid']
    settings += ['--innodb-flush-log-at-trx-commit=0', '--default-time-zone=+00:00']
    process = None
    try:
        subprocess.run([*install, '--skip-test-db'], check=True, capture_output=True)
        with open(folder / 'log', 'w', encoding='utf-8') as log:
            command = [binary('mariadbd'), '--no-defaults', *data, *settings]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        server = Server(folder)
        _wait_for(server, process)
        yield server
    finally:
        if process:
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(server, process):
    for _ in range(300):
        try:
            return server.run('mariadb', '-e', 'SELECT 1')
        except RuntimeError:
            if process.poll() is not None:
                raise RuntimeError((server.folder / 'log').read_text(encoding='utf-8')) from None
            time.sleep(0.1)
    raise RuntimeError('the server does not answer')
