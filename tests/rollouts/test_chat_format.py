"Chat format: what a template adds between turns, templates that rewrite history, and readers of one's own"

import pytest
from scripted_rollouts import TOKENIZER, Till, run

from rlops_lab.models.load import load
from rlops_lab.models.tool_syntax import SYNTAXES
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import decoded, encoded
from rlops_lab.rollouts.actions import read_action
from rlops_lab.rollouts.turns import check_template, observation_ids

OURS = chat_format(TOKENIZER)


def with_template(**changes):
    _, tokenizer = load('tiny')
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    'observation',
    [dict(role='tool', name='put', content='4 in the till'), dict(role='user', content='And then?')],
)
def test_observations_are_what_the_template_adds(observation):
    action = read_action('put(amount=4)', SYNTAXES['python']).message
    talk = [dict(role='system', content='s'), dict(role='user', content='u'), action]
    whole = encoded(TOKENIZER, OURS.render(talk + [observation], reply=True))
    head = encoded(TOKENIZER, OURS.render(talk).rstrip('\n'))
    assert head[-1] == TOKENIZER.eos_token_id
    assert head + observation_ids(OURS, action, [observation]) == whole


def test_results_of_two_calls_are_one_observation():
    action = read_action('put(amount=4)\nput(amount=5)', SYNTAXES['python']).message
    results = [dict(role='tool', name='put', content=content) for content in ('4', '9 <|im_end|> "')]
    talk = [dict(role='user', content='u'), action, *results]
    ids = observation_ids(OURS, action, results)
    assert OURS.render(talk, reply=True).endswith(decoded(TOKENIZER, ids))


@pytest.mark.parametrize(
    'changes, cure',
    [
        (dict(chat_template=None), 'chat_template.setup_chat_format'),
        (
            dict(
                chat_template=TOKENIZER.chat_template.replace(
                    "{{- message['content'] or '' }}", "{{- message['content'] if loop.last else '' }}"
                )
            ),
            'chat_template.setup_chat_format',
        ),
        (dict(chat_template="{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"), 'no token of its own'),
    ],
)
def test_templates_that_cannot_be_used_are_refused(changes, cure):
    with pytest.raises(ValueError, match=cure):
        check_template(chat_format(with_template(**changes)))


def test_a_turn_may_end_with_another_token_than_the_tokenizers():
    other = chat_format(with_template(eos_token='<|endoftext|>'))
    assert set(other.tokenizer.convert_ids_to_tokens(other.stop_ids)) == {'<|endoftext|>', '<|im_end|>'}
    check_template(other)


