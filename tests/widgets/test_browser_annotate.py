"Labelling by keyboard in a real JupyterLab: notes, a restarted kernel, a second annotator, the verdicts at the end."

import json
import re
import nbformat
import pytest
from browsing import IDLE, RUN_ALL, opened

SETUP = '''
from rlops_lab.widgets.annotate import Labeler
items = [dict(id=f'r{i}', question=f'What is {i} and {i}?', answer=f'It is {2*i}.') for i in range(8)]
verdicts = ['pass', 'fail']*4
'''


def shows(who):
    return f"""
options = dict(order=range(8), design='random', verdicts=verdicts)
labels = Labeler(items, annotator='{who}', path='labels.jsonl', **options)
labels"""


BOX, QUESTION, STATUS = '.rlops-labels', '.rlops-labels section', '.rlops-labels .rlops-status'


def wait(page, text, where=QUESTION):
    page.wait_for_function(
        '([where, text]) => [...document.querySelectorAll(where)].some(o => o.innerText.includes(text))',
        arg=[where, text],
    )


def run(page):
    assert page.evaluate(RUN_ALL), 'a cell raised'
    page.wait_for_selector(QUESTION)


def focus(page):
    page.locator(QUESTION).click()
    page.wait_for_function("() => document.activeElement.matches('.rlops-labels')")


@pytest.fixture(scope='module')
def page(server):
    with opened(server, 'labels', [SETUP, shows('ada')]) as page:
        run(page)
        yield page


@pytest.fixture
def clicks(server):
    return lambda: [json.loads(line) for line in (server[1] / 'labels.jsonl').read_text().splitlines()]


def test_keys_label_and_each_is_on_disk(page, clicks):
    wait(page, 'item 1 of 8')
    focus(page)
    page.keyboard.press('p')
    wait(page, 'item 2 of 8')
    page.keyboard.press('f')
    wait(page, 'item 3 of 8')
    page.keyboard.press('2')
    wait(page, 'item 4 of 8')
    assert [c['label'] for c in clicks()] == ['pass', 'fail', 'pass']
    page.keyboard.press('k')
    wait(page, 'item 3 of 8')
    page.keyboard.press('j')
    wait(page, 'item 4 of 8')
    page.keyboard.press('u')
    wait(page, 'item 3 of 8')
    assert clicks()[-1]['undo'] and len(clicks()) == 4


def test_a_note_may_hold_the_letters_that_are_keys(page, clicks):
    page.keyboard.press('n')
    page.wait_for_function("() => document.activeElement.matches('.rlops-note input')")
    page.keyboard.type('puff! j k u s n 1 2')
    assert len(clicks()) == 4, 'a letter of the note was taken for a key'
    page.keyboard.press('Enter')
    page.wait_for_function("() => document.activeElement.matches('.rlops-labels')")
    page.wait_for_function("() => document.querySelector('.rlops-labels [data-shown]').dataset.shown>=8")
    page.keyboard.press('p')
    wait(page, 'item 4 of 8')
    assert [(c['label'], c['note']) for c in clicks()[4:]] == [
        (None, 'puff! j k u s n 1 2'),
        ('pass', 'puff! j k u s n 1 2'),
    ]


def test_jupyterlabs_own_keys_and_a_held_key_do_no_harm(page, clicks):
    before = page.locator('.jp-Cell').count()
    for key in 'ddxabmyzc49':
        page.keyboard.press(key)  # c and 4 are on buttons that are not shown
    assert page.locator('.jp-Cell').count() == before and len(clicks()) == 6
    assert 'Error' not in page.locator(STATUS).inner_text()
    page.keyboard.down('p')
    [page.keyboard.down('p') for _ in range(10)]
    page.keyboard.up('p')
    wait(page, 'item 5 of 8')
    page.wait_for_timeout(500)
    assert len(clicks()) == 7 and page.locator(QUESTION).inner_text().startswith('item 5 of 8')
    page.evaluate(
        "document.querySelector('.jp-Notebook').focus()"
    )  # the focus elsewhere: keys are JupyterLab's
    page.keyboard.press('p')
    page.wait_for_timeout(300)
    assert len(clicks()) == 7


def test_two_presses_in_a_row_do_not_label_what_nobody_has_seen(page, clicks):
    focus(page)
    page.evaluate(
        """() => { const b = document.querySelector('.rlops-labels .rlops-key-p'); b.click(); b.click() }"""
    )
    wait(page, 'item 6 of 8')
    page.wait_for_timeout(500)
    assert len(clicks()) == 8


def test_mouse_and_tab_work_too(page, clicks):
    page.locator(f'{BOX} button', has_text='fail').click()
    wait(page, 'item 7 of 8')
    page.wait_for_function("() => document.activeElement.matches('.rlops-labels')")
    page.locator(f'{BOX} button.rlops-key-u').focus()
    page.keyboard.press('Enter')
    wait(page, 'item 6 of 8')
    assert [c['label'] for c in clicks()[-2:]] == ['fail', None] and page.locator(
        '.jp-Notebook.jp-mode-edit'
    ).count() == 0


