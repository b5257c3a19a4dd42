"Engines: names that people type, versions, and what each does by default"

import pytest

from rlops_lab.tokenomics.engines import ENGINES, engine
from rlops_lab.tokenomics.roofline import GPUS


@pytest.mark.parametrize(
    'name, found',
    [
        ('vllm', 'vllm'),
        ('vLLM 2024', 'vllm'),
        ('vllm-openai:v0.12.0', 'vllm'),
        ('SGLang 0.5.6.post2', 'sglang'),
        ('TensorRT-LLM 2024', 'trtllm'),
        ('TRT-LLM 1.0', 'trtllm'),
        ('trtllm 1.0.0rc3', 'trtllm'),
        ('NIM/TRT-LLM 2024', 'trtllm'),
    ],
)
def test_names(name, found):
    assert engine(name).name == found and engine(engine(name)) is engine(name)


def test_versions():
    # the last row that is not newer; a year is no version, and without one the newest holds
    versions = '0.8', '0.12.0', '0.28.9', '0.29', '1.0'
    assert [engine(f'vllm {v}').memory_share for v in versions] == [0.9] * 3 + [0.92] * 2
    assert engine('vLLM 2024') == engine('vllm') == ENGINES['vllm'][-1]


def test_eight_bit_weights_do_not_imply_an_eight_bit_cache():
    assert [engine(name).kv_bits(8) for name in ('vllm', 'sglang', 'trtllm')] == [16, 16, 8]
    assert {engine(name).kv_bits(bits) for name in ENGINES for bits in (16, 4.25, 4)} == {16}


def test_chunks():
    assert engine('vllm').chunk_on(GPUS['L40S']) == 2048 and engine('vllm').chunk_on(GPUS['H200']) == 8192


def test_every_row_has_a_source_and_a_range():
    for rows in ENGINES.values():
        for row in rows:
            assert row.source and row.date and row.intake.low <= row.intake.value <= row.intake.high
            assert 0 < row.memory_share <= 1


def test_an_unknown_engine_is_named():
    with pytest.raises(ValueError, match='no engine .ollama. in the table: vllm'):
        engine('ollama')
