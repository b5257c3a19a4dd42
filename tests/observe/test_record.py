"Every call of a recorded client is a trace, however it was made and however it ended"

import asyncio
import gzip
import json

import httpx
import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI

from rlops_lab.observe.group_commit import StoreError
from rlops_lab.observe.record import record, tags
from rlops_lab.observe.traces import TraceStore

ASK = [dict(role='user', content='Hello')]


def event(**fields):
    return b'data: ' + json.dumps(fields).encode() + b'\n\n'


def delta(index=0, finish=None, **more):
    pieces = [dict(index=index, delta=more, finish_reason=finish)]
    return event(id='1', object='chat.completion.chunk', created=0, model='m', choices=pieces)


def choice(text, index=0, **more):
    return dict(index=index, message=dict(role='assistant', content=text), finish_reason='stop', **more)


def body(*choices, **more):
    usage = dict(prompt_tokens=4, completion_tokens=3, total_tokens=7, prompt_tokens_details=dict(cached_tokens=2))
    return dict(id='1', object='chat.completion', created=0, model='m', choices=choices, usage=usage, **more)


class FakeServer:
    "Answers each request with the next of `replies`; counts them"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def __call__(self, request):
        self.asked.append(json.loads(request.content))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        if isinstance(reply, dict):
            return httpx.Response(200, json=reply)
        return httpx.Response(200, content=reply, headers={'content-type': 'text/event-stream'})


def recorded(store, *replies, retries=0, **options):
    server = FakeServer(*replies)
    http = httpx.Client(transport=httpx.MockTransport(server))
    client = OpenAI(api_key='none', base_url='http://localhost/v1', http_client=http, max_retries=retries)
    return record(client, store, **options), server


def recorded_async(store, *replies, retries=0):
    http = httpx.AsyncClient(transport=httpx.MockTransport(FakeServer(*replies)))
    client = AsyncOpenAI(api_key='none', base_url='http://localhost/v1', http_client=http, max_retries=retries)
    return record(client, store)


def test_all_ways_of_asking_are_recorded(store):
    streamed = delta(content='Hi') + delta(finish='stop') + b'data: [DONE]\n\n'
    client, _ = recorded(store, body(choice('Hi')), body(choice('Hi')), body(choice('{"a": 1}')), streamed)
    create = dict(model='m', messages=ASK)
    client.chat.completions.create(**create)
    client.chat.completions.with_raw_response.create(**create)
    client.chat.completions.parse(**create)
    with client.chat.completions.stream(**create) as stream:
        assert ''.join(e.delta for e in stream if e.type == 'content.delta') == 'Hi'
    assert store.count(status='ok') == 4


def test_what_the_server_tells_is_kept(store):
    tokens = [dict(token=text, logprob=number, top_logprobs=[]) for text, number in (("a", -0.5), ("b", 0.0))]
    logprobs = dict(content=tokens)
    reply = body(choice('Hi', token_ids=[7, 8], logprobs=logprobs), prompt_token_ids=[1, 2, 3])
    client, _ = recorded(store, reply, reply, logprobs_mode='processed')
    tool = dict(type='function', function=dict(name='f', parameters={}))
    with tags(episode='e', turn=1, arm='b', propensity=0.25, labels=dict(a=1)) as made:
        client.chat.completions.create(model='m', messages=ASK, tools=[tool], temperature=0.5, seed=3)
    trace = store.get(made[0])
    assert (trace.prompt_ids, trace.token_ids, trace.logprobs) == ([1, 2, 3], [7, 8], [-0.5, 0.0])
    assert (trace.usage.prompt_tokens, trace.usage.cached_tokens, trace.usage.completion_tokens) == (4, 2, 3)
    assert trace.tools == [tool] and trace.sampling == dict(temperature=0.5, seed=3)
    assert (trace.turn, trace.arm, trace.propensity, trace.labels) == (1, 'b', 0.25, dict(a=1))


def test_several_choices_are_several_traces_and_one_bill(store):
    client, _ = recorded(store, body(choice('a'), choice('b', 1), choice('c', 2)))
    with tags() as made:
        client.chat.completions.create(model='m', messages=ASK, n=3)
    first, *others = (store.get(id) for id in made)
    assert [trace.reply['content'] for trace in (first, *others)] == ['a', 'b', 'c']
    assert {trace.parent for trace in others} == {first.id} and {trace.episode for trace in others} == {first.id}
    assert sum(trace.usage.calls for trace in (first, *others)) == 1


