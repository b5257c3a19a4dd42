"A server that the tests of judges talk to"

import pytest
from fake_judges import serving


@pytest.fixture
def server():
    pytest.importorskip('openai', reason="the client of the [judge] extra: pip install 'rlops_lab[judge]'")
    with serving() as handler:
        yield handler
