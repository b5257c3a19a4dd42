"A real JupyterLab and a real chromium, on loopback; and, without either, what a browser would send to a widget."

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat

from rlops_lab.samplers.vllm_server import free_port

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
SECONDS = 300  # for JupyterLab to come up, on a machine that does other things
IDLE = """async () => { const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info }"""
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"  # a promise of: no cell raised

# ---- without a browser


def from_browser(widget, **state):
    "What the kernel receives when a person moves or types"
    widget._handle_msg(
        dict(content=dict(data=dict(method='update', state=state, buffer_paths=[])), buffers=[])
    )


def click(button):
    "What it receives when a person clicks"
    button._handle_custom_msg(dict(event='click'), [])


# ---- with one


@contextmanager
def jupyterlab(folder):
    "JupyterLab on a scratch folder: (url, root); its configuration, data and runtime are scratch too"
    port = free_port()
    (folder / 'root').mkdir()
    (folder / 'conf.py').write_text(
        'from jupyterlab.galata import configure_jupyter_server\nconfigure_jupyter_server(c)\n'
        f"c.ServerApp.ip = '127.0.0.1'; c.ServerApp.port = {port}; c.ServerApp.allow_root = True\n"
    )
    settings = {
        'notebook-extension/tracker': dict(windowingMode='none'),
        'apputils-extension/notification': dict(fetchNews='false'),
    }
    for name, value in settings.items():
        path = folder / 'settings/@jupyterlab' / f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    env = {
        **os.environ,
        **{f'JUPYTER_{k}_DIR': str(folder / k) for k in ('CONFIG', 'DATA', 'RUNTIME')},
        'IPYTHONDIR': str(folder / 'ipython'),
        'JUPYTERLAB_GALATA_ROOT_DIR': str(folder / 'root'),
        'OMP_NUM_THREADS': '1',
    }
    env['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).parent.parent), env.get('PYTHONPATH', '')])
    command = [
        sys.executable,
        '-m',
        'jupyterlab',
        '--no-browser',
        '--config',
        str(folder / 'conf.py'),
        f'--LabApp.user_settings_dir={folder / "settings"}',
    ]
    with open(folder / 'log', 'w') as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        url, deadline = f'http://127.0.0.1:{port}', time.monotonic() + SECONDS
        while True:
            try:
                urllib.request.urlopen(url + '/api/status', timeout=2).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / 'log').read_text()[-3000:])
                time.sleep(0.25)
        yield url, folder / 'root'
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def opened(server, name, cells):
    "A page with a new notebook, its kernel ready and no cell run; it keeps errors and requests to the outside"
    from playwright.sync_api import sync_playwright

    url, root = server
    kernel = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel),
        root / f'{name}.ipynb',
    )
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page(viewport=dict(width=1280, height=1000))
        page.set_default_timeout(1000 * SECONDS)
        page.errors, page.outside = [], []
        page.on('console', lambda m: page.errors.append(m.text) if m.type == 'error' else None)
        page.on(
            'request',
            lambda r: page.outside.append(r.url) if not r.url.startswith((url, 'data:', 'blob:')) else None,
        )
        page.goto(f'{url}/lab/tree/{name}.ipynb?reset', wait_until='commit')
        page.wait_for_selector('.jp-Notebook .jp-Cell')
        page.evaluate(IDLE)
        yield page
        browser.close()
