"Conversations of any form are read as plain chat messages, or refused by name and place"

import subprocess
import sys
import warnings

import pytest

from rlops_lab.core.messages import map_texts, normalise_messages


def call(name, arguments, **more):
    return dict(type='function', function=dict(name=name, arguments=arguments)) | more


def turn(*calls, **more):
    return dict(role='assistant', content='', tool_calls=list(calls)) | more


def said(text, role='user'):
    return dict(role=role, content=text)


def arguments(messages):
    return [c['function']['arguments'] for m in messages for c in m.get('tool_calls', [])]


def test_plain_messages_stay_as_they_are_keys_in_their_order():
    plain = [
        said('sys', 'system'),
        dict(role='user', content='hi', name='Ann', weight=0),
        dict(role='assistant', content='<think>x</think>ok', reasoning_content='', tool_calls=[call('f', dict(a=1))]),
        dict(role='tool', name='f', content='1'),
        said('done', 'assistant'),
    ]
    read = normalise_messages(plain)
    assert read == plain and [list(m) for m in read] == [list(m) for m in plain]
    assert read[1] is not plain[1]


@pytest.mark.parametrize('written', ['{"seat": 4}', b'{"seat": 4}', dict(seat=4)])
def test_arguments_as_text_or_object(written):
    assert arguments(normalise_messages([turn(call('book', written))])) == [dict(seat=4)]


@pytest.mark.parametrize('nothing', [None, '', ' ', {}])
def test_no_arguments(nothing):
    assert arguments(normalise_messages([turn(call('ping', nothing))])) == [{}]


@pytest.mark.parametrize('wrong', ['{"seat": 4', "{'seat': 4}", '[4]', '"{}"', '4', '{"x": NaN}', [4], 4])
def test_arguments_that_are_no_object_are_refused(wrong):
    with pytest.raises(ValueError, match='message 1: the arguments of book are'):
        normalise_messages([said('x'), turn(call('book', wrong))])


def test_null_in_json_text_is_meant():
    padded = [dict(said('x'), tool_calls=None), turn(call('book', '{"note": null}'))]
    assert arguments(normalise_messages(padded)) == [dict(note=None)]


# ---- data sets


def conversations():
    "Two conversations whose calls have other arguments, some of them nested"
    first = [said('a'), turn(call('book', dict(seat=4, who=dict(name='Ann'))), call('ping', {})), said('1', 'tool')]
    second = [said('b'), turn(call('cancel', dict(code='A', who=dict(age=3), days=[1, 2])))]
    return [[*first, said('2', 'tool')], [*second, said('ok', 'tool'), said('bye', 'assistant')]]


def test_what_arrow_filled_in_goes():
    datasets = pytest.importorskip('datasets')
    rows = datasets.Dataset.from_list([dict(prompt=messages) for messages in conversations()])
    assert 'code' in arguments(rows[0]['prompt'][1:2])[0]  # filled in, or this test shows nothing
    assert [normalise_messages(row['prompt']) for row in rows] == conversations()


def test_a_column_of_parquet_as_pandas_reads_it(tmp_path):
    datasets, pandas = pytest.importorskip('datasets'), pytest.importorskip('pandas')
    rows = datasets.Dataset.from_list([dict(prompt=messages) for messages in conversations()])
    rows.to_parquet(tmp_path / 'rows.parquet')
    column = pandas.read_parquet(tmp_path / 'rows.parquet')['prompt']
    assert list(map(normalise_messages, column)) == conversations()


def test_none_that_somebody_wrote_stays():
    written = [said('x'), turn(call('book', dict(note=None, who=dict(age=None)))), said('ok', 'tool')]
    assert normalise_messages(written) == written


def test_other_arguments_are_evidence_against_a_data_set():
    calls = call('book', dict(note=None)), call('cancel', dict(code='A'))
    by_hand = [dict(said('x'), tool_calls=None), turn(*calls)]
    assert arguments(normalise_messages(by_hand)) == [dict(note=None), dict(code='A')]


def test_where_nothing_tells_a_none_stays_with_a_warning():
    with pytest.warns(UserWarning, match='nothing tells whether a data set filled it in'):
        assert arguments(normalise_messages([turn(call('book', dict(note=None)))])) == [dict(note=None)]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        normalise_messages([turn(call('book', '{"note": null}'))])


# ---- content


