"Measured points: a table read by hand, the rules that drop points, many predictions at once"

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rlops_lab.tokenomics.architectures import architecture
from rlops_lab.tokenomics.engines import ENGINES
from rlops_lab.tokenomics.latency import BUNCHING, largest_batch, latency
from rlops_lab.tokenomics.latency_points import (
    Point,
    default_intakes,
    default_shares,
    point_arrays,
    predict,
    predict_arrays,
    read_points,
    usable,
)
from rlops_lab.tokenomics.roofline import GPUS, Efficiency

LLAMA, H100 = architecture('llama-3.1-8b'), GPUS['H100']


def test_rules_that_drop_points():
    good = Point('llama-3.1-8b', 'H100', 1000, 200, 8, 'tpot', 0.01)
    first = replace(good, metric='ttft', seconds=0.06)
    queue = replace(good, prompt=100_000, concurrency=64, seconds=1.0)
    corrupt = [replace(good, output=100, metric=m, seconds=1e-4) for m in ('ttft', 'tpot')]
    target = replace(first, stack='aiconfigurator, vllm 0.12.0, H100')
    # eight prompts of 1,000 tokens take .12 s at the peak: 1.2 s to the first token was a queue for slots
    slots = replace(first, seconds=1.2, stack='slots')
    kept, out = usable([good, good, first, queue, *corrupt, target, slots])
    assert {k: len(v) for k, v in out.items()} == {
        'caches do not fit': 1,
        'duplicate': 1,
        'faster than the data sheet': 2,
        'target, not users': 1,
        'waits for a slot': 1,
    }
    assert len(kept) == 2 and len(usable([target], strict=False)[0]) == 1


def test_a_table_by_hand(tmp_path):
    # Milliseconds become seconds; a static batch comes at once;
    # at 'max' the users are those that memory holds, and the answer takes as long as their tokens do
    head = 'source,licence,model,gpu,tp,engine,weight_bits,isl,osl,concurrency,metric,value,unit,note'
    rows = [
        'A x,l,meta-llama3-8b-instruct,H100-SXM,1,NIM 1,16,200,100,4,itl_mean,12.5,ms,',
        'B y,l,meta-llama3-8b-instruct,A100-SXM4-80GB,2,vLLM,16,1024,512,64,batch_latency,18.81,s,',
        'C z,l,Llama-3.1-8B-FP8,H100,1,TRT-LLM 1.0,8,1000,1000,max,max_output_throughput,15220,tok/s,',
        'A x,l,meta-llama3-8b-instruct,H100,1,NIM 1,16,200,100,4,output_throughput,300,tok/s,',
    ]
    (tmp_path / 'points.csv').write_text('\n'.join([head, *rows]) + '\n')
    nim, static, full = read_points(tmp_path / 'points.csv')
    assert (nim.metric, nim.seconds, nim.arrivals, nim.stack, nim.concurrency) == (
        'tpot',
        0.0125,
        'together',
        'A, NIM 1, H100',
        4,
    )
    assert (static.metric, static.seconds, static.arrivals, static.tp, static.gpu.name) == (
        'e2e',
        18.81,
        1.0,
        2,
        'A100-80GB',
    )
    users = largest_batch(LLAMA, H100, 1000, 1000, bits=8, kv_bits=8)
    assert (full.metric, full.concurrency, full.stack) == (
        'e2e',
        users,
        'C, TRT-LLM 1.0, H100, full',
    ) and full.seconds == pytest.approx(users * 1000 / 15220)


def test_a_row_knows_its_experts_its_cache_and_its_engine(tmp_path):
    head = 'source,model,gpu,tp,engine,weight_bits,expert_bits,kv_bits,isl,osl,concurrency,metric,value,unit'
    rows = [
        'X in aiconfigurator,openai/gpt-oss-120b,H200,2,vllm,16,4.25,,1024,1024,16,tpot_mean,8,ms',
        'X y,deepseek-ai/DeepSeek-R1,H200,8,sglang,8,8,,1024,1024,4,ttft_mean,260,ms',
        'X y,llama-3.1-8b,H100,1,vllm 0.12.0,8,,16,1024,1024,4,ttft_mean,50,ms',
    ]
    (tmp_path / 'points.csv').write_text('\n'.join([head, *rows]) + '\n')
    oss, r1, told = read_points(tmp_path / 'points.csv')
    assert oss.stack.startswith('aiconfigurator, vllm')
    assert (oss.bits, oss.expert_bits, oss.kv_bits, oss.engine.name, oss.moe) == (16, 4.25, 16, 'vllm', True)
    assert (r1.model.name, r1.kv_bits, r1.arrivals, r1.engine.name) == ('deepseek-r1', 16, 'spread', 'sglang')
    assert (told.kv_bits, told.expert_bits, told.moe) == (16, 8, False)
    seen = latency(oss.model, 'H200', 1024, 1024, 16, tp=2, expert_bits=4.25, engine='vllm')
    assert predict([oss]) == pytest.approx([seen.tpot.value])
    assert oss.fits == latency(oss.model, 'H200', 1024, 1024, 16, tp=2, expert_bits=4.25).fits
    first = latency('deepseek-r1', 'H200', 1024, 1024, 4, tp=8, bits=8, kv_bits=16, engine='sglang')
    assert predict([r1]) == pytest.approx([first.ttft.value])


def test_a_point_keeps_16_bits_unless_told():
    point = Point('llama-3.1-8b', 'H100', 1000, 200, 8, 'tpot', 0.01, bits=8)
    assert point.kv_bits == 16 and replace(point, kv_bits=8).kv_bits == 8
    assert Point('llama-3.1-8b', 'H100', 1000, 200, 8, 'tpot', 0.01, bits=8, engine='trtllm').kv_bits == 8


def test_predictions_of_many_points_are_those_of_latency():
    seen = latency(LLAMA, H100, 1000, 200, 9)
    points = [Point(LLAMA, H100, 1000, 200, 9, metric, 1.0) for metric in ('ttft', 'tpot', 'e2e')]
    assert predict(points) == pytest.approx([seen.ttft.value, seen.tpot.value, seen.e2e.value])
    assert default_intakes() == {name: rows[-1].intake.value for name, rows in ENGINES.items()}
    assert default_shares() == {kind: share.value for kind, share in BUNCHING.items()}


def test_a_known_share_of_users_at_once_goes_before_a_fitted_one():
    points = [
        Point(LLAMA, H100, 1000, 200, 9, 'ttft', 1.0, arrivals=arrivals) for arrivals in ('spread', 1.0)
    ]
    arrays = point_arrays(points)
    assert list(arrays.at_once) == [0, 1]
    assert list(arrays.arrivals['spread']) == [1, 0]
    by_kind = predict_arrays(arrays, Efficiency(), dict(spread=0.25, together=0.5))
    fitted = predict_arrays(arrays, Efficiency(bunching=0.25), dict(spread=0.0, together=0.0))
    assert np.all(by_kind == fitted)


def test_no_torch():
    code = "import rlops_lab.tokenomics.latency_points, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
