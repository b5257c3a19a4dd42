"Cost figures say what the calculators say."

from rlops_lab.tokenomics.payback import payback
from rlops_lab.widgets.cost_figures import wait_or_build_html


def test_the_picture_agrees_with_the_calculator():
    for pace in (7, 15, 60):
        p = payback(50_000, 6_000, 150_000, pace)
        text = wait_or_build_html(50_000, 6_000, 150_000, pace, 0.0, 0.0)
        assert ('never' in text) if p.months == float('inf') else (f'{p.months:.1f} months' in text)
