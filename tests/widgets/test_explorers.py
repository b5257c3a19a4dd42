"Explorers without a browser: what a moved slider sends, what a page may contain, what is refused"

import json
import re
import pytest
from browsing import from_browser
from rlops_lab.widgets.explorers import EXPLORERS, Control, Explorer, explorer, explorer_report, open_explorer

pytestmark = pytest.mark.usefixtures('loud')


def move(slider, value):
    "What the kernel receives when a person moves a slider"
    from_browser(
        slider,
        **(dict(index=slider.options.index(value)) if hasattr(slider, 'options') else dict(value=value)),
    )


def ends(control):
    return (
        (control.options[0], control.options[-1])
        if hasattr(control, 'options')
        else (control.low, control.high)
    )


every = pytest.mark.parametrize('name', EXPLORERS)


@every
def test_a_moved_slider_sends_one_new_picture(name, sent):
    e = explorer(name)
    for key, control in e.controls.items():
        for target in (*ends(control), control.value):
            del sent[:]
            if e.state[key] == target:
                continue
            move(e.sliders[key], target)
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
    from_browser(e.sliders[key], value=e.controls[key].low * 1.5)
    text = e.to_json()
    assert 'http' not in text and json.loads(text)['state'] == e.state
    assert open_explorer(text).view.value == e.view.value


@every
def test_static_shows_every_figure(name):
    e = explorer(name)
    for key, c in e.controls.items():
        assert f'{c.label} <b>{e.state[key]:{c.form}}</b>' in e.static().data


def test_an_error_is_shown_and_raised():
    def render(x):
        return str(1 / x)

    e = Explorer('inverse', dict(x=Control('x', 0, 1, 2)), render)
    with pytest.raises(ZeroDivisionError):
        e.sliders['x'].value = 0.0
    from_browser(e.sliders['x'], value=1.0)
    assert e.view.value == '1.0'
    from_browser(
        e.sliders['x'], value=0.0
    )  # what a browser's message raises, ipywidgets writes to JupyterLab's log; the picture says it too
    assert 'ZeroDivisionError' in e.view.value
    from_browser(e.sliders['x'], value=2.0)
    assert e.view.value == '0.5'


def test_a_value_beyond_the_slider_is_clipped_by_the_widget_and_refused_by_us():
    e = explorer('wait or build')
    from_browser(e.sliders['months_per_tenfold'], value=600.0)
    assert e.state['months_per_tenfold'] == 60
    with pytest.raises(ValueError, match='the slider goes from 3 to 60'):
        explorer('wait or build', months_per_tenfold=600)


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
