"""Two dollar amounts in one text, in a real JupyterLab and chromium: as HTML, in widgets, in transcripts, reopened.

The first cell is the wrong way, plain HTML: it shows that this page typesets mathematics at all, so that the others
prove something. Skipped where chromium or playwright is absent."""

import pytest
from browsing import RUN_ALL, opened

TEXT = 'a refund of $14 of $187.50, and $5 or $6 more'
SETUP = f"""
import ipywidgets
from IPython.display import HTML
from rlops_lab.core.html import Html, escape, html_table
from rlops_lab.core.trajectories import transcript_html
from rlops_lab.widgets.explorers import explorer
text = {TEXT!r}"""
CELLS = (
    "HTML(f'<p>{text}</p>')",
    "Html(f'<p>{escape(text)}</p>')",
    "html_table([[text, 1]], title=text, note=text)",
    "transcript_html([dict(role='user', content=text), dict(role='assistant', content=text)])",
    "ipywidgets.HTML(Html(text))",
    "explorer('contact', cases_per_month=300_000, human_usd=13.5)",
    "explorer('conversation', cases_per_month=60_000).static()",
)
OUTPUTS = """() => [...document.querySelectorAll('.jp-CodeCell')].map(cell => {
    const output = cell.querySelector('.jp-Cell-outputArea')
    const formulas = output ? output.querySelectorAll('mjx-container').length : 0
    return {text: output ? output.textContent : '', formulas}
})"""


@pytest.fixture(scope='module')
def page(server):
    with opened(server, 'formulas', [SETUP, *CELLS]) as page:
        assert page.evaluate(RUN_ALL), 'a cell raised'
        page.wait_for_selector('mjx-container', state='attached')
        page.wait_for_selector('.rlops-dial .noUi-handle[aria-label]')
        yield page


def test_plain_html_is_eaten_and_ours_is_not(page):
    page.wait_for_timeout(2000)  # for what is typeset late
    _, wrong, *ours = page.evaluate(OUTPUTS)
    assert wrong['formulas'] > 0 and TEXT not in wrong['text']
    assert [output['formulas'] for output in ours] == [0] * len(ours)
    assert all(TEXT in output['text'] for output in ours[:4])
    assert ours[1]['text'].count(TEXT) == 3 and ours[2]['text'].count(TEXT) == 2
    assert '$' in ours[4]['text'] and '$' in ours[5]['text']


def test_figures_stand_as_they_were_given(page):
    "In the fields, before and after a slider has moved another one"
    field = """name => [...document.querySelectorAll('.rlops-dial')]
        .find(dial => dial.innerText.includes(name)).querySelector('input').value"""
    shown = {name: page.evaluate(field, name) for name in ('cases a month', 'a person, USD a case')}
    assert {name: float(value) for name, value in shown.items()} == {
        'cases a month': 300_000,
        'a person, USD a case': 13.5,
    }
    person = page.locator('.rlops-dial', has_text='a person, USD a case').locator('.noUi-handle').first
    person.focus()
    person.press('ArrowRight')
    page.wait_for_function(f'name => Number(({field})(name)) !== 13.5', arg='a person, USD a case')
    moved = float(page.evaluate(field, 'a person, USD a case'))
    assert 13.5 < moved <= 13.8 and round(moved, 1) == moved
    assert float(page.evaluate(field, 'cases a month')) == 300_000


def test_title_and_sources_are_live(page):
    output = page.evaluate(OUTPUTS)[6]['text']
    assert 'contact' in output and 'Gartner' in output
