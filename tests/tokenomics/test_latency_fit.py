"Fitting latency: a stack that is found again, errors and bands by hand, and the published points"

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.tokenomics.engines import ENGINES
from rlops_lab.tokenomics.latency import BUNCHING
from rlops_lab.tokenomics.latency_fit import (
    CALIBRATED,
    INTAKES,
    START,
    bands,
    calibration_trial,
    coverage,
    errors,
    fit_efficiencies,
    fit_latency,
    leave_one_out,
)
from rlops_lab.tokenomics.latency_points import Point, predict, read_points, usable
from rlops_lab.tokenomics.roofline import ASSUMED, Efficiency


def published():
    "The published points that pass the filters, or a skip that says where they should be"
    folder = Path(os.environ.get('RLOPS_REAL_DATA', Path(__file__).parents[3] / 'shared' / 'data')) / 'latency'
    tables = [folder / name for name in ('measured_points.csv', 'moe_points.csv')]
    if not all(path.exists() for path in tables):
        pytest.skip(
            'published latency points are not beside the repository (../shared/data or $RLOPS_REAL_DATA)'
        )
    return usable([point for path in tables for point in read_points(path)])[0]


def synthetic(e, seed=0):
    "Points of a stack that follows the formula, with 3% noise"
    rng, loads = (
        np.random.default_rng(seed),
        [(p, o, c, m) for p, o in ((200, 200), (2000, 300)) for c in (1, 8, 32) for m in ('ttft', 'tpot')],
    )
    points = [Point('qwen3-8b', 'H200', p, o, c, m, 1.0, stack=f'synthetic {seed}') for p, o, c, m in loads]
    return [
        replace(p, seconds=float(s * np.exp(rng.normal(0, 0.03)))) for p, s in zip(points, predict(points, e))
    ]


@settings(deadline=None, max_examples=10)
@given(st.floats(0.6, 0.95), st.floats(0.35, 0.75), st.floats(5e-4, 6e-3), st.integers(0, 100))
def test_calibration_finds_a_stack(mbu, mfu, overhead, seed):
    points = synthetic(Efficiency(mbu=mbu, mfu_prefill=mfu, step_overhead=overhead), seed)
    seconds, e = np.array([p.seconds for p in points]), fit_latency(points, noise=0.03)
    assert np.median(np.abs(predict(points, e) / seconds - 1)) < 0.06


def test_a_stack_far_from_a_served_gpu_is_found_too():
    # twenty times slower per sequence: the points themselves say that the prior must be wide
    far = Efficiency(mfu_prefill=0.2, sequence_overhead=2e-3, request_overhead=0.05)
    points = synthetic(far)
    seconds = np.array([p.seconds for p in points])
    assert np.median(np.abs(predict(points, fit_latency(points)) / seconds - 1)) < 0.15


def test_three_points_claim_no_more_than_they_know():
    points = synthetic(Efficiency())
    e = fit_latency(points[:3])
    for name, (low, high) in CALIBRATED.items():
        assert getattr(e, name) == (low, high) and low < 0.85 and high >= 1.4
    assert fit_latency(points[:2]).tpot_band == Efficiency().tpot_band


def test_models_count_the_same_in_a_band():
    # nine points of a model that is right, one of a model that is twice as slow: a plain quantile would not see it
    right = [Point('llama-3.1-8b', 'H100', 10, 10, 1, 'tpot', 1.0)] * 9
    slow = Point('qwen3-8b', 'H100', 10, 10, 1, 'tpot', 2.0)
    assert bands([*right, slow], [1.0] * 10)['tpot_band'] == pytest.approx((1.0, 2.0))


def test_errors_and_bands_by_hand():
    points = [Point('llama-3.1-8b', 'H100', 10, 10, 1, 'tpot', s) for s in (1.0, 2.0, 4.0)]
    assert errors(points, [2.0, 2.0, 2.0])['tpot, 1 GPU'] == pytest.approx((3, 0.5, 0.5, 1.0))
    assert bands(points, [2.0, 2.0, 2.0], share=1.0)['tpot_band'] == pytest.approx((0.5, 2.0))
    assert coverage(points, replace(Efficiency(), tpot_band=(0.6, 1.5)), [2.0, 2.0, 2.0]) == pytest.approx(
        1 / 3
    )


def test_bars_on_published_points():
    kept = published()
    held, fits = leave_one_out(kept)
    by_model, _ = leave_one_out(kept, by='model')
    for predicted in (predict(kept), held):
        e = errors(kept, predicted)
        assert e['tpot, 1 GPU'][1] <= 0.125 and e['tpot, several'][1] <= 0.175 and e['ttft'][1] <= 0.25
    e = errors(kept, by_model)
    assert e['experts, tpot, 1 GPU'][1] <= 0.3 and e['experts, tpot, several'][1] <= 0.35
    assert e['ttft'][1] <= 0.25
    for chosen in ([True] * len(kept), [p.moe for p in kept], [p.metric == 'ttft' for p in kept]):
        those = [p for p, yes in zip(kept, chosen) if yes]
        assert 0.85 <= coverage(those, predicted=by_model[np.array(chosen)]) <= 0.95
    trial = calibration_trial(kept, draws=100, starts={s: f[0] for s, f in fits.items()})
    for points, ratio, before in trial.values():
        assert np.median(np.abs(1 / ratio - 1)) <= np.median(np.abs(1 / before - 1)) + 0.02
    tried = [p for t in trial.values() for p in t.points]
    ratio = np.concatenate([t.ratio for t in trial.values()])
    after = np.array([p.seconds for p in tried]) / ratio
    assert coverage(tried, replace(Efficiency(), **CALIBRATED), after) >= 0.85


def test_defaults_are_the_fit():
    e, shares, intakes = fit_efficiencies(published())
    for name, a in ASSUMED.items():
        assert getattr(e, name) == pytest.approx(a.value, rel=0.02)
    for name, a in BUNCHING.items():
        assert shares[name] == pytest.approx(a.value, rel=0.02)
    for name, seconds in intakes.items():
        assert seconds == pytest.approx(ENGINES[name][-1].intake.value, rel=0.02)
    assert set(START) == {*ASSUMED, *BUNCHING} and set(intakes) == set(INTAKES)


def test_no_torch():
    code = "import rlops_lab.tokenomics.latency_fit, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
