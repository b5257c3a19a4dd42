"Dollar amounts are never typeset as mathematics: in stored outputs, in Markdown, in live widgets and in figures"

import io
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from formulas import prose_as_formula, text_nodes, typeset
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.core.html import Html, escape, html_figure, html_fold, html_table
from rlops_lab.core.trajectories import transcript_html
from rlops_lab.widgets.annotate import Labeler
from rlops_lab.widgets.explorers import EXPLORERS, explorer
from rlops_lab.widgets.plain_output import error_html

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / 'nbs').rglob('*.ipynb'))
AMOUNTS = 'a refund of $14 of $187.50, \\(not\\) $5 or \\[more\\]'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == 'markdown':
            assert not prose_as_formula(cell.source), cell.id
        for output in cell.get('outputs', []):
            data = output.get('data', {})
            assert not typeset(data.get('text/html', '')), cell.id
            assert not prose_as_formula(data.get('text/markdown', '')), cell.id


@pytest.mark.parametrize('name', ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md'])
def test_pages(name):
    assert not prose_as_formula((ROOT / name).read_text(encoding='utf-8'))


# ---- what writes HTML


def seen(html):
    "The text a reader sees"
    return ''.join(text_nodes(html))


@pytest.mark.parametrize(
    'make',
    [
        lambda text: Html(f'<p title="{escape(text)}">{escape(text)}</p>'),
        lambda text: html_table([[text, 1]], [text, ''], title=text, note=text),
        lambda text: html_fold(text, text),
        lambda text: transcript_html([dict(role='user', content=text), dict(role='assistant', content=text)]),
        lambda text: error_html(ValueError(text)),
    ],
)
def test_what_we_write_holds_no_formula(make):
    html = make(AMOUNTS)
    assert not typeset(html) and AMOUNTS in seen(html)


@given(st.text('$\\ab<>"\'&;(#36 ', max_size=40))
def test_a_text_stays_the_same_for_who_reads_it(text):
    html = Html(escape(text))
    assert not typeset(html) and seen(html) == text
    assert Html(html) == html and Html(f'<b>{html}</b>') == f'<b>{html}</b>'
    attribute = f'<i title="{escape(text)}">x</i>'
    assert Html(attribute) == attribute


def test_scripts_and_styles_are_left_alone():
    page = '<script>if (x < 3) f(`${x}$`)</script><style>a::after{content:"$$"}</style><!-- $1 $2 -->'
    assert Html(page) == page


# ---- widgets


def parts(widget):
    "A widget and all inside it"
    yield widget
    for child in getattr(widget, 'children', ()):
        yield from parts(child)


def shown_by(widget):
    "What it hands to the browser as HTML or as a label"
    for part in parts(widget):
        if isinstance(part, ipywidgets.HTML | ipywidgets.HTMLMath | ipywidgets.Label):
            yield part.value
        yield getattr(part, 'description', '')


def assert_no_formula(widget):
    for text in shown_by(widget):
        assert not typeset(text), text


@pytest.mark.parametrize('name', EXPLORERS)
def test_explorers(name):
    shown = explorer(name)
    assert_no_formula(shown.widget)
    assert '$' in seen(shown.view.value)
    assert not typeset(shown.static().data) and not typeset(shown.static_html())


def test_labels(tmp_path):
    items = [dict(id='a', question=AMOUNTS, answer=AMOUNTS), dict(id='b', question='x', answer='y')]
    labels = Labeler(items, annotator='ada', path=tmp_path / 'labels.jsonl', order=range(2), design='random')
    assert_no_formula(labels.box)
    assert AMOUNTS in seen(labels.question.value)
    for html in (labels.static().data, labels.html()):
        assert not typeset(html)


# ---- figures


@pytest.mark.parametrize(
    'text, drawn_as_it_stands',
    [
        ('from $13.50 to $1.84 a contact', True),
        ('$5k–$10k', True),
        (r'$\lambda$ against $\gamma$', False),
        ('$10^3$', False),
        (r'$2 \cdot n$', False),
        ('$5', False),
    ],
)
def test_figures(text, drawn_as_it_stands):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    ax.set_title(text)
    html_figure(figure)
    assert ax.title.get_parse_math() != drawn_as_it_stands
    figure.savefig(io.BytesIO())
