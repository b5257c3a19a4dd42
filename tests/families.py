"""Tokenizers of families of models: a small vocabulary with the family's marks, and its published chat template.

The templates are those that TRL ships, to the letter, since TRL knows a family by its template. It has none for
Mistral, Magistral and Phi-4-mini; theirs are written here after the formats that the models' makers document."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import trl

from rlops_lab.models.load import tiny

CHATML = ('<|im_start|>', '<|im_end|>', '<|endoftext|>')
LLAMA = ('<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>', '<|eom_id|>', '<|python_tag|>')
GLM = ('[gMASK]', '<sop>', '<|system|>', '<|user|>', '<|assistant|>', '<|observation|>', '<|endoftext|>')
HARMONY = ('<|start|>', '<|end|>', '<|message|>', '<|channel|>', '<|constrain|>', '<|call|>', '<|return|>')
LFM = ('<|tool_call_start|>', '<|tool_call_end|>', '<|tool_response_start|>', '<|tool_response_end|>')
GEMMA4 = ('<|turn>', '<turn|>', '<|tool_call>', '<tool_call|>', '<|tool_response>', '<tool_response|>', '<|"|>')
DEEPSEEK = tuple(
    f'<｜{name}｜>'
    for name in (
        'begin▁of▁sentence',
        'end▁of▁sentence',
        'User',
        'Assistant',
        'tool▁calls▁begin',
        'tool▁calls▁end',
        'tool▁call▁begin',
        'tool▁call▁end',
        'tool▁sep',
        'tool▁outputs▁begin',
        'tool▁outputs▁end',
        'tool▁output▁begin',
        'tool▁output▁end',
    )
)

MISTRAL = """\
{{- bos_token }}
{%- set last = namespace(user=-1) %}
{%- for m in messages if m.role == 'user' %}{% set last.user = messages.index(m) %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}
{%- if tools and loop.index0 == last.user %}
{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + m.content + '[/INST]' }}
{%- elif m.tool_calls %}{{- '[TOOL_CALLS][' }}
{%- for call in m.tool_calls %}
{%- if not call.id or call.id | length != 9 %}{{- raise_exception('ids have nine letters') }}{% endif %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
{%- endfor %}{{- ']' + eos_token }}
{%- elif m.role == 'assistant' %}{{- m.content + eos_token }}
{%- elif m.role == 'tool' %}
{%- if not m.tool_call_id %}{{- raise_exception('which call?') }}{% endif %}
{{- '[TOOL_RESULTS]{"content": ' + (m.content | tojson) + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif m.role == 'system' %}{{- '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}
{%- endif %}{%- endfor %}"""
MISTRAL_TOKENS = (
    '<s>',
    '</s>',
    '[INST]',
    '[/INST]',
    '[AVAILABLE_TOOLS]',
    '[/AVAILABLE_TOOLS]',
    '[TOOL_CALLS]',
    '[TOOL_RESULTS]',
    '[/TOOL_RESULTS]',
    '[SYSTEM_PROMPT]',
    '[/SYSTEM_PROMPT]',
)

MAGISTRAL = """\
{{- bos_token }}
{%- if tools %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'assistant' %}
{%- if m.content is string %}{{- m.content }}
{%- else %}{% for block in m.content %}
{{- '[THINK]' + block.thinking + '[/THINK]' if block.type == 'thinking' else block.text }}{% endfor %}{% endif %}
{%- for call in m.tool_calls or [] %}
{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (call.function.arguments | tojson) }}{% endfor %}
{{- eos_token }}
{%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' }}
{%- elif m.role == 'system' %}{{- '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}
{%- endif %}{%- endfor %}"""

PHI4_MINI = """\
{%- for m in messages %}
{%- if m.role == 'system' and m.tools %}
{{- '<|system|>' + m.content + '<|tool|>' + m.tools + '<|/tool|><|end|>' }}
{%- else %}{{- '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% else %}{{- eos_token }}{% endif %}"""
PHI_TOKENS = ('<|system|>', '<|user|>', '<|assistant|>', '<|end|>', '<|endoftext|>')


class Family(NamedTuple):
    template: str  # of TRL by name, or the text of one
    tokens: tuple[str, ...]
    eos: str
    plain_tokens: tuple[str, ...] = ()  # tokens of their own that are not special


HERMES = ('<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>', '<think>', '</think>')

FAMILIES = {
    'Qwen2.5': Family('qwen2_5', CHATML, '<|im_end|>', HERMES[:2]),
    'Qwen3': Family('qwen3', CHATML, '<|im_end|>', HERMES),
    'Qwen3-2507': Family('qwen3_instruct_2507', CHATML, '<|im_end|>', HERMES),
    'Qwen3.5': Family('qwen3_5_nothink', CHATML, '<|im_end|>', HERMES),
    'Qwen3.5 thinking': Family('qwen3_5_think', CHATML, '<|im_end|>', HERMES),
    'Nemotron 3': Family('nemotron_3_nano', CHATML, '<|im_end|>', HERMES),
    'Llama 3.1': Family('llama3_1', LLAMA, '<|eot_id|>'),
    'Llama 3.2': Family('llama3_2', LLAMA, '<|eot_id|>'),
    'Mistral': Family(MISTRAL, MISTRAL_TOKENS, '</s>'),
    'Magistral': Family(MAGISTRAL, (*MISTRAL_TOKENS, '[ARGS]', '[THINK]', '[/THINK]'), '</s>'),
    'GLM-4.5': Family('glm4moe', GLM, '<|endoftext|>', HERMES),
    'gpt-oss': Family('gptoss', HARMONY, '<|return|>'),
    'LFM2': Family('lfm2', CHATML + LFM, '<|im_end|>'),
    'LFM2 v2': Family('lfm2_v2', CHATML + LFM, '<|im_end|>'),
    'LFM2.5': Family('lfm2_2_5', CHATML + LFM, '<|im_end|>'),
    'DeepSeek V3': Family('deepseekv3', DEEPSEEK, '<｜end▁of▁sentence｜>'),
    'Phi-4-mini': Family(PHI4_MINI, (*PHI_TOKENS, '<|tool_call|>', '<|/tool_call|>', '<|tool|>'), '<|endoftext|>'),
    'Phi-3.5': Family('phi3_5', PHI_TOKENS, '<|endoftext|>'),
    'Gemma 3': Family('gemma3', ('<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>'), '<eos>'),
    'Gemma 4': Family('gemma4', (*GEMMA4, '<bos>', '<eos>'), '<turn|>'),
    'Llama 3': Family('llama3', LLAMA, '<|eot_id|>'),
}


@lru_cache
def family_tokenizer(name):
    "A tokenizer of this family, made anew for each test that changes it by `copy.deepcopy`"
    from tokenizers import AddedToken

    family = FAMILIES[name]
    _, tokenizer = tiny()
    special = [AddedToken(token, special=True, normalized=False) for token in family.tokens]
    special.append(AddedToken('<pad>', special=True, normalized=False))
    tokenizer.add_special_tokens(dict(additional_special_tokens=special))
    tokenizer.pad_token = '<pad>'
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain_tokens])
    tokenizer.bos_token = family.tokens[0]
    tokenizer.eos_token = family.eos
    tokenizer.response_template = None
    file = Path(trl.__file__).parent / 'chat_templates' / f'{family.template[:30]}.jinja'
    tokenizer.chat_template = file.read_text(encoding='utf-8') if file.exists() else family.template
    return tokenizer