@pytest.mark.parametrize('size', [1, 5, 10_000])
def test_streamed_calls_of_tools_are_put_together(store, size):
    call = lambda index, **function: [dict(index=index, function=function)]
    text = (
        delta(role='assistant', reasoning_content='hm')
        + delta(tool_calls=[dict(index=0, id='c1', type='function', function=dict(name='f', arguments=''))])
        + delta(tool_calls=call(0, arguments='{"a"'))
        + delta(tool_calls=[dict(index=1, id='c2', type='function', function=dict(name='g', arguments='{}'))])
        + delta(tool_calls=call(0, arguments=': 1}'), finish='tool_calls')
        + event(choices=[], usage=dict(prompt_tokens=4, completion_tokens=9))
        + b'data: [DONE]\n\n'
    )
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    reply = httpx.Response(200, content=pieces, headers={'content-type': 'text/event-stream'})
    client, _ = recorded(store, reply)
    with tags() as made:
        list(client.chat.completions.create(model='m', messages=ASK, stream=True))
    trace = store.get(made[0])
    written = [(c['id'], c['function']['name'], c['function']['arguments']) for c in trace.reply['tool_calls']]
    assert written == [('c1', 'f', '{"a": 1}'), ('c2', 'g', '{}')]
    assert trace.reply['reasoning_content'] == 'hm' and trace.usage.completion_tokens == 9
    assert (trace.finish, trace.status) == ('tool_calls', 'ok')


def test_the_end_of_a_stream_comes_after_the_commit(store):
    streamed = delta(content='a'), delta(content='b', finish='stop'), b'data: [DONE]\n\n'
    reply = httpx.Response(200, content=iter(streamed), headers={'content-type': 'text/event-stream'})
    client, _ = recorded(store, reply)
    seen = []
    with client.chat.completions.with_streaming_response.create(model='m', messages=ASK, stream=True) as response:
        for chunk in response.iter_bytes():
            seen.append((chunk, store.count()))
    assert [count for chunk, count in seen if b'[DONE]' not in chunk] == [0, 0]
    assert [count for chunk, count in seen if b'[DONE]' in chunk] == [1]


def test_who_leaves_early_leaves_a_trace(store):
    streamed = (delta(content=str(n)) for n in range(10))
    reply = httpx.Response(200, content=streamed, headers={'content-type': 'text/event-stream'})
    client, _ = recorded(store, reply)
    with tags() as made:
        stream = client.chat.completions.create(model='m', messages=ASK, stream=True)
        next(iter(stream))
        stream.close()
    trace = store.get(made[0])
    assert trace.status == 'cut' and trace.reply['content'].startswith('0')


def test_a_server_that_breaks_off_leaves_a_trace(store):
    def broken():
        yield delta(content='a')
        raise httpx.ReadError('gone')

    silent = httpx.Response(200, content=iter([delta(content='a')]), headers={'content-type': 'text/event-stream'})
    breaking = httpx.Response(200, content=broken(), headers={'content-type': 'text/event-stream'})
    client, _ = recorded(store, breaking, silent)
    with tags() as made:
        with pytest.raises((httpx.ReadError, APIConnectionError)):
            list(client.chat.completions.create(model='m', messages=ASK, stream=True))
        list(client.chat.completions.create(model='m', messages=ASK, stream=True))
    first, second = (store.get(id) for id in made)
    assert first.status == second.status == 'error'
    assert 'gone' in first.error and 'broke off' in second.error and first.reply['content'] == 'a'


