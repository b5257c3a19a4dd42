"Amounts, strategies and options that several tests of tokenomics share"

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.decisions import Option

usd = st.floats(0, 1e5)
share = st.floats(0, 1)
cases = st.floats(0, 1e7)
fast = settings(max_examples=200, deadline=None)

API = Option('API', 0.9, usd_per_case=0.05)
OWN = Option(
    'own',
    0.9,
    usd_per_server_hour=3.0,
    cases_per_server_hour=1000,
    peak_to_mean=5,
    max_load=0.8,
    min_servers=2,
    people_usd_per_month=5000,
)


def near(figure, rel=1e-9, **tolerance):
    "Equal to nine digits, unless said otherwise"
    return pytest.approx(figure, rel=rel, **tolerance)
