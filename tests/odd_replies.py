"Replies and failures of every kind that a judge's server may send, byte by byte, and what each must come to"

import asyncio
import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from email.utils import formatdate
from time import time
from typing import NamedTuple

VERDICT = json.dumps(dict(reason='It does.', choice='yes'))
CUT_SHORT = b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"choices": [{"mess'


class Kind(NamedTuple):
    replies: tuple  # of each call in turn, the last one repeated
    reason: str = ''  # that the verdict gives, as a pattern; '' where there is a score
    calls: int = 1  # that are made


def http(body=b'', status=200, kind='application/json', **headers):
    "A whole response"
    if isinstance(body, str):
        body = body.encode()
    named = {'Content-Type': kind, 'Content-Length': str(len(body))}
    named |= {name.replace('_', '-'): value for name, value in headers.items()}
    lines = [f'HTTP/1.1 {status} Status', *(f'{name}: {value}' for name, value in named.items())]
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + body


def completion(message, finish='stop', logprobs=None, **fields):
    "The body of a chat completion"
    choice = dict(index=0, message=message, finish_reason=finish, logprobs=logprobs)
    usage = dict(prompt_tokens=100, completion_tokens=10)
    return json.dumps(dict(id='x', model='m', choices=[choice], usage=usage) | fields)


def said(content=VERDICT, finish='stop', **more):
    "A response whose message has this content"
    return http(completion(dict(role='assistant', content=content, **more), finish))


def whole(**fields):
    "A response with a good message, and other fields as given"
    return http(completion(dict(role='assistant', content=VERDICT), **fields))


def thought(text='Hm.'):
    return dict(type='thinking', thinking=[dict(type='text', text=text)])


def error(status, message='no', **headers):
    return http(json.dumps(dict(error=dict(message=message))), status, **headers)


def chunked(body):
    "A response in two chunks"
    half = len(body) // 2
    parts = [body[:half], body[half:], b'']
    chunks = b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts)
    return b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks


def nested(depth):
    return '[' * depth + ']' * depth


TEXT = dict(type='text', text=VERDICT)
CALL = [dict(id='1', type='function', function=dict(name='search', arguments='{}'))]
GOOD = said()
BODY = completion(dict(role='assistant', content=VERDICT)).encode()
TWO = VERDICT + json.dumps(dict(reason='Or not.', choice='no'))

SCORED = dict(
    plain=Kind((GOOD,)),
    parts=Kind((said([dict(type='text', text=VERDICT[:9]), dict(type='text', text=VERDICT[9:])]),)),
    thoughts_in_parts=Kind((said([thought(), TEXT]),)),
    reasoning_beside=Kind((said(reasoning_content='Let me see.'),)),
    thought_inline=Kind((said(f'<think>yes or no</think>{VERDICT}'),)),
    in_a_fence=Kind((said(f'```json\n{VERDICT}\n```'),)),
    other_case=Kind((said('{"reason": "So.", "choice": " YES "}'),)),
    reason_null=Kind((said('{"reason": null, "choice": "yes"}'),)),
    no_usage=Kind((whole(usage=None),)),
    odd_usage=Kind((whole(usage=dict(prompt_tokens='12', completion_tokens=-1, prompt_tokens_details=7)),)),
    usage_a_list=Kind((whole(usage=[1, 2]),)),
    infinite_usage=Kind((http(BODY.replace(b'100', b'1e999')),)),
    no_model=Kind((whole(model=None, system_fingerprint=3),)),
    finish_null=Kind((said(finish=None),)),
    no_tool_calls=Kind((said(tool_calls=[], function_call=None, refusal=None, audio=None),)),
    surrogate=Kind((said('{"reason": "\\ud83d", "choice": "yes"}'),)),
    lone_surrogate_around=Kind((http(BODY.replace(b'"id": "x"', b'"id": "\\ud800"')),)),
    byte_order_mark=Kind((http(b'\xef\xbb\xbf' + BODY),)),
    utf_16=Kind((http(BODY.decode().encode('utf-16')),)),
    wrong_type_named=Kind((http(BODY, kind='text/html'),)),
    in_chunks=Kind((chunked(BODY),)),
    until_closed=Kind((b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n' + BODY,)),
    compressed=Kind((http(gzip.compress(BODY), Content_Encoding='gzip'),)),
    quotes_braces=Kind((said(json.dumps(dict(reason='{"a": ' * 900, choice='yes'))),)),
    much_usage=Kind((whole(prompt_filter_results=['x' * 300_000]),)),
    slow=Kind((('wait', 0.3, GOOD),)),
    status_500_once=Kind((error(500), GOOD), calls=2),
    status_503_once=Kind((error(503), GOOD), calls=2),
    status_408_once=Kind((error(408), GOOD), calls=2),
    reset_once=Kind((('reset', b''), GOOD), calls=2),
    reset_midway_once=Kind((('reset', CUT_SHORT), GOOD), calls=2),
    hang_once=Kind((('wait', 60, b''), GOOD), calls=2),
    prose_once=Kind((said('What a nice day.'), GOOD), calls=2),
    page_once=Kind((http('<html>', kind='text/html'), GOOD), calls=2),
    told_seconds=Kind((error(429, Retry_After='0.1'), GOOD), calls=2),
    told_often=Kind((*[error(429, Retry_After='0')] * 5, GOOD), calls=6),
    told_milliseconds=Kind((error(429, retry_after_ms='50'), GOOD), calls=2),
    told_a_date=Kind((error(429, Retry_After=formatdate(time() + 1, usegmt=True)), GOOD), calls=2),
    told_a_past_date=Kind((error(429, Retry_After='Wed, 21 Oct 1998 07:28:00 GMT'), GOOD), calls=2),
    told_by_503=Kind((*[error(503, Retry_After='0.05')] * 4, GOOD), calls=5),
    told_nothing=Kind((*[error(429, 'slow down')] * 5, GOOD), calls=6),
    told_nonsense=Kind((error(429, Retry_After='soon'), GOOD), calls=2),
)

UNSCORED = dict(
    content_dict=Kind((said(dict(choice='yes')),), r"content is no text .*\{'choice': 'yes'\}"),
    content_number=Kind((said(7),), 'content is no text .*: 7'),
    content_true=Kind((said(True),), 'content is no text .*: True'),
    content_numbers=Kind((said([1, 2]),), r'content is no text .*\[1, 2\]'),
    content_picture=Kind((said([dict(type='image_url')]),), 'content is no text .*image_url'),
    content_of_odd_type=Kind((said([dict(type=['text'], text='yes')]),), 'content is no text'),
    content_null=Kind((said(None),), 'an empty reply', 3),
    content_empty=Kind((said(''),), 'an empty reply', 3),
    content_blank=Kind((said(' \n '),), 'an empty reply', 3),
    refusal=Kind((said(None, refusal="I can't judge."),), 'the model refused: .*judge'),
    refusal_part=Kind((said([dict(type='refusal', refusal='I will not.')]),), 'refus'),
    filtered=Kind((said('Well', 'content_filter'),), "content filter: 'Well'"),
    filtered_null=Kind((said(None, 'content_filter'),), 'content filter'),
    tool_call=Kind((said(None, 'tool_calls', tool_calls=CALL),), 'calls a tool .*search'),
    function_call=Kind((said(None, function_call=dict(name='find')),), 'calls a tool .*find'),
    reasoning_alone=Kind((said(None, reasoning_content='Let me'),), 'thoughts and no answer .*Let me'),
    reasoning_of_routers=Kind((said('', reasoning='First'),), 'thoughts and no answer .*First'),
    thoughts_alone=Kind((said([thought('We must')]),), 'thoughts and no answer.*We must'),
    thought_without_end=Kind((said(f'<think>{VERDICT}'),), 'its thought has no end', 3),
    cut=Kind((said('{"reason": "It', 'length'),), 'cut after 512 tokens; raise max_tokens'),
    cut_in_thoughts=Kind((said(None, 'length', reasoning_content='So'),), 'cut after 512 .*thoughts'),
    prose=Kind((said('What a nice day.'),), "no JSON object .*'What a nice day.'", 3),
    off_menu=Kind((said('{"reason": "", "choice": "maybe"}'),), "'maybe' is not on the menu", 3),
    choice_null=Kind((said('{"reason": "", "choice": null}'),), 'its choice is no text: None', 3),
    choice_list=Kind((said('{"reason": "", "choice": ["yes"]}'),), r"its choice is no text: \['yes'\]", 3),
    two_verdicts=Kind((said(TWO),), '2 different choices', 3),
    key_twice=Kind((said('{"reason": "", "choice": "yes", "choice": "no"}'),), 'no JSON object', 3),
    braces=Kind((said('{' * 200_000),), 'no JSON object', 3),
    braces_with_keys=Kind((said('{"a": ' * 33_000),), 'more than 200 beginnings', 3),
    brackets=Kind((said('{"a": [' * 30_000),), 'more than 200 beginnings', 3),
    choices_missing=Kind((http('{"hello": 1}'),), 'no list of choices.*hello', 3),
    choices_null=Kind((http('{"choices": null}'),), 'no list of choices', 3),
    choices_dict=Kind((http('{"choices": {"0": 1}}'),), 'no list of choices', 3),
    choices_empty=Kind((http('{"choices": [], "id": "q"}'),), 'without a choice', 3),
    choice_is_null=Kind((http('{"choices": [null]}'),), 'its choice is no object: None', 3),
    message_missing=Kind((http('{"choices": [{"text": "yes"}]}'),), 'no message.*yes', 3),
    message_null=Kind((http('{"choices": [{"message": null}]}'),), 'no message', 3),
    error_inside=Kind((http('{"error": {"message": "quota", "code": "x"}}'),), 'an error .*quota', 3),
    error_text_inside=Kind((http('{"error": "overloaded"}'),), 'an error .*overloaded', 3),
    error_in_choice=Kind((http('{"choices": [{"error": {"code": 502, "message": "gone"}}]}'),), '502.*gone', 3),
    error_400_inside=Kind((http('{"object": "error", "message": "too long", "code": 400}'),), '400.*too long'),
    page=Kind((http('<!DOCTYPE html><p>Sign in', kind='text/html'),), 'page of HTML .*Sign in', 3),
    empty_body=Kind((http(''),), 'an empty body', 3),
    no_content=Kind((b'HTTP/1.1 204 No Content\r\n\r\n',), 'an empty body', 3),
    plain_text=Kind((http('busy, sorry', kind='text/plain'),), r"no JSON \(text/plain\).*busy, sorry", 3),
    json_null=Kind((http('null'),), 'no chat completion: None', 3),
    json_number=Kind((http('3'),), 'no chat completion: 3', 3),
    json_list=Kind((http('[1, 2]'),), r'no chat completion: \[1, 2\]', 3),
    json_text=Kind((http('"yes"'),), "no chat completion: 'yes'", 3),
    json_cut=Kind((http(BODY[:40]),), 'broken or cut', 3),
    json_braces=Kind((http('{' * 200_000),), 'broken or cut', 3),
    json_nested=Kind((http(nested(100_000)),), 'nested too deeply', 3),
    json_key_twice=Kind((http(BODY.replace(b'"id"', b'"model"')),), 'model is written twice', 3),
    latin_1=Kind((http('{"choices": "né"}'.encode('latin-1')),), 'not UTF-8', 3),
    noise=Kind((http(bytes(range(128, 256)) * 9, kind='image/png'),), 'not UTF-8', 3),
    stream=Kind((http('data: {"choices": []}\n\n', kind='text/event-stream'),), 'a stream of events', 3),
    too_large=Kind((http(b'{"a": "' + b'x' * 2_000_000 + b'"}'),), 'more than 2 MB', 3),
    not_compressed=Kind((http(BODY, Content_Encoding='gzip'),), 'decompress|Decoding', 3),
    reset=Kind((('reset', b''),), 'Connection|disconnected|Protocol|Read', 3),
    reset_midway=Kind((('reset', CUT_SHORT),), 'Read|Protocol|peer', 3),
    body_missing=Kind((('close', CUT_SHORT),), 'incomplete|without sending', 3),
    no_http=Kind((('close', b'SSH-2.0-OpenSSH\r\n'),), 'Protocol', 3),
    no_body_at_all=Kind((('close', b''),), 'disconnected|Protocol', 3),
    drip=Kind((('drip', BODY),), 'no answer within', 3),
    hang=Kind((('wait', 60, b''),), 'no answer within', 3),
    redirected=Kind((http(status=307, Location='/v1/chat/completions'),), 'redirect', 12),
    moved_nowhere=Kind((http(status=304),), '304'),
    status_400=Kind((error(400, 'context is too long'),), '400.*context is too long'),
    status_401=Kind((error(401),), '401'),
    status_402=Kind((error(402),), '402'),
    status_403=Kind((error(403, 'flagged'),), '403.*flagged'),
    status_404=Kind((error(404),), '404'),
    status_413=Kind((error(413),), '413'),
    status_418=Kind((error(418),), '418'),
    status_422=Kind((error(422),), '422'),
    status_500=Kind((error(500, 'oops'),), '500.*oops', 3),
    status_502=Kind((http('<html>Bad gateway', 502, 'text/html'),), '502', 3),
    status_503=Kind((error(503),), '503', 3),
    status_529=Kind((error(529, 'overloaded'),), '529.*overloaded', 3),
    not_to_be_repeated=Kind((error(500, x_should_retry='false'),), '500'),
    no_credit=Kind((http('{"error": {"code": "insufficient_quota", "message": "pay"}}', 429),), '429.*pay'),
    told_tomorrow=Kind((error(429, 'daily limit', Retry_After='86400'),), 'longer than max_wait.*daily limit'),
    error_nested=Kind((http(nested(100_000), 500),), '500', 3),
    error_page=Kind((http('{' * 200_000, 500),), '500', 3),
)


def odds(logprobs):
    "A response with the given `logprobs`"
    return http(completion(dict(role='assistant', content='B'), 'length', logprobs))


def tokens(*pairs):
    "A response with these likeliest first tokens"
    entries = [dict(token=token, logprob=logprob) for token, logprob in pairs]
    return odds(dict(content=[dict(token='B', logprob=-0.1, top_logprobs=entries)]))


LETTERS = dict(
    letters=Kind((tokens(('B', -0.01), ('A', -9.0)),)),
    never=Kind((tokens(('B', 0), ('A', -9999.0)),)),
    minus_infinity=Kind((tokens(('B', -0.01), ('A', -float('inf'))),)),
    odds_null=Kind((tokens(('B', -0.7), ('A', None)),), "log-probability of 'A' is None", 3),
    odds_nan=Kind((tokens(('B', float('nan')),),), "log-probability of 'B' is nan", 3),
    odds_infinite=Kind((tokens(('B', float('inf')),),), "log-probability of 'B' is inf", 3),
    odds_positive=Kind((tokens(('B', 3.2)),), "log-probability of 'B' is 3.2", 3),
    odds_text=Kind((tokens(('B', '-0.1')),), "log-probability of 'B' is '-0.1'", 3),
    odds_true=Kind((tokens(('B', False)),), "log-probability of 'B' is False", 3),
    odds_all_zero=Kind((tokens(('B', 0), ('A', 0)),), 'add up to 2.00', 3),
    token_null=Kind((tokens((None, -0.1)),), 'log-probability of None', 3),
    off_menu_token=Kind((tokens(('The', -0.1)),), '0% of the probability is on the menu', 3),
    odds_missing=Kind((odds(None),), 'does not give them', 3),
    odds_empty=Kind((odds(dict(content=[])),), 'does not give them', 3),
    odds_list=Kind((odds([1]),), 'does not give them', 3),
    odds_content_null=Kind((odds(dict(content=None)),), 'does not give them', 3),
    odds_position_null=Kind((odds(dict(content=[None])),), 'does not give them', 3),
    odds_top_null=Kind((odds(dict(content=[dict(top_logprobs=None)])),), 'does not give them', 3),
    odds_of_numbers=Kind((odds(dict(content=[dict(top_logprobs=[1, 2])])),), 'log-probability of None', 3),
    letter_refused=Kind((said(None, refusal='No.'),), 'the model refused'),
    letter_filtered=Kind((said('', 'content_filter'),), 'content filter'),
)


class Oddities:
    "A server that answers each item by the kind that its text names"

    def __init__(self, kinds: dict[str, Kind]):
        self.kinds = kinds
        self.calls = Counter()  # by item
        self.loop = asyncio.new_event_loop()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        try:
            while True:
                head = await reader.readuntil(b'\r\n\r\n')
                length = int(re.search(rb'content-length: (\d+)', head, re.I)[1])
                body = json.loads(await reader.readexactly(length))
                if await self.reply(body['messages'][-1]['content'], writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def reply(self, text: str, writer: asyncio.StreamWriter) -> bool:
        "Send the reply; is the connection over?"
        item, name = re.search(r'kind (\w+) number \d+\.', text).group(0, 1)
        replies = self.kinds[name].replies
        if replies[0] == 'wait':
            replies = (replies,)
        what = replies[min(self.calls[item], len(replies) - 1)]
        self.calls[item] += 1
        if isinstance(what, bytes):
            writer.write(what)
            await writer.drain()
            return b'Connection: close' in what
        return await getattr(self, f'reply_by_{what[0]}')(writer, *what[1:])

    async def reply_by_wait(self, writer, seconds, data):
        await asyncio.sleep(seconds)
        writer.write(data)
        return not data

    async def reply_by_reset(self, writer, data):
        writer.write(data)
        await asyncio.sleep(0.01)
        writer.transport.abort()
        return True

    async def reply_by_close(self, writer, data):
        writer.write(data)
        return True

    async def reply_by_drip(self, writer, data):
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(data))
        for byte in data:
            if writer.is_closing():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
        return True


@contextmanager
def running(serve: Callable, loop: asyncio.AbstractEventLoop):
    "The address of a server that runs in a thread of its own"

    async def start():
        return await asyncio.start_server(serve, '127.0.0.1', 0, backlog=256)

    async def stop():
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1'
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def items_of(kinds: dict[str, Kind], each: int = 1) -> list[dict]:
    "Items whose texts name their kind"
    return [
        dict(prompt='?', completion=f'kind {name} number {number}.') for number in range(each) for name in kinds
    ]


def fault(item: dict, verdict: object, kinds: dict[str, Kind], calls: Counter) -> str:
    "What is wrong with a verdict; '' where it is as it should be"
    text = item['completion']
    kind = kinds[text.split()[1]]
    if calls[text] != kind.calls:
        return f'{text} {calls[text]} calls instead of {kind.calls}: {verdict.unscored}'
    if not kind.reason:
        return '' if verdict.score is not None and verdict.score > 0.9 else f'{text} {verdict.unscored}'
    if verdict.score is not None:
        return f'{text} has a score: {verdict.score}'
    return '' if re.search(kind.reason, verdict.unscored) else f'{text} gives another reason: {verdict.unscored}'
