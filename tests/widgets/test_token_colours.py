"Any number has a colour, and one odd number does not bleach the others."

import math

from hypothesis import given, strategies as st

from rlops_lab.widgets.token_colours import QUANTITIES, cell_background, colour_scale


@given(
    st.sampled_from(list(QUANTITIES)), st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)
)
def test_any_number_has_a_colour(quantity, numbers):
    scale = colour_scale(numbers, quantity)
    assert scale >= QUANTITIES[quantity].min_span and math.isfinite(scale)
    depths = [float(cell_background(x, quantity, scale)[:-1].split(',')[-1]) for x in numbers]
    assert all(0 <= d <= 0.6 for d in depths)


def test_one_odd_token_does_not_bleach_the_others():
    assert (
        colour_scale([1.0] * 99 + [1000.0], 'advantage') == 1.0
        and colour_scale([1.0] * 9 + [1000.0], 'advantage') == 1000.0
    )
