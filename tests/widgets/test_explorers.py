"Explorers without a browser: what a new figure sends, what a page may contain, what is refused"

import json
import math
import re

import pytest
from browsing import from_browser

from rlops_lab.core.html import escape
from rlops_lab.widgets.dials import Control
from rlops_lab.widgets.explorers import EXPLORERS, Explorer, explorer, explorer_report, open_explorer

pytestmark = pytest.mark.usefixtures('loud')


def sends(source, value):
    "What the kernel receives when a person types a figure or picks an option"
    return dict(index=source.options.index(value)) if hasattr(source, 'options') else dict(value=value)


def ends(control):
    return (
        (control.options[0], control.options[-1])
        if hasattr(control, 'options')
        else (control.low, control.high)
    )


every = pytest.mark.parametrize('name', EXPLORERS)


@every
def test_a_new_figure_sends_one_new_picture(name, sent):
    e = explorer(name)
    for key, control in e.controls.items():
        for target in (*ends(control), control.value):
            del sent[:]
            if e.state[key] == target:
                continue
            from_browser(e.dials[key].source, **sends(e.dials[key].source, target))
            values = [
                d['state'].get('value')
                for kind, d in sent
                if kind == 'comm_msg' and d.get('method') == 'update'
            ]
            pictures = [v for v in values if isinstance(v, str)]
            assert pictures == [e.view.value] == [e.render(**e.state)] and e.state[key] == pytest.approx(
                target
            )


@every
def test_both_ends_of_all_sliders_draw(name):
    for end in (0, 1):
        e = explorer(name, **{key: ends(c)[end] for key, c in EXPLORERS[name].controls.items()})
        assert 'nan' not in re.sub('<[^>]*>', '', e.view.value)


@every
def test_a_page_needs_nothing_beside_itself(name, tmp_path):
    e = explorer(name)
    page = explorer_report(tmp_path / 'page.html', e, title='<costs>').read_text()
    for text in (page, e.static().data, e.view.value):
        assert not re.search(r'<script|<style|<svg|<link|src=|href=|url\(|https?:| id=', text)
    assert '<costs>' not in page and page.startswith('<!doctype html>') and len(page) < 200_000


@every
def test_the_state_goes_out_and_in(name):
    e = explorer(name)
    key = next(iter(e.controls))
    source, low = e.dials[key].source, e.controls[key].low
    from_browser(source, value=low * 1.5)
    text = e.to_json()
    assert 'http' not in text and json.loads(text)['state'] == e.state
    assert open_explorer(text).view.value == e.view.value


@every
def test_static_shows_every_figure(name):
    e = explorer(name)
    for key, c in e.controls.items():
        assert f'{escape(c.label)} <b>{c.shown(e.state[key])}</b>' in e.static().data


def test_an_error_is_shown_and_raised():
    def render(x):
        return str(1 / x)

    e = Explorer('inverse', dict(x=Control('x', 0, 1, 2)), render)
    with pytest.raises(ZeroDivisionError):
        e.dials['x'].source.value = 0.0
    from_browser(e.dials['x'].source, value=1.0)
    assert e.view.value == '1.0'
    from_browser(
        e.dials['x'].source, value=0.0
    )  # what a browser's message raises, ipywidgets writes to JupyterLab's log; the picture says it too
    assert 'ZeroDivisionError' in e.view.value
    from_browser(e.dials['x'].source, value=2.0)
    assert e.view.value == '0.5'


def test_a_value_beyond_the_slider_is_refused_with_its_ends():
    e = explorer('wait or build')
    from_browser(e.dials['months_per_tenfold'].source, value=600.0)
    assert 'months_per_tenfold=600.0: the slider goes from 3 to 60' in e.view.value
    from_browser(e.dials['months_per_tenfold'].source, value=15.0)
    assert 'ValueError' not in e.view.value
    with pytest.raises(ValueError, match='the slider goes from 3 to 60'):
        explorer('wait or build', months_per_tenfold=600)


# ---- figures stay as they were given


@every
def test_figures_are_shown_and_used_as_given(name):
    "Also those between two steps of the slider; and moving one changes no other"
    controls = EXPLORERS[name].controls
    odd = {key: c.low + (c.high - c.low) / math.e for key, c in controls.items() if isinstance(c, Control)}
    e = explorer(name, **odd)
    assert {key: e.state[key] for key in odd} == odd
    assert json.loads(e.to_json())['state'] == e.state
    moved = next(iter(odd))
    slider = e.dials[moved].slider
    from_browser(slider, value=slider.value * 1.05)
    assert {key: e.state[key] for key in odd if key != moved} == {k: v for k, v in odd.items() if k != moved}
    assert e.state[moved] != odd[moved]


@pytest.mark.parametrize(
    'name, key, value, text',
    [
        ('break-even', 'cases_per_month', 300_000, '300,000'),
        ('break-even', 'cases_per_month', 301_995, '301,995'),
        ('contact', 'human_usd', 13.5, '13.50'),
        ('contact', 'human_usd', 13.497, '13.497'),
        ('contact', 'share_resolved', 0.8125, '81.25%'),
        ('break-even', 'usd_per_case', 0.006424, '0.006424'),
    ],
)
def test_no_figure_is_rounded(name, key, value, text):
    e = explorer(name, **{key: value})
    assert e.state[key] == value == e.dials[key].source.value
    assert f'<b>{text}</b>' in e.static().data


def test_a_browser_that_snaps_a_slider_changes_nothing():
    "It reports the nearest step as soon as the slider is drawn, and after a figure was typed"
    e = explorer('contact', cases_per_month=300_000, human_usd=13.5)
    for key, position in (('cases_per_month', 10**5.48), ('human_usd', 13.6), ('human_usd', 13.4)):
        from_browser(e.dials[key].slider, value=position)
    assert (e.state['cases_per_month'], e.state['human_usd']) == (300_000, 13.5)
    from_browser(e.dials['human_usd'].source, value=90.0)  # beyond the slider: refused, not replaced
    from_browser(e.dials['human_usd'].slider, value=49.9)
    assert e.state['human_usd'] == 90 and 'from 1 to 50' in e.view.value


def test_a_moved_slider_gives_round_figures():
    e = explorer('contact')
    for key, position, value in (('cases_per_month', 10**5.49, 309_000), ('human_usd', 13.795, 13.8)):
        from_browser(e.dials[key].slider, value=position)
        assert e.state[key] == value
    from_browser(e.dials['human_usd'].slider, value=50.0)
    assert e.state['human_usd'] == 50


@every
def test_title_sources_and_names_are_on_the_page(name):
    e = explorer(name)
    head, *_, foot = e.widget.children
    assert name in head.value and e.note and escape(e.note)[:60] in foot.value
    labels = [dial.source.description for dial in e.dials.values()]
    assert all(labels) and len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: explorer('brake-even'), 'there are break-even'),
        (lambda: explorer('contact', price=1), 'contact has no slider price; it has cases_per_month'),
        (lambda: open_explorer('not json'), 'the text that to_json returned'),
        (lambda: open_explorer('[]'), 'the text that to_json returned'),
        (lambda: explorer_report('page.html'), 'one or more explorers'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
