"TRL 1.10's PPOTrainer and ours compute the same update; what they do not is listed in tests/benchmarks/parity.py"

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))
from _peer import peer_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        peer_python() is None, reason="the peer's environment is absent: `make bench BENCH=parity` makes it"
    ),
]


@pytest.mark.parametrize('lora', [True, False], ids=['lora', 'full'])
def test_update_agrees_with_trl(tmp_path, lora):
    from parity import EPOCHS, case

    found = case(tmp_path / 'case', peer_python(), lora)
    compared = {
        k: x
        for k, x in found.items()
        if k not in ('value_std', 'tensors', 'theirs_in_micro_batches', 'clipped_tokens')
    }
    assert {k: x for k, x in compared.items() if not x <= 1e-4} == {}
    assert (
        {f'gradients_epoch_{i + 1}' for i in range(EPOCHS if lora else 1)} <= set(compared)
        and found['tensors'] >= 20
        and found['value_std'] > 0.01
    )
    assert found['theirs_in_micro_batches'] > 0.01, (
        "TRL's means inside micro-batches no longer change its gradient: take the line out of the table"
    )