def test_parts_of_text_are_joined():
    parts = [dict(type='text', text='Seat ', image=None), '4', dict(text='!')]
    assert normalise_messages([said(parts)]) == [said('Seat 4!')]
    assert normalise_messages([said(None), dict(role='user')]) == [said(''), said('')]


@pytest.mark.parametrize('kind', ['image', 'image_url', 'input_image', 'input_audio', 'file', 'document', 'video'])
def test_parts_that_are_no_text_are_refused(kind):
    with pytest.raises(ValueError, match=f"message 1: its content of type '{kind}' is no text"):
        normalise_messages([said('x'), said([dict(type='text', text='Look'), dict(type=kind)])])


@pytest.mark.parametrize('content', [3, float('nan'), dict(a=1), [3], [dict(type='text')]])
def test_content_that_is_no_text_is_refused(content):
    with pytest.raises(ValueError, match='message 0: '):
        normalise_messages([said(content)])


def test_images_beside_the_content_are_refused():
    with pytest.raises(ValueError, match="message 0: it holds 'images'"):
        normalise_messages([said('x') | dict(images=['a.png'])])


def test_bytes_and_halves_of_surrogate_pairs():
    assert normalise_messages([said('é'.encode()), said('\ud83d\ude00 \ud83d')]) == [said('é'), said('😀 \ufffd')]
    assert arguments(normalise_messages([turn(call('f', dict(x='\udc00')))])) == [dict(x='\ufffd')]
    with pytest.raises(ValueError, match='not UTF-8'):
        normalise_messages([said(b'\xff')])


def test_a_refusal_is_what_was_said():
    assert normalise_messages([dict(role='assistant', content=None, refusal='No.')]) == [said('No.', 'assistant')]
    part = dict(type='refusal', refusal='No.')
    assert normalise_messages([said([part], 'assistant')]) == [said('No.', 'assistant')]


# ---- roles


@pytest.mark.parametrize(
    'role, plain',
    [('developer', 'system'), ('human', 'user'), ('gpt', 'assistant'), ('model', 'assistant'), ('system', 'system')],
)
def test_roles_have_one_name(role, plain):
    assert normalise_messages([said('x', role)])[0]['role'] == plain


@pytest.mark.parametrize('message', [said('x', 'critic'), said('x', None), dict(content='x'), dict(type='human')])
def test_a_message_without_a_known_role_is_refused(message):
    with pytest.raises(ValueError, match='message 0: it'):
        normalise_messages([message])
    if message.get('role'):
        assert normalise_messages([message], strict=False) == [message]


def test_langchain_and_gemini_are_told_what_to_do():
    with pytest.raises(ValueError, match='convert_to_openai_messages'):
        normalise_messages([dict(type='ai', content='x')])
    with pytest.raises(ValueError, match='write them as content'):
        normalise_messages([dict(role='model', parts=[dict(text='x')])])


def test_only_the_assistant_calls():
    with pytest.raises(ValueError, match='only the assistant calls tools'):
        normalise_messages([turn(call('f', {}), role='user')])


@pytest.mark.parametrize('conversation', ['hello', None, 3, dict(role='user', content='x')])
def test_what_is_no_conversation_is_refused(conversation):
    with pytest.raises(ValueError, match='a conversation is of type'):
        normalise_messages(conversation)


def test_tuples_generators_of_nothing():
    assert normalise_messages(()) == [] and normalise_messages((said('x'),)) == [said('x')]


# ---- calls and answers


def named(name, id=None):
    return dict(role='tool', content=name) | (dict(tool_call_id=id) if id else dict(name=name))


def test_answers_stand_in_the_order_of_their_calls():
    by_id = [said('x'), turn(call('f', {}, id='1'), call('f', {}, id='2')), named('b', '2'), named('a', '1')]
    assert [m['content'] for m in normalise_messages(by_id)[2:]] == ['a', 'b']
    by_name = [said('x'), turn(call('f', {}), call('g', {})), named('g'), named('f'), said('y')]
    assert [m['content'] for m in normalise_messages(by_name)[2:]] == ['f', 'g', 'y']


