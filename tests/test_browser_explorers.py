"""Explorers in a real JupyterLab and a real chromium, on loopback: the page, and how long a slider move takes to redraw.

The time runs in the browser, from the key that moves the slider to the frame after the new picture is in the page. Where other work keeps
more than every core busy, that is a measure of the queue; then the processor time of one redraw, the page's and the kernel's, is held to the
same 150 ms, and the figures say so. Set RLOPS_REDRAWS for more than twenty moves an explorer. Skipped where chromium or playwright is absent."""
import json, math, os, shutil, socket, statistics, subprocess, sys, time, urllib.request
from pathlib import Path
import nbformat
import pytest
from rlops_lab.widgets.explorers import explorer

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')
if CHROMIUM is None: pytest.skip('no chromium on the PATH: install it (Debian: apt-get install chromium)', allow_module_level=True)

FLAGS = '--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
MOVES = int(os.environ.get('RLOPS_REDRAWS', 20))
NAMES = ('break-even', 'wait or build', 'contact', 'sensitivity', 'latency')
LIMIT_MS = 150
SECONDS = 300            # for JupyterLab to come up, on a machine that does other things
IDLE = """async () => { const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready; await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info }"""
# one move: press a key on the handle, wait until the picture's HTML has changed, then for the frame that shows it
MOVE = """async ([nth, key]) => {
    const box = document.querySelectorAll('.jp-OutputArea .widget-vbox')[nth], handle = box.querySelector('.noUi-handle');
    const picture = box.querySelector('.widget-html-content'), before = picture.innerHTML;
    const redrawn = new Promise((done, fail) => {
        const watch = new MutationObserver(() => {
            if (picture.innerHTML !== before) { watch.disconnect(); requestAnimationFrame(() => setTimeout(done)) } });
        watch.observe(picture, {childList: true, subtree: true, characterData: true});
        setTimeout(() => fail(new Error('the picture did not change within 60 s')), 60000) });
    const start = performance.now();
    handle.focus(); handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    await redrawn;
    return performance.now() - start }"""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "JupyterLab on a scratch folder; its configuration, data and runtime are scratch too"
    folder, port = tmp_path_factory.mktemp('lab'), free_port()
    (folder/'root').mkdir()
    (folder/'conf.py').write_text('from jupyterlab.galata import configure_jupyter_server\nconfigure_jupyter_server(c)\n'
                                  f"c.ServerApp.ip = '127.0.0.1'; c.ServerApp.port = {port}; c.ServerApp.allow_root = True\n")
    settings = {'notebook-extension/tracker': dict(windowingMode='none'), 'apputils-extension/notification': dict(fetchNews='false')}
    for name, value in settings.items():
        path = folder/'settings/@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    env = {**os.environ, **{f'JUPYTER_{k}_DIR': str(folder/k) for k in ('CONFIG', 'DATA', 'RUNTIME')}, 'IPYTHONDIR': str(folder/'ipython'),
           'JUPYTERLAB_GALATA_ROOT_DIR': str(folder/'root'), 'OMP_NUM_THREADS': '1'}
    env['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).parent.parent), env.get('PYTHONPATH', '')])
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--config', str(folder/'conf.py'),
               f'--LabApp.user_settings_dir={folder/"settings"}']
    with open(folder/'log', 'w') as log: process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        url, deadline = f'http://127.0.0.1:{port}', time.monotonic()+SECONDS
        while True:
            try: urllib.request.urlopen(url+'/api/status', timeout=2).close(); break
            except OSError:
                if process.poll() is not None or time.monotonic()>deadline: raise RuntimeError((folder/'log').read_text()[-3000:])
                time.sleep(.25)
        yield url, folder/'root'
    finally:
        process.terminate()
        process.wait(30)

@pytest.fixture(scope='module')
def page(server):
    "A notebook with the five explorers, all cells run"
    url, root = server
    cells = ['from rlops_lab.widgets.explorers import explorer', *(f'explorer({name!r})' for name in NAMES)]
    kernel = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel), root/'explorers.ipynb')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page(viewport=dict(width=1280, height=1000))
        page.set_default_timeout(1000*SECONDS)
        page.errors, page.outside, page.cpu = [], [], page.context.new_cdp_session(page)
        page.cpu.send('Performance.enable', dict(timeDomain='threadTicks'))
        page.on('console', lambda m: page.errors.append(m.text) if m.type=='error' else None)
        page.on('request', lambda r: page.outside.append(r.url) if not r.url.startswith((url, 'data:', 'blob:')) else None)
        page.goto(f'{url}/lab/tree/explorers.ipynb?reset', wait_until='commit')
        page.wait_for_selector('.jp-Notebook .jp-Cell')
        page.evaluate(IDLE)
        assert page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')"), 'a cell raised'
        for part in ('', ' .widget-html-content', ' .noUi-handle:first-child'):
            page.wait_for_function(f"document.querySelectorAll('.jp-OutputArea .widget-vbox{part}').length >= {len(NAMES)}")
        yield page
        browser.close()

def redraws(page, name, moves=MOVES):
    "Sorted milliseconds of slider moves, the first two not counted; processor milliseconds of one: the page's thread, the kernel's function"
    def busy(): return next(m['value'] for m in page.cpu.send('Performance.getMetrics')['metrics'] if m['name']=='TaskDuration')
    def move(i): return page.evaluate(MOVE, [NAMES.index(name), 'ArrowRight' if i%2==0 else 'ArrowLeft'])
    for i in range(2): move(i)
    before, ms = busy(), sorted(move(i) for i in range(moves))
    page_ms, e = 1000*(busy()-before)/moves, explorer(name)
    began = time.process_time()
    for _ in range(moves): e.render(**e.state)
    return ms, page_ms, 1000*(time.process_time()-began)/moves

@pytest.mark.parametrize('name', NAMES)
def test_a_slider_move_redraws_in_time(page, name):
    ms, page_ms, kernel_ms = redraws(page, name)
    median, p95, load = statistics.median(ms), ms[math.ceil(.95*len(ms))-1], os.getloadavg()[0]
    figures = (f'{name}: median {median:.0f} ms, p95 {p95:.0f} ms, n={len(ms)}; '
               f'processor {page_ms:.0f} ms of the page and {kernel_ms:.0f} ms of the kernel; load {load:.1f} on {os.cpu_count()} cores')
    print('\n'+figures)
    assert (page_ms+kernel_ms if load>os.cpu_count() else median)<LIMIT_MS, figures

def test_nothing_is_fetched_from_outside_and_nothing_fails(page):
    assert not page.outside and not [e for e in page.errors if 'favicon' not in e]

def test_the_static_form_survives_without_trust_or_kernel(page, server):
    "Opened anew and not trusted, the stored output still shows its boxes: nothing in it that JupyterLab would drop"
    url, root = server
    outputs = [nbformat.v4.new_output('display_data', {'text/html': explorer(name).static_html()}) for name in NAMES]
    cells = [nbformat.v4.new_code_cell('', outputs=[o]) for o in outputs]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root/'stored.ipynb')
    page.goto(f'{url}/lab/tree/stored.ipynb?reset', wait_until='commit')
    page.wait_for_selector('.jp-RenderedHTML h3')
    shown = page.evaluate("""() => [...document.querySelectorAll('.jp-RenderedHTML')].map(o =>
        [...o.querySelectorAll('div')].filter(d => d.style.background && d.offsetWidth > 0 && d.offsetHeight > 0).length)""")
    assert len(shown)==len(NAMES) and shown[0]>400 and all(n>5 for n in shown), shown
