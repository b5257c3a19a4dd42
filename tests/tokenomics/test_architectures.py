"Architectures: parameters as published and as transformers counts them, and what a config cannot determine"

import json
import subprocess
import sys

import pytest

from rlops_lab.tokenomics.architectures import CONFIGS, Architecture, architecture


@pytest.mark.parametrize(
    'name, count',
    [  # totals in the safetensors metadata on the hub
        ('smollm2-135m', 134_515_008),
        ('smollm2-1.7b', 1_711_376_384),
        ('llama-2-7b', 6_738_415_616),
        ('llama-3-8b', 8_030_261_248),
        ('llama-3.3-70b', 70_553_706_496),
        ('mistral-7b-v0.1', 7_241_732_096),
        ('mistral-nemo-12b', 12_247_782_400),
        ('mixtral-8x7b', 46_702_792_704),
        ('phi-3-mini', 3_821_079_552),
        ('phi-4', 14_659_507_200),
        ('qwen2.5-0.5b', 494_032_768),
        ('qwen2.5-7b', 7_615_616_512),
        ('qwen3-4b', 4_022_468_096),
        ('qwen3-8b', 8_190_735_360),
        ('qwen3-30b-a3b', 30_532_122_624),
        ('qwen3-235b-a22b', 235_093_634_560),
        ('gemma-3-1b', 999_885_952),
        ('gpt-oss-20b', 20_914_757_184),
        ('gpt-oss-120b', 116_829_156_672),
    ],
)
def test_parameters_as_published(name, count):
    assert architecture(name).total == count


@pytest.mark.parametrize(
    'name, billions',
    [
        ('mixtral-8x7b', 12.9),
        ('qwen3-30b-a3b', 3.3),
        ('qwen3-235b-a22b', 22),
        ('qwen3-next-80b-a3b', 3.9),
        ('deepseek-v3', 37.5),
        ('kimi-k2', 32.6),
    ],
)
def test_parameters_at_work_as_published(name, billions):
    assert architecture(name).active / 1e9 == pytest.approx(billions, rel=0.02)


def test_parameters_as_transformers_counts_them():
    torch, hf = pytest.importorskip('torch'), pytest.importorskip('transformers')
    for name in (
        'smollm2-135m',
        'qwen2.5-0.5b',
        'phi-4',
        'mixtral-8x7b',
        'qwen3-30b-a3b',
        'qwen3-next-80b-a3b',
        'qwen3.5-27b',
        'gemma-3-27b',
        'gpt-oss-20b',
        'deepseek-v3',
        'opt-6.7b',
    ):
        fields = {k: v for k, v in CONFIGS[name][1].items() if v is not None}
        kind = fields.pop('model_type')
        config = hf.AutoConfig.for_model('qwen3_5_text' if kind == 'qwen3_5' else kind, **fields)
        with torch.device('meta'):
            model = hf.AutoModelForCausalLM.from_config(config)
        arch = architecture(name)
        # the router's load-balancing bias is a buffer there, not a parameter
        biases = arch.moe_layers * arch.experts if kind == 'deepseek_v3' else 0
        assert (name, sum(p.numel() for p in model.parameters()) + biases) == (name, arch.total)
        again = architecture(config, name)  # its own config object is read alike
        assert (again.cached, again.windows, again.total) == (arch.cached, arch.windows, arch.total)


def test_reads_a_folder_a_file_and_nested_text(tmp_path):
    (tmp_path / 'mine').mkdir()
    file = tmp_path / 'mine' / 'config.json'
    file.write_text(json.dumps(dict(model_type='gemma3', text_config=CONFIGS['gemma-3-4b'][1])))
    by_hand = architecture('gemma-3-4b')
    for given_ in (file, file.parent, str(file.parent)):
        assert (architecture(given_).total, architecture(given_).windows) == (by_hand.total, by_hand.windows)
    assert architecture(file.parent).name == 'mine' and isinstance(architecture(by_hand), Architecture)


def test_hub_ids_of_the_table_find_their_entry():
    for name, (source, config) in CONFIGS.items():
        if '/' in source:
            assert (source, CONFIGS[architecture(source).name][1]) == (source, config)
    assert architecture('mistralai/Mistral-7B-Instruct-v0.1').name == 'mistral-7b-v0.1'
    assert architecture('mixtral-8x7b-instruct-v0.1').name == 'mixtral-8x7b'


@pytest.mark.parametrize(
    'model, text',
    [
        ('llama-9', "no model 'llama-9'"),
        ('llama-3', 'it may be llama-3-8b, llama-3.1-8b'),
        ('/nowhere/config', 'no model'),
        (dict(model_type='jamba', hidden_size=1), 'is not one whose blocks are known'),
        (
            dict(model_type='llama', hidden_size=64),
            'lacks num_hidden_layers, num_attention_heads, vocab_size',
        ),
        (dict(CONFIGS['llama-3-8b'][1], layer_types=['full_attention']), '1 layer_types for 32 layers'),
        (dict(CONFIGS['llama-3-8b'][1], layer_types=['chunked_attention'] * 32), 'whose cache is not known'),
    ],
)
def test_what_a_config_cannot_say_is_refused(model, text):
    with pytest.raises(ValueError, match=text):
        architecture(model)


def test_no_torch():
    heavy = "{'torch', 'transformers'}"
    code = f'import rlops_lab.tokenomics.architectures, sys; sys.exit(bool({heavy} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