def test_an_answer_to_no_call_is_refused_with_its_place():
    for place, messages in (
        (0, [named('f')]),
        (1, [said('x'), named('f', '1')]),
        (2, [said('x'), turn(call('f', {}, id='1')), named('f', '2')]),
        (3, [said('x'), turn(call('f', {}, id='1')), named('f', '1'), named('f', '1')]),
        (2, [said('x'), turn(call('f', {})), named('g')]),
    ):
        with pytest.raises(ValueError, match=f'message {place}: it answers no call'):
            normalise_messages(messages)
        assert normalise_messages(messages, strict=False) == messages


def test_an_answer_with_an_id_behind_a_turn_without_calls():
    log = [said('x'), said('y', 'assistant'), named('f', '1')]
    with pytest.raises(ValueError, match='message 2: it answers no call'):
        normalise_messages(log)
    read = normalise_messages(log, strict=False)
    assert read[2] == dict(role='tool', content='f') and normalise_messages(read) == read


def test_a_call_without_an_answer_is_refused_where_the_talk_goes_on():
    asked = turn(call('f', {}, id='1'), call('g', {}, id='2'))
    for rest in ([said('y')], [named('f', '1'), said('y', 'assistant')], [turn(call('f', {}))]):
        with pytest.raises(ValueError, match='message 1: nothing answers its call of'):
            normalise_messages([said('x'), asked, *rest])
    assert len(normalise_messages([said('x'), asked])) == 2
    assert len(normalise_messages([said('x'), asked, named('g', '2')])) == 3


def test_a_turn_that_wrote_its_call_as_text_may_be_answered():
    log = [said('x'), said('book(seat=4', 'assistant'), dict(role='tool', content='unreadable')]
    assert normalise_messages(log) == log


def test_old_function_calls():
    old = dict(role='assistant', content=None, function_call=dict(name='f', arguments='{"a": 1}'))
    read = normalise_messages([said('x'), old, dict(role='function', name='f', content='1')])
    assert arguments(read) == [dict(a=1)] and [m['role'] for m in read] == ['user', 'assistant', 'tool']
    assert 'function_call' not in read[1]


@pytest.mark.parametrize('flat', [dict(name='f', arguments='{"a": 1}'), dict(name='f', args=dict(a=1), id='1')])
def test_flat_calls(flat):
    assert normalise_messages([turn(flat)])[0]['tool_calls'][0]['function'] == dict(name='f', arguments=dict(a=1))


@pytest.mark.parametrize(
    'calls', [dict(function=[1]), 'not json', [3], [dict(function={})], [dict(type='custom', custom=dict(name='f'))]]
)
def test_calls_that_cannot_be_read_are_refused(calls):
    with pytest.raises(ValueError, match='message 0: '):
        normalise_messages([dict(role='assistant', content='', tool_calls=calls)])


def test_a_log_keeps_a_call_that_the_model_wrote_wrongly():
    log = [said('x'), turn(call('book', '{"seat": ', id='1')), named('bad', '1')]
    read = normalise_messages(log, strict=False)
    assert [m['content'] for m in read] == ['x', 'book({"seat": )', 'bad'] and normalise_messages(read) == read


# ---- Anthropic


def test_blocks_of_anthropic():
    use = [dict(type='tool_use', id=id, name='f', input=dict(n=None)) for id in '12']
    thought = dict(type='thinking', thinking='Hm.', signature='s'), dict(type='redacted_thinking', data='…')
    results = [dict(type='tool_result', tool_use_id=id, content=[dict(type='text', text=id)]) for id in '21']
    read = normalise_messages(
        [
            said([dict(type='text', text='hi')]),
            said([*thought, dict(type='text', text='Wait.'), *use], 'assistant'),
            said([*results, dict(type='text', text='Go on.')]),
        ]
    )
    assert [m['role'] for m in read] == ['user', 'assistant', 'tool', 'tool', 'user']
    assert read[1]['reasoning_content'] == 'Hm.' and read[1]['content'] == 'Wait.'
    assert arguments(read) == [dict(n=None)] * 2
    assert [m['content'] for m in read[2:]] == ['1', '2', 'Go on.']


@pytest.mark.parametrize('role, parts', [('assistant', 'call text'), ('assistant', 'text thought'), ('user', 'call')])
def test_blocks_in_an_order_that_messages_cannot_hold_are_refused(role, parts):
    block = dict(
        call=dict(type='tool_use', id='1', name='f', input={}),
        text=dict(type='text', text='x'),
        thought=dict(type='thinking', thinking='x'),
    )
    with pytest.raises(ValueError, match='message 0: a '):
        normalise_messages([said([block[part] for part in parts.split()], role)])


