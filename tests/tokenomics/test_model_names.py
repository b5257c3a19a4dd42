"One model under the names that people type"

import pytest

from rlops_lab.tokenomics.model_names import model_key, nearest_names


@pytest.mark.parametrize(
    'typed, name',
    [
        ('Qwen/Qwen3-8B-AWQ', 'qwen3-8b'),
        ('qwen3:8b-q8_0', 'qwen3-8b'),
        ('unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL', 'qwen3-8b'),
        ('Qwen3-8B-Q4_K_M.gguf', 'qwen3-8b'),
        ('nvidia/Qwen3-8B-NVFP4', 'qwen3-8b'),
        ('mistralai/Mistral-Small-3.2-24B-Instruct-2506', 'mistral-small-3.2-24b'),
        ('claude-3-5-haiku@20241022', 'claude-3-5-haiku'),
        ('gpt-4.1-2025-04-14', 'gpt-4.1'),
        ('allenai/OLMo-2-1124-7B', 'olmo-2-7b'),
        ('phi4:latest', 'phi-4'),
    ],
)
def test_spellings_of_one_model(typed, name):
    assert model_key(typed) == model_key(name)


@pytest.mark.parametrize(
    'one, other',
    [
        ('qwen3-8b', 'qwen3-8b-thinking'),
        ('qwen3-8b', 'qwen3-vl-8b'),
        ('llama-3.1-8b', 'llama-3-8b'),
        ('gemma-3-4b', 'gemma-3n-e4b'),
        ('mixtral-8x7b', 'mixtral-8x22b'),
        ('o1', 'o1-preview'),
    ],
)
def test_models_that_differ(one, other):
    assert model_key(one) != model_key(other)


def test_nearest_names_are_few_and_near():
    known = [f'llama-3.{i}-8b' for i in range(20)] + ['whisper-1']
    near = nearest_names('llama3.1:8b', known, n=3)
    assert near[0] == 'llama-3.1-8b' and len(near) == 3
    assert nearest_names('', known) == [] and nearest_names('zzz', known) == []
