"Layer math: the memory of a process whose products have ever new shapes"

import os
import subprocess
import sys

import pytest
import torch

SCRIPT = '''
import ctypes
import rlops_lab.models.layer_math
import torch

def held():
    ctypes.CDLL(None).malloc_trim(0)
    lines = open('/proc/self/status')
    return int(next(line.split()[1] for line in lines if line.startswith('RssAnon'))) / 1024

torch.set_num_threads(1)
x, w = torch.randn(2048, 64).bfloat16(), torch.randn(64, 64).bfloat16()
for n in range(1, 320): x[:n] @ w.T
before = held()
for n in range(320, 720): x[:n] @ w.T
print(held() - before)
'''


def test_products_of_new_shapes_do_not_pile_up():
    "Generated code for a shape is kept in caches that rlops_lab.models.layer_math makes small"
    if not sys.platform.startswith('linux') or not torch.backends.mkldnn.is_available():
        pytest.skip('the memory of a process is read from /proc, the caches are those of oneDNN')
    limits = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'LRU_CACHE_CAPACITY'
    env = {name: value for name, value in os.environ.items() if name not in limits}
    command = [sys.executable, '-c', SCRIPT]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40