def test_a_data_set_of_blocks_is_unfilled():
    gaps = dict.fromkeys(('text', 'id', 'name', 'input', 'tool_use_id', 'content'))
    blocks = [
        gaps | dict(type='text', text='Wait.'),
        gaps | dict(type='tool_use', id='1', name='f', input=dict(a=1, b=None)),
    ]
    assert arguments(normalise_messages([said(blocks, 'assistant')])) == [dict(a=1)]


# ---- the Responses API and objects of client libraries


def test_items_of_a_turn_become_one_message():
    responses = pytest.importorskip('openai.types.responses')

    def reasoning(text):
        return dict(type='reasoning', id='r', summary=[dict(type='summary_text', text=text)])

    def asks(id):
        row = dict(type='function_call', call_id=id, name='f', arguments='{}')
        return responses.ResponseFunctionToolCall.model_validate(row)

    text = dict(type='message', id='m', role='assistant', status='completed')
    text |= dict(content=[dict(type='output_text', text='Wait.', annotations=[])])
    outputs = [dict(type='function_call_output', call_id=id, output=id) for id in '21']
    items = [
        said('x'),
        responses.ResponseReasoningItem.model_validate(reasoning('Hm.')),
        responses.ResponseOutputMessage.model_validate(text),
        asks('1'),
        asks('2'),
        *outputs,
        dict(type='reasoning', summary=[], encrypted_content='gA'),
        asks('3'),
        outputs[0] | dict(call_id='3', output='3'),
        text | dict(content='Done.'),
    ]
    read = normalise_messages(items)
    assert [m['role'] for m in read] == 'user assistant tool tool assistant tool assistant'.split()
    assert (read[1]['reasoning_content'], read[1]['content'], len(read[1]['tool_calls'])) == ('Hm.', 'Wait.', 2)
    assert [m['content'] for m in read if m['role'] == 'tool'] == ['1', '2', '3']
    assert 'reasoning_content' not in read[4] and read[6] == dict(role='assistant', content='Done.', id='m')


@pytest.mark.parametrize('kind', ['web_search_call', 'computer_call', 'item_reference', 'custom_tool_call'])
def test_items_that_are_no_part_of_a_chat_are_refused(kind):
    with pytest.raises(ValueError, match=f"message 1: an item of type '{kind}'"):
        normalise_messages([said('x'), dict(type=kind, id='1')])


def test_objects_of_openai():
    chat = pytest.importorskip('openai.types.chat')
    fields = turn(call('f', '{"a": null}', id='1'), content=None, reasoning_content='Hm.')
    message = chat.ChatCompletionMessage.model_validate(fields)
    read = normalise_messages([said('x'), message, named('f', '1')])
    assert arguments(read) == [dict(a=None)]
    assert sorted(read[1]) == ['content', 'reasoning_content', 'role', 'tool_calls']


def test_thoughts_keep_their_name():
    for name in ('reasoning_content', 'thinking'):
        assert normalise_messages([said('x', 'assistant') | {name: 'Hm.'}])[0][name] == 'Hm.'
    assert normalise_messages([said('x', 'assistant') | dict(reasoning='Hm.')])[0]['reasoning_content'] == 'Hm.'


def test_sharegpt():
    rows = [{'from': 'system', 'value': 's'}, {'from': 'human', 'value': 'h'}, {'from': 'gpt', 'value': 'g'}]
    assert normalise_messages(rows) == [said('s', 'system'), said('h'), said('g', 'assistant')]


def test_every_text_is_mapped():
    messages = [
        dict(role='user', content='a', name='b'),
        turn(call('c', dict(d=['e', dict(f=('g',))], n=1), id='x'), content='h', reasoning_content='i', thinking='j'),
    ]
    upper = map_texts(messages, str.upper)
    assert upper[0] == dict(role='user', content='A', name='B')
    assert arguments(upper) == [dict(D=['E', dict(F=('G',))], N=1)]
    assert upper[1]['tool_calls'][0]['id'] == 'x' and upper[1]['tool_calls'][0]['function']['name'] == 'C'
    assert [upper[1][key] for key in ('content', 'reasoning_content', 'thinking')] == ['H', 'I', 'J']


def test_no_torch_and_no_numpy():
    script = "import rlops_lab.core.messages, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', script]).returncode == 0