def test_a_template_of_ones_own_is_read_as_it_writes():
    "ChatML with calls between tags, which no library knows by its text"
    hermes = TOKENIZER.chat_template.split('{%- for call')[0].split("{%- if message['role'] == 'assistant'")[0]
    own = (
        hermes
        + """{%- if message['role'] == 'assistant' %}{{- '<|im_start|>assistant\n' + (message['content'] or '') }}
{%- for call in message['tool_calls'] or [] %}
{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\n' }}{%- elif not (loop.first and message['role'] == 'system') %}
{{- '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + '<|im_end|>\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
    )
    chat = chat_format(with_template(chat_template=own))
    assert chat.calls.syntax.name == 'hermes' and chat.calls.parallel
    check_template(chat)


def test_a_policy_whose_calls_nothing_reads_is_loud():
    call = '<tool_call>{"name": "put", "arguments": {"amount": 4}}</tool_call>'
    with pytest.raises(ValueError, match='the syntax of another family') as caught:
        run([[call] * 8], max_tokens_per_turn=200)
    assert 'parser=' in str(caught.value)
    (t,) = run([[call, 'put(amount=10)']], max_tokens_per_turn=200)  # one of them is a mistake, which is told
    assert 'write calls in the syntax' in t.messages[2]['content'] and t.reward == 1


def test_a_parser_of_ones_own():
    def shouted(text):
        if not text.startswith('PUT '):
            return None
        if not text[4:].isdigit():
            raise ValueError('write PUT and a number')
        return [('put', dict(amount=int(text[4:])))]

    (t,) = run([['PUT four', 'PUT 10']], parser=shouted)
    assert t.reward == 1 and t.messages[2]['content'] == 'write PUT and a number'
    call = '<tool_call>{"name": "put", "arguments": {"amount": 10}}</tool_call>'
    (t,) = run([[call]], parser='hermes', max_tokens_per_turn=200)
    assert t.reward == 1
    with pytest.raises(ValueError, match="parser='json' is no known syntax"):
        run([['x']], parser='json')


def test_thoughts_are_kept_in_the_tokens_and_told_to_nobody():
    (t,) = run([['<think>Four?</think>put(amount=10)']])
    assert t.reward == 1
    reply = next(m for m in t.messages if m['role'] == 'assistant')
    assert reply['reasoning_content'] == 'Four?' and reply['content'] == ''
    assert '<think>Four?</think>' in decoded(TOKENIZER, t.token_ids)


def test_several_calls_in_a_turn():
    (t,) = run([['put(amount=4)\nput(amount=6)']])
    assert t.reward == 1 and t.kpis['tool_calls'] == 2
    first, second = (m for m in t.messages if m['role'] == 'tool')
    calls = t.messages[1]['tool_calls']
    assert [first['tool_call_id'], second['tool_call_id']] == [call['id'] for call in calls]


def test_what_the_template_gets_besides():
    template = TOKENIZER.chat_template + "{%- if quiet is defined %}{{- '<think></think>' }}{%- endif %}"
    chat = chat_format(with_template(chat_template=template), dict(quiet=True))
    assert chat.render([dict(role='user', content='x')], reply=True).endswith('<think></think>')
    assert isinstance(Till().reset(3), str)


def shouts():
    "A tokenizer whose template writes calls as no syntax does, with the response template that reads them"
    head, _, rest = TOKENIZER.chat_template.partition("{%- for call in message['tool_calls'] or [] %}")
    tail = rest.partition("{{- ')' }}{%- endfor %}")[2]
    call = "{{- '<|shout|>' + call.function.name + '|' + (call.function.arguments | tojson) + '<|hush|>' }}"
    loop = "{%- for call in message['tool_calls'] or [] %}" + call + '{%- endfor %}'
    tokenizer = with_template(chat_template=head + loop + tail)
    tokenizer.add_special_tokens(dict(additional_special_tokens=['<|shout|>', '<|hush|>']))
    calls = dict(
        open_pattern=r'<\|shout\|>(?P<name>\w+)\|',
        close_pattern=r'<\|hush\|>',
        repeats=True,
        content='json',
        transform=dict(type='function', function=dict(name='{name}', arguments='{content}')),
    )
    text = dict(close_pattern=r'<\|im_end\|>\s*|$', content='text')
    tokenizer.response_template = dict(
        defaults=dict(role='assistant'),
        start_anchor='<|im_start|>assistant\n',
        fields=dict(tool_calls=calls, content=text),
    )
    return tokenizer


def test_a_response_template_reads_what_no_syntax_does():
    chat = chat_format(shouts())
    syntax = chat.calls.syntax
    assert (syntax.name, syntax.mark, chat.calls.parallel) == ('response template', '<|shout|>', True)
    action = read_action('One moment.<|shout|>put|{"amount": 4}<|hush|>', syntax, ['put'])
    assert action.calls[0][:2] == ('put', dict(amount=4)) and action.text == 'One moment.'
    for broken in ('<|shout|>put|{"amount": <|hush|>', '<|shout|>put<|hush|>', '<|shout|>', 'put(amount=4)'):
        assert read_action(broken, syntax, ['put']).fault
    check_template(chat)
