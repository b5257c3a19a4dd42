"A server that speaks as judges do, and stand-ins for the model behind one; shared by the tests of judges"

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rlops_lab.judges.endpoints import JudgeReply
from rlops_lab.judges.rubrics import Criterion, Rubric

RUBRIC = Rubric(
    'helpful', 'You check one answer.', 1.0, (Criterion('helps', 'Does it help?', ('no', 'yes')),)
)


class FakeJudge(BaseHTTPRequestHandler):
    "OpenAI's chat protocol; `answer(body) -> what happens` is the model"

    protocol_version = 'HTTP/1.1'
    asked, delay, answer = [], 0.0, None

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        self.asked.append(body)
        time.sleep(self.delay)
        what = type(self).answer(body)
        if what == 'hang':
            time.sleep(5)
            return
        status, headers = what if isinstance(what, tuple) else (200, {})
        top = (
            [dict(token=t, logprob=lp, bytes=None) for t, lp in what.items()]
            if isinstance(what, dict)
            else []
        )
        said = what if isinstance(what, str) else 'A'
        logprobs = dict(content=[dict(token='A', logprob=0.0, bytes=None, top_logprobs=top)]) if top else None
        choice = dict(
            index=0, message=dict(role='assistant', content=said), finish_reason='stop', logprobs=logprobs
        )
        usage = dict(
            prompt_tokens=100,
            completion_tokens=10,
            total_tokens=110,
            prompt_tokens_details=dict(cached_tokens=40),
        )
        data = json.dumps(
            dict(
                id='x',
                object='chat.completion',
                created=0,
                model=f'{body["model"]}-0611',
                system_fingerprint='fp1',
                choices=[choice],
                usage=usage,
            )
        )
        if status != 200 or what is None:
            data = json.dumps(dict(error=dict(message='quota')))
        try:
            self.send_response(status)
            for k, v in {
                'Content-Type': 'application/json',
                'Content-Length': str(len(data)),
                **headers,
            }.items():
                self.send_header(k, v)
            self.end_headers()
            self.wfile.write(data.encode())
        except (BrokenPipeError, ConnectionResetError):
            pass


def verdict(choice='yes', reason='It does.'):
    return json.dumps(dict(reason=reason, choice=choice))


def items(n):
    return [dict(prompt='?', completion=f'text {i}.') for i in range(n)]


@contextmanager
def serving():
    "The handler class of a server that runs; its `url`, `asked`, `delay` and `answer` can be read and set"
    handler = type('Handler', (FakeJudge,), dict(asked=[], answer=staticmethod(lambda body: verdict())))

    class Server(ThreadingHTTPServer):
        request_queue_size, daemon_threads = 128, True

    http = Server(('127.0.0.1', 0), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    handler.url = f'http://127.0.0.1:{http.server_port}/v1'
    try:
        yield handler
    finally:
        http.shutdown()
        http.server_close()


async def honest(messages, **how):
    honest.asked += 1
    await asyncio.sleep(0.01)
    return JudgeReply(verdict())


honest.asked = 0
