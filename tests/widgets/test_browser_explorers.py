"""Explorers in a real JupyterLab and chromium, on loopback: the page, and how long a slider move takes to redraw.

The time runs in the browser, from the key that moves the slider to the frame after the new picture is in the page.
Where other work keeps more than every core busy, that is a measure of the queue; then the processor time of one
redraw, the page's and the kernel's, is held to the same 150 ms, and the figures say so. Set RLOPS_REDRAWS for more
than twenty moves an explorer. Skipped where chromium or playwright is absent."""

import math
import os
import statistics
import time
import nbformat
import pytest
from browsing import RUN_ALL, opened
from rlops_lab.widgets.explorers import EXPLORERS, explorer

MOVES = int(os.environ.get('RLOPS_REDRAWS', 20))
NAMES = ('break-even', 'conversation', 'wait or build', 'contact', 'sensitivity', 'latency')
LIMIT_MS = 150
# one move: press a key on the handle, wait until the picture's HTML has changed, then for the frame that shows it
MOVE = """async ([nth, key]) => {
    const box = document.querySelectorAll('.jp-OutputArea .widget-vbox')[nth];
    const handle = box.querySelector('.noUi-handle');
    const picture = box.querySelector('.rlops-picture .widget-html-content'), before = picture.innerHTML;
    const redrawn = new Promise((done, fail) => {
        const watch = new MutationObserver(() => {
            if (picture.innerHTML !== before) { watch.disconnect(); requestAnimationFrame(() => setTimeout(done)) } });
        watch.observe(picture, {childList: true, subtree: true, characterData: true});
        setTimeout(() => fail(new Error('the picture did not change within 60 s')), 60000) });
    const start = performance.now();
    handle.focus(); handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    await redrawn;
    return performance.now() - start }"""


@pytest.fixture(scope='module')
def page(server):
    "A notebook with all explorers, all cells run"
    cells = ['from rlops_lab.widgets.explorers import explorer', *(f'explorer({name!r})' for name in NAMES)]
    with opened(server, 'explorers', cells) as page:
        page.cpu = page.context.new_cdp_session(page)
        page.cpu.send('Performance.enable', dict(timeDomain='threadTicks'))
        assert page.evaluate(RUN_ALL), 'a cell raised'
        for part in ('', ' .widget-html-content', ' .noUi-handle:first-child'):
            page.wait_for_function(
                f"document.querySelectorAll('.jp-OutputArea .widget-vbox{part}').length >= {len(NAMES)}"
            )
        yield page


def redraws(page, name, moves=MOVES):
    "Sorted ms of slider moves, the first two not counted; processor ms of one: the page's, the kernel's"

    def busy():
        return next(
            m['value']
            for m in page.cpu.send('Performance.getMetrics')['metrics']
            if m['name'] == 'TaskDuration'
        )

    def move(i):
        return page.evaluate(MOVE, [NAMES.index(name), 'ArrowRight' if i % 2 == 0 else 'ArrowLeft'])

    for i in range(2):
        move(i)
    before, ms = busy(), sorted(move(i) for i in range(moves))
    page_ms, e = 1000 * (busy() - before) / moves, explorer(name)
    began = time.process_time()
    for _ in range(moves):
        e.render(**e.state)
    return ms, page_ms, 1000 * (time.process_time() - began) / moves


@pytest.mark.parametrize('name', NAMES)
def test_a_slider_move_redraws_in_time(page, name):
    ms, page_ms, kernel_ms = redraws(page, name)
    median, p95, load = statistics.median(ms), ms[math.ceil(0.95 * len(ms)) - 1], os.getloadavg()[0]
    figures = (
        f'{name}: median {median:.0f} ms, p95 {p95:.0f} ms, n={len(ms)}; '
        f'processor {page_ms:.0f} ms of the page and {kernel_ms:.0f} ms of the kernel; '
        f'load {load:.1f} on {os.cpu_count()} cores'
    )
    print('\n' + figures)
    assert (page_ms + kernel_ms if load > os.cpu_count() else median) < LIMIT_MS, figures


def test_every_slider_and_field_has_a_name(page):
    names = page.evaluate("""() => [...document.querySelectorAll('.rlops-dial')].map(dial => [
        dial.querySelector('.widget-label').textContent,
        ...[...dial.querySelectorAll('.noUi-handle')].map(handle => handle.getAttribute('aria-label')),
        ...[...dial.querySelectorAll('input')].map(input => input.labels[0] && input.labels[0].textContent)])""")
    assert len(names) == sum(len(EXPLORERS[name].controls) for name in NAMES)
    assert all(label and set(others) == {label} for label, *others in names), names
    cut = page.evaluate("""() => [...document.querySelectorAll('.rlops-dial .widget-label')]
        .filter(label => label.scrollWidth > label.clientWidth + 1).map(label => label.textContent)""")
    assert not cut, cut


def test_nothing_is_fetched_from_outside_and_nothing_fails(page):
    assert not page.outside and not [e for e in page.errors if 'favicon' not in e]


def test_the_static_form_survives_without_trust_or_kernel(page, server):
    "Opened anew and not trusted, the stored output still shows its boxes: nothing in it that JupyterLab would drop"
    url, root = server
    outputs = [
        nbformat.v4.new_output('display_data', {'text/html': explorer(name).static_html()}) for name in NAMES
    ]
    cells = [nbformat.v4.new_code_cell('', outputs=[o]) for o in outputs]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / 'stored.ipynb')
    page.goto(f'{url}/lab/tree/stored.ipynb?reset', wait_until='commit')
    page.wait_for_selector('.jp-RenderedHTML h3')
    shown = page.evaluate("""() => {
        const is_seen = d => d.style.background && d.offsetWidth > 0 && d.offsetHeight > 0
        const outputs = [...document.querySelectorAll('.jp-RenderedHTML')]
        return outputs.map(o => [...o.querySelectorAll('div')].filter(is_seen).length)
    }""")
    assert len(shown) == len(NAMES) and shown[0] > 400 and all(n > 5 for n in shown), shown