@pytest.mark.parametrize(
    'reply, said',
    [
        (httpx.ConnectError('no route'), 'no route'),
        (httpx.ReadTimeout('slow'), 'ReadTimeout'),
        (httpx.Response(500, text='<html>oops</html>'), 'HTTP 500: <html>oops'),
        (httpx.Response(400, json=dict(error='bad')), 'HTTP 400'),
        (httpx.Response(200, text='<html>'), 'no JSON: <html>'),
    ],
)
def test_failures_are_traces(store, reply, said):
    client, _ = recorded(store, reply)
    with tags() as made, pytest.raises(Exception):  # noqa: B017  of five kinds, the client's own
        found = client.chat.completions.create(model='m', messages=ASK)
        if isinstance(found, str):
            raise ValueError(found)
    trace = store.get(made[0])
    assert trace.status == 'error' and said in trace.error and trace.reply is None


def test_each_retry_is_a_trace(store):
    client, _ = recorded(store, httpx.Response(500), httpx.ConnectError('x'), body(choice('Hi')), retries=3)
    client.chat.completions.create(model='m', messages=ASK)
    assert [store.count(status=status) for status in ('error', 'ok')] == [2, 1]


def test_a_store_that_cannot_write_is_told_and_not_paid_twice(tmp_path):
    store = TraceStore(tmp_path / 'traces.db')
    client, server = recorded(store, *[body(choice('Hi'))] * 4, retries=3)
    store.writer.close()
    with pytest.raises(Exception) as caught:  # noqa: B017
        client.chat.completions.create(model='m', messages=ASK)
    assert len(server.asked) == 1
    chain, found = caught.value, []
    while chain is not None:
        found.append(type(chain))
        chain = chain.__cause__
    assert StoreError in found


def test_compressed_replies_are_read(store):
    content = gzip.compress(json.dumps(body(choice('Hi'))).encode())
    headers = {'content-encoding': 'gzip', 'content-type': 'application/json'}
    client, _ = recorded(store, httpx.Response(200, content=content, headers=headers))
    reply = client.chat.completions.create(model='m', messages=ASK)
    assert reply.choices[0].message.content == 'Hi' and store.count(status='ok') == 1


def test_other_requests_pass(store):
    found = dict(object="embedding", index=0, embedding=[0.5])
    client, _ = recorded(store, dict(object="list", data=[found], model="m"))
    assert client.embeddings.create(model='m', input='x', encoding_format='float').data[0].embedding == [0.5]
    assert store.count() == 0


def test_async_calls_side_by_side_keep_their_tags(store):
    replies = [body(choice(str(n))) for n in range(20)]
    client = recorded_async(store, *replies)

    async def one(n):
        with tags(episode=str(n)):
            await client.chat.completions.create(model='m', messages=[dict(role='user', content=str(n))])

    async def every():
        await asyncio.gather(*map(one, range(20)))

    asyncio.run(every())
    found = [store.episode(str(n)) for n in range(20)]
    assert [trace.messages[0]['content'] for (trace,) in found] == [str(n) for n in range(20)]


def test_async_streams_end_in_traces(store):
    async def pieces():
        for n in range(5):
            yield delta(content=str(n), finish='stop' if n == 4 else None)
            await asyncio.sleep(0.01)
        yield b'data: [DONE]\n\n'

    headers = {'content-type': 'text/event-stream'}
    client = recorded_async(store, *(httpx.Response(200, content=pieces(), headers=headers) for _ in range(3)))

    async def read(most):
        stream = await client.chat.completions.create(model='m', messages=ASK, stream=True)
        text = ''
        async for chunk in stream:
            text += chunk.choices[0].delta.content
            if len(text) == most:
                break
        await stream.close()
        return text

    async def cancelled():
        task = asyncio.create_task(read(99))
        await asyncio.sleep(0.025)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def every():
        assert await read(99) == '01234'
        assert await read(2) == '01'
        await cancelled()
        await asyncio.sleep(0.2)

    asyncio.run(every())
    assert store.frame(['status']).status.tolist() == ['ok', 'cut', 'cut']


def test_a_wrong_mode_is_refused_before_anything_is_asked(store):
    with pytest.raises(ValueError, match='processed'):
        recorded(store, logprobs_mode='temperature')


def test_the_client_itself_is_left_alone(store):
    server = FakeServer(body(choice('Hi')))
    http = httpx.Client(transport=httpx.MockTransport(server))
    client = OpenAI(api_key='none', base_url='http://localhost/v1', http_client=http)
    record(client, store)
    client.chat.completions.create(model='m', messages=ASK)
    assert store.count() == 0
