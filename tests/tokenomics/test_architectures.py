"Architectures: parameters as published and as transformers counts them, and what a config cannot determine"

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rlops_lab.tokenomics.architectures import _LEFT_OUT, CONFIGS, Architecture, architecture


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
        ('llama-3.2-1b', 1_235_814_400),
        ('llama-3.2-3b', 3_212_749_824),
        ('llama-3.1-405b', 405_853_388_800),
        ('llama-2-70b', 68_976_648_192),
        ('smollm3-3b', 3_075_098_624),
        ('mistral-small-24b', 23_572_403_200),
        ('qwen2.5-1.5b', 1_543_714_304),
        ('qwen2.5-3b', 3_085_938_688),
        ('qwen2.5-14b', 14_770_033_664),
        ('qwen2.5-32b', 32_763_876_352),
        ('qwen2.5-72b', 72_706_203_648),
        ('qwen3-14b', 14_768_307_200),
        ('olmo-2-7b', 7_298_617_344),
        ('olmo-2-13b', 13_716_198_400),
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
        'qwen3.5-9b',
        'gemma-3-12b',
        'olmo-2-32b',
        'smollm3-3b',
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
    'typed, name',
    [
        ('unsloth/Llama-3.2-3B-Instruct-bnb-4bit', 'llama-3.2-3b'),
        ('llama3.2:1b', 'llama-3.2-1b'),
        ('neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8', 'llama-3.1-70b'),
        ('Qwen/Qwen2.5-32B-Instruct-AWQ', 'qwen2.5-32b'),
        ('Qwen/Qwen3-30B-A3B-Thinking-2507-FP8', 'qwen3-30b-a3b'),
        ('mistralai/Mistral-Small-24B-Instruct-2501', 'mistral-small-24b'),
        ('google/gemma-3-12b-it-qat-q4_0-gguf', 'gemma-3-12b'),
        ('hf.co/bartowski/phi-4-GGUF:Q6_K', 'phi-4'),
        ('allenai/OLMo-2-1124-13B-Instruct', 'olmo-2-13b'),
        ('deepseek-ai/DeepSeek-R1-Distill-Qwen-32B', 'qwen2.5-32b'),
    ],
)
def test_what_people_type_is_found(typed, name):
    assert architecture(typed).name == name


@pytest.mark.parametrize(
    'typed, text',
    [
        ('qwen3', 'it may be qwen3-0.6b'),
        ('llama3.1', 'it may be llama-3.1-8b'),
        ('deepseek', 'it may be deepseek-v3'),
        ('gpt-6-luna', 'It is sold by .*openai'),
        ('claude-sonnet-5-5', 'It is sold by .*anthropic'),
        ('qwen3.8-max', 'no model'),
    ],
)
def test_what_is_not_found_is_never_guessed(typed, text):
    with pytest.raises(ValueError, match=text):
        architecture(typed)


def test_the_rivals_of_the_tutorial_have_an_architecture_or_a_seller():
    tutorials = Path(__file__).parents[2] / 'nbs' / 'tutorials'
    text = '\n'.join(path.read_text(encoding='utf-8') for path in tutorials.glob('*.ipynb'))
    hub_ids = {name for name in re.findall(r"'((?:Qwen|meta-llama|google|mistralai)/[\w.-]+)'", text)}
    assert 'Qwen/Qwen3.5-9B' in hub_ids
    for name in hub_ids:
        assert architecture(name).total > 1e8


@pytest.mark.parametrize(
    'name, text, table',
    [
        ('4b', dict(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34), 'gemma-3-4b'),
        (
            '12b',
            dict(
                hidden_size=3840,
                intermediate_size=15360,
                num_attention_heads=16,
                num_hidden_layers=48,
                num_key_value_heads=8,
            ),
            'gemma-3-12b',
        ),
        (
            '27b',
            dict(
                head_dim=128,
                hidden_size=5376,
                intermediate_size=21504,
                num_attention_heads=32,
                num_hidden_layers=62,
                num_key_value_heads=16,
            ),
            'gemma-3-27b',
        ),
    ],
)
def test_googles_own_files_leave_the_defaults_out(name, text, table):
    text = dict(model_type='gemma3_text', sliding_window=1024, **text)
    read, known = architecture(dict(model_type='gemma3', text_config=text), name), architecture(table)
    assert (read.total, read.cached, read.windows) == (known.total, known.cached, known.windows)


def test_the_defaults_are_those_of_transformers():
    hf = pytest.importorskip('transformers')
    default, ours = hf.Gemma3TextConfig(), _LEFT_OUT['gemma3_text']
    assert ours == {field: getattr(default, field) for field in ours}


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
