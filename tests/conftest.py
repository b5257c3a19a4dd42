"Set before torch is imported: one thread a process (spinning threads of several processes starve one another), and no window for a figure."
import os, random, sys

os.environ.update(OMP_NUM_THREADS='1', TOKENIZERS_PARALLELISM='false', MPLBACKEND='agg')

import numpy as np
import pytest

@pytest.fixture(autouse=True)
def seeded():
    "Every test starts from the same random state, in whatever order they run"
    random.seed(0)
    np.random.seed(0)
    if 'torch' in sys.modules: sys.modules['torch'].manual_seed(0)
