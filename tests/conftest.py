"""Settings that must stand before torch is imported, and fixtures that many tests share.

One thread a process (spinning threads of several processes starve one another), and no window for a figure."""

import os
import random
import signal
import sys

os.environ.update(OMP_NUM_THREADS='1', TOKENIZERS_PARALLELISM='false', MPLBACKEND='agg')

import numpy as np
import pytest
from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and tests that send it hang

settings.register_profile(
    'ci', derandomize=True
)  # CI judges a change, not a draw; without CI every run looks for new counterexamples
if os.environ.get('CI'):
    settings.load_profile('ci')


@pytest.fixture(autouse=True)
def seeded():
    "Every test starts from the same random state, in whatever order they run"
    random.seed(0)
    np.random.seed(0)
    if 'torch' in sys.modules:
        sys.modules['torch'].manual_seed(0)


@pytest.fixture(scope='session')
def server(tmp_path_factory):
    "One JupyterLab for all browser tests, which are skipped where chromium or playwright is absent"
    from browsing import CHROMIUM, jupyterlab

    pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')
    if CHROMIUM is None:
        pytest.skip('no chromium on the PATH: install it (Debian: apt-get install chromium)')
    with jupyterlab(tmp_path_factory.mktemp('lab')) as server:
        yield server


@pytest.fixture
def sent(monkeypatch):
    "What would go to the browser: (kind, data) of each message"
    import comm
    from comm.base_comm import BaseComm

    log = []

    class Recorder(BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            log.append((msg_type, data))

    monkeypatch.setattr(comm, 'create_comm', Recorder)
    return log


@pytest.fixture
def loud(monkeypatch):
    "ipywidgets logs what a click's callback raises; here it must fail the test"
    from ipywidgets.widgets.widget import CallbackDispatcher

    monkeypatch.setattr(
        CallbackDispatcher,
        '__call__',
        lambda self, *args, **keys: [call(*args, **keys) for call in list(self.callbacks)],
    )
