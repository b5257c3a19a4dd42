"Scorecard: all three verdicts, requirements, and what is refused"

import math

import pytest
from money import near

from rlops_lab.tokenomics.payback import TENFOLD, price_after
from rlops_lab.tokenomics.prices import ASSISTED_CONTACT
from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.scorecard import automation_usd, use_case_scorecard
from rlops_lab.tokenomics.uncertainty import draw_inputs, pert, resolved, triangular

CHAT = dict(
    cases_per_month=1e4,
    share_resolved=resolved(160, 200),
    usd_per_case=0.05,
    human_usd=10.0,
    people_usd_per_month=Estimate(5e3, 4e3, 9e3),
)


def test_automation_by_hand():
    # 1,000 contacts: persons $10,000. With: 1,000 x $1 + 400 x $12 + $2,000 people + $500 rent + $24,000/24 = $9,300
    costs = dict(human_usd=10, handoff_usd=2, rent_usd_per_month=500, invest_usd=24_000)
    assert automation_usd(1000, 0.6, 1.0, 2000, **costs) == near(700)
    assert automation_usd(1000, 0.6, 1.0, 2000, month=15, **costs) == near(1600)


def test_a_clear_case_is_a_go():
    card = use_case_scorecard('<i>chat', CHAT, n=2000)
    assert (card.verdict, card.month, card.share_good) == ('go', 0, 1.0)
    page = card._repr_html_()
    assert '<i>' not in page and '<script' not in page


def test_too_few_cases_are_a_no_go():
    card = use_case_scorecard('rare', CHAT | dict(cases_per_month=100), n=2000)
    assert (card.verdict, card.month) == ('no-go', None)


def test_divided_draws_are_a_not_yet():
    card = use_case_scorecard('?', CHAT | dict(people_usd_per_month=Estimate(8e4, 6e4, 1e5)), n=2000)
    assert (card.verdict, card.month) == ('not yet', None)
    assert 0.1 < card.share_good < 0.9


def test_a_default_with_a_range_is_drawn():
    "A person is not exactly 13.50, and prices do not fall at exactly one pace, because nobody named them"
    asked = dict(cases_per_month=1000, share_resolved=0.6, usd_per_case=0.0, people_usd_per_month=6600)
    card = use_case_scorecard('desk', asked, n=20_000)
    low, high = (0.6 * 1000 * usd - 6600 for usd in (ASSISTED_CONTACT.low, ASSISTED_CONTACT.high))
    assert low < card.benefit.low < 0 < card.benefit.high < high
    assert card.inputs['human_usd'] is ASSISTED_CONTACT and card.inputs['months_per_tenfold'] is TENFOLD
    assert card.deciding[0] == 'human_usd' and 'Gartner' in card._repr_html_()
    fixed = use_case_scorecard('desk', asked | dict(human_usd=13.5), n=2000)
    assert fixed.benefit.low == fixed.benefit.high == near(1500)


def test_a_falling_price_names_the_month():
    def benefit(now, month=0):
        return 6 - price_after(now, month, 15)

    now = pert(50, 60, 80)
    card = use_case_scorecard('soon', dict(now=now), benefit, n=2000)
    assert card.verdict == 'not yet'
    assert card.month == pytest.approx(15 * math.log10(now.at(0.9) / 6), abs=1.1)


def test_no_go_means_throughout():
    "None of the draws is good today; within five years seven in ten are, within one month still none"

    def benefit(x, month=0):
        return x + month / 60

    inputs = dict(x=triangular(-1.5, -0.9, -0.1))
    assert draw_inputs(inputs, 20_000)['x'].mean() < -0.8
    months = (0, 1, 60)
    cards = [
        use_case_scorecard('later', inputs, benefit, horizon_months=horizon, n=20_000) for horizon in months
    ]
    assert [card.verdict for card in cards] == ['no-go', 'no-go', 'not yet']
    assert [card.month for card in cards] == [None, None, None]
    assert cards[-1].share_good == 0


def test_a_requirement_can_forbid_what_pays():
    inputs = dict(
        cases_per_month=1e4,
        share_resolved=0.8,
        usd_per_case=0.05,
        people_usd_per_month=5e3,
        seconds=triangular(0.1, 0.5, 0.6),
    )
    card = use_case_scorecard('voice', inputs, must={'fast': lambda seconds: seconds < 0.3}, n=20_000)
    seconds = draw_inputs(dict(seconds=triangular(0.1, 0.5, 0.6)), 20_000)['seconds']
    assert card.met['fast'] == card.share_good == pytest.approx((seconds < 0.3).mean(), abs=0.02)
    assert card.deciding[0] == 'seconds'
    assert card.verdict == 'not yet'


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: use_case_scorecard('x', dict(usd_per_kase=1.0)), 'check the spelling'),
        (lambda: use_case_scorecard('x', {}, sure=90), 'below 1'),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
