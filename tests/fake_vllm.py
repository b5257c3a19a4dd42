"A server of vLLM's kind in this process, which tests of the server's sampler and of families talk to"

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.sampling import SamplingParams


class FakeVLLM:
    "The endpoints that the sampler uses, answered by `HFSampler`; `faults` change the answers"

    def __init__(self, model, tokenizer, context=512):
        self.sampler, self.tokenizer, self.lock = HFSampler(model, tokenizer), tokenizer, threading.Lock()
        self.faults, self.requests, self.loaded, self.context = set(), [], [], context
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def send(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header('content-type', 'application/json')
                self.send_header('content-length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.send(200, dict(object='list', data=fake.models()))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers['content-length'])))
                self.send(*fake.answer(self.path, body))

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/v1'

    def models(self):
        "The base, and adapters, which have it as their parent"
        common = dict(object='model', created=0, owned_by='us', max_model_len=self.context)
        base = dict(common, id='policy', parent=None)
        return [base, *(dict(common, id=name, parent='policy') for name in self.loaded)]

    def answer(self, path, body):
        if path.endswith('/load_lora_adapter'):
            if 'no lora' in self.faults:
                return 404, dict(error=dict(message='Not Found'))
            self.loaded.append(body['lora_name'])
            return 200, 'Success'
        if path.endswith('/unload_lora_adapter'):
            self.loaded.remove(body['lora_name'])
            return 200, 'Success'
        with self.lock:
            self.requests.append(body)
            if 'busy once' in self.faults:
                self.faults.discard('busy once')
                return 503, dict(error=dict(message='busy'))
            return 200, self.completion(body)

    def completion(self, body):
        names = 'max_tokens', 'temperature', 'top_p', 'top_k', 'seed'
        params = SamplingParams(**{name: body[name] for name in names}, stop_token_ids=tuple(body['stop_token_ids']))
        reply = self.sampler.sample([body['prompt']], params)[0]
        n = len(reply.token_ids)
        usage = dict(prompt_tokens=len(body['prompt']), completion_tokens=n, total_tokens=0)
        choice = self.choice(body, reply)
        return dict(
            id='x', object='text_completion', created=0, model=body['model'], choices=[choice], usage=usage
        )

    def choice(self, body, reply):
        n = len(reply.token_ids)
        likeliest = -2.0 if 'raw' in self.faults else -2.0 * body['temperature']
        logprobs = dict(
            token_logprobs=[None] * n if 'no numbers' in self.faults else reply.logprobs,
            tokens=[],
            text_offset=[],
            top_logprobs=[{'x': likeliest}] * n,
        )
        choice = dict(index=0, text='', finish_reason=reply.finish_reason, logprobs=logprobs)
        choice['prompt_token_ids'] = [1, *body['prompt']] if 'begin token' in self.faults else body['prompt']
        if 'text only' not in self.faults:
            choice['token_ids'] = reply.token_ids
        return choice