def test_a_dead_kernel_is_noticed_and_a_new_one_goes_on(page, clicks):
    before = len(clicks())
    page.evaluate(
        "async () => await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    page.evaluate(IDLE)
    focus(page)
    page.keyboard.press('p')
    wait(page, 'The kernel has not answered', STATUS)
    assert len(clicks()) == before
    run(page)
    wait(page, 'item 6 of 8')
    focus(page)
    page.keyboard.press('u')
    wait(page, 'item 5 of 8')  # undo reaches back over the restart
    for n in (5, 6, 7):
        page.keyboard.press('f')
        wait(page, f'item {n + 1} of 8')
    page.keyboard.press('s')
    wait(page, 'All done', STATUS)


def test_contrast_and_names_for_screen_readers(page):
    found = page.evaluate(NAMES)
    assert (
        found['role'] == 'group'
        and found['name']
        and found['live'] == 'polite'
        and found['outline'] == 'solid'
        and found['label']
    )
    assert all(all(part.strip() for part in b.split('|')) for b in found['buttons'])
    for theme in ('JupyterLab Dark', 'JupyterLab Light'):
        page.evaluate(
            "async t => await window.jupyterapp.commands.execute('apputils:change-theme', {theme: t})", theme
        )
        page.wait_for_timeout(1500)
        pairs = page.evaluate(COLOURS)
        assert pairs
        for text, ground, what in pairs:
            assert contrast(text, ground) > 4.5, (theme, text, ground, what)


NAMES = """() => {
    const box = document.querySelector('.rlops-labels')
    const buttons = [...box.querySelectorAll('button')].filter(b => b.offsetWidth)
    return {
        role: box.getAttribute('role'),
        name: box.getAttribute('aria-label'),
        outline: getComputedStyle(box).outlineStyle,
        live: box.querySelector('.rlops-status').getAttribute('aria-live'),
        label: !!box.querySelector('.rlops-note label'),
        buttons: buttons.map(b => b.innerText.trim() + '|' + b.title),
    }
}"""
COLOURS = r"""() => {
    const parts = '.rlops-labels button, .rlops-labels section b, .rlops-labels section div'
    const background = e => getComputedStyle(e).backgroundColor
    const see_through = e => /transparent|rgba\(.*, 0(\.\d+)?\)/.test(background(e))
    return [...document.querySelectorAll(parts)].filter(e => e.offsetWidth).map(e => {
        let ground = e
        while (ground && see_through(ground)) ground = ground.parentElement
        return [getComputedStyle(e).color, background(ground || document.body), e.innerText.slice(0, 20)]
    })
}"""


def contrast(text, ground):
    "WCAG 2.1"

    def luminance(colour):
        rgb = [float(x) / 255 for x in re.findall(r'[\d.]+', colour)[:3]]
        return sum(
            w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), rgb)
        )

    low, high = sorted(map(luminance, (text, ground)))
    return (high + 0.05) / (low + 0.05)


def another(page, server, name, cells):
    "One more notebook, with a kernel of its own, in the same browser"
    url, root = server
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in cells],
            metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')),
        ),
        root / f'{name}.ipynb',
    )
    page.goto(f'{url}/lab/tree/{name}.ipynb?reset', wait_until='commit')
    page.wait_for_selector('.jp-Notebook .jp-Cell')
    page.evaluate(IDLE)


def test_a_second_annotator_and_then_the_judge(page, server, clicks):
    assert 'differ' not in page.content()
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    another(page, server, 'second', [SETUP, shows('ben')])
    run(page)
    wait(page, 'item 1 of 8')
    wait(page, 'ada', '.jp-RenderedHTML')
    focus(page)
    for n, key in enumerate('pfppffpp'):
        page.keyboard.press(key)
        if n < 7:
            wait(page, f'item {n + 2} of 8')
    wait(page, 'All done', STATUS)
    wait(page, 'ben, ada: 7 items labelled by more than one', '.jp-RenderedHTML')
    wait(page, 'Few labels: read the interval', '.jp-RenderedHTML')
    assert any(
        re.search(r'κ -?\d\.\d\d \[', text) for text in page.locator('.jp-RenderedHTML').all_inner_texts()
    )
    assert 'labelled items differ' not in page.content()
    page.keyboard.press('c')
    wait(page, '3 of 8 labelled items differ', '.jp-RenderedHTML')
    assert len(clicks()[-1]['revealed']) == 8


def test_nothing_is_fetched_from_outside_and_progress_outlives_kernel_and_trust(page, server):
    assert not page.outside and not [e for e in page.errors if 'favicon' not in e]
    url, root = server
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    saved = nbformat.read(root / 'second.ipynb', 4)
    saved.cells.append(nbformat.v4.new_markdown_cell('not what was signed'))
    nbformat.write(saved, root / 'stored.ipynb')
    page.goto(f'{url}/lab/tree/stored.ipynb?reset', wait_until='commit')
    wait(page, '7 of 8, 1 skipped', '.jp-RenderedHTML')
    wait(page, '3 of 8 labelled items differ', '.jp-RenderedHTML')
    assert page.evaluate("!window.rlopsLabelKeys"), 'a script of a page that is not trusted ran'
