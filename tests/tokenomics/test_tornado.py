"Tornado: bars by hand, and what is refused"

import math

import pytest

from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.tornado import Swing, Tornado, tornado, tornado_html
from rlops_lab.tokenomics.uncertainty import triangular


def test_bars_by_hand():
    "From -10 to 30 on 320 pixels: 0 is at 80; blue runs from there to the left, orange 240 pixels to the right"
    swing = Swing('usd_per_case', 1.0, 3.0, -10.0, 30.0, 1.5)
    page = tornado_html(Tornado(0.0, [swing]), width=320)
    blue, orange = (
        'width:80.0px;height:13px;background:#1a73e8',
        'width:240.0px;height:13px;background:#e8710a',
    )
    assert blue in page and orange in page
    assert page.index('#1a73e8') < page.index('#e8710a')
    assert '-10 … 30' in page
    assert '>1.5</td>' in page
    assert 'usd per case' in page


def test_no_finite_result_has_no_bars():
    assert tornado_html(Tornado(math.inf, [])) == '<p>no finite result</p>'


def test_a_tornado_by_hand():
    inputs = dict(price=triangular(0, 1, 2), volume=triangular(90, 100, 110), fixed=50.0)
    found = tornado(inputs, lambda price, volume, fixed: price * volume - fixed)
    price, volume = found.swings
    assert found.value == 50
    assert (price.name, volume.name) == ('price', 'volume')
    low, high = math.sqrt(0.1), 2 - math.sqrt(0.1)
    assert price.result_low == pytest.approx(100 * low - 50, abs=0.1)
    assert price.result_high == pytest.approx(100 * high - 50, abs=0.1)
    assert price.turns_at == pytest.approx(0.5, abs=1e-3)
    assert math.isnan(volume.turns_at)
    page = found._repr_html_()
    assert '<svg' not in page and '<style' not in page


def test_the_level_is_a_share():
    with pytest.raises(ValueError, match='between 0 and 1'):
        tornado(dict(a=Estimate(1, 0, 2)), lambda a: a, level=90)


def test_a_default_with_a_range_gets_its_bar():
    def saved(volume, human_usd=Estimate(10.0, 5.0, 20.0)):
        return volume * human_usd

    assert [swing.name for swing in tornado(dict(volume=100.0), saved).swings] == ['human_usd']
