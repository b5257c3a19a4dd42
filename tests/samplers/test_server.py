"The server's sampler against a server in this process: the same tokens as our own sampler, what a server may get wrong, and training through it"

import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip('openai')
from peft import LoraConfig

from rlops_lab.core import rng
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.sampling import SamplingParams
from rlops_lab.samplers.server import ServerSampler
from rlops_lab.samplers.vllm_server import VLLMServer


class FakeVLLM:
    "The endpoints that the sampler uses, answered by `HFSampler`; `faults` change what it says"

    def __init__(self, model, tokenizer):
        self.sampler, self.tokenizer, self.lock = HFSampler(model, tokenizer), tokenizer, threading.Lock()
        self.faults, self.asked, self.loaded, self.context = set(), [], [], 512
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
                self.send(
                    200,
                    dict(
                        object='list',
                        data=[
                            dict(
                                id=name,
                                object='model',
                                created=0,
                                owned_by='us',
                                max_model_len=fake.context,
                                parent='policy' if name in fake.loaded else None,
                            )
                            for name in ('policy', *fake.loaded)
                        ],
                    ),
                )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers['content-length'])))
                self.send(*fake.answer(self.path, body))

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/v1'

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
            self.asked.append(body)
            if 'busy once' in self.faults:
                self.faults.discard('busy once')
                return 503, dict(error=dict(message='busy'))
            params = SamplingParams(
                body['max_tokens'], body['temperature'], body['top_p'], body['top_k'], seed=body['seed']
            )
            reply = self.sampler.sample([body['prompt']], params)[0]
        likeliest = -2.0 if 'raw' in self.faults else -2.0 * body['temperature']
        choice = dict(
            index=0,
            text='',
            finish_reason=reply.finish_reason,
            token_ids=reply.token_ids,
            prompt_token_ids=body['prompt'],
            logprobs=dict(
                token_logprobs=reply.logprobs,
                tokens=[],
                text_offset=[],
                top_logprobs=[{'x': likeliest}] * len(reply.token_ids),
            ),
        )
        if 'text only' in self.faults:
            del choice['token_ids']
        if 'begin token' in self.faults:
            choice['prompt_token_ids'] = [1, *body['prompt']]
        if 'no numbers' in self.faults:
            choice['logprobs']['token_logprobs'] = [None] * len(reply.token_ids)
        return 200, dict(
            id='x',
            object='text_completion',
            created=0,
            model=body['model'],
            choices=[choice],
            usage=dict(
                prompt_tokens=len(body['prompt']), completion_tokens=len(reply.token_ids), total_tokens=0
            ),
        )


@pytest.fixture(scope='module')
def policy():
    return load('tiny')


@pytest.fixture
def fake(policy):
    server = FakeVLLM(*policy)
    yield server
    server.http.shutdown()


def test_the_same_tokens_as_our_own_sampler(fake, policy):
    "Each request's seed comes from the address that HFSampler draws from, so the draws are the server's own: what must agree is what comes back"
    tokenizer, sampler = policy[1], ServerSampler(fake.url, policy[1])
    prompts, params = (
        [[5, 6, 7], [8, 9], [10, 11, 12, 13]],
        SamplingParams(max_tokens=7, temperature=0.8, seed=3),
    )
    got = sampler.sample(prompts, params, keys=['a', 'b', 'c'])
    for key, prompt, reply in zip('abc', prompts, got):
        seed = int(rng(3, key, len(prompt)).integers(2**31))
        want = fake.sampler.sample([prompt], SamplingParams(max_tokens=7, temperature=0.8, seed=seed))[0]
        assert (
            reply.token_ids == want.token_ids
            and reply.logprobs == pytest.approx(want.logprobs)
            and reply.finish_reason == want.finish_reason
        )
        assert reply.usage.prompt_tokens == len(prompt) and reply.usage.calls == 1 and reply.usage.seconds > 0
    sent = fake.asked[-1]
    assert (
        sent['stop_token_ids'] == [tokenizer.eos_token_id]
        and sent['repetition_penalty'] == 1
        and sent['min_p'] == 0
        and sent['top_k'] == 0
        and sent['ignore_eos']
    )  # nothing is left to the model's generation_config
    assert sampler.context == fake.context


@pytest.mark.parametrize(
    'fault, message',
    [
        ('text only', 'no token ids'),
        ('begin token', 'read 4 tokens where 3 were sent'),
        ('no numbers', 'one that is no number'),
    ],
)
def test_what_cannot_be_trained_on_is_refused(fake, policy, fault, message):
    sampler = ServerSampler(fake.url, policy[1])
    fake.faults.add(fault)
    with pytest.raises(RuntimeError, match=message):
        sampler.sample([[5, 6, 7]])


def test_logprobs_that_ignore_the_temperature_are_refused(fake, policy):
    fake.faults.add('raw')
    with pytest.raises(ValueError, match='--logprobs-mode processed_logprobs'):
        ServerSampler(fake.url, policy[1])


def test_a_busy_server_is_asked_again(fake, policy):
    sampler = ServerSampler(fake.url, policy[1])
    fake.faults.add('busy once')
    assert sampler.sample([[5, 6, 7]])[0].token_ids


def test_bad_requests_name_the_cure(fake, policy):
    with pytest.raises(ConnectionError, match='ends with /v1'):
        ServerSampler('http://127.0.0.1:9/v1', policy[1])
    with pytest.raises(ValueError, match='the server has policy'):
        ServerSampler(fake.url, policy[1], model='other')
    sampler = ServerSampler(fake.url, policy[1])
    with pytest.raises(ValueError, match="server's context of 512"):
        sampler.sample([[5] * 500], SamplingParams(max_tokens=64))
    with pytest.raises(ValueError, match='no tokens'):
        sampler.sample([[]])
    with pytest.raises(ValueError, match='the same key'):
        sampler.sample([[5], [6]], keys=['a', 'a'])
    assert len(fake.asked) == 2  # the two of the check


def test_episodes_through_a_server(fake, policy):
    tokenizer, sampler = policy[1], ServerSampler(fake.url, policy[1])
    played = rollout(
        sampler,
        tokenizer,
        SupportDesk,
        scenarios(6, 'train'),
        max_turns=2,
        max_tokens_per_turn=8,
        max_total_tokens=500,
        batch_size=3,
        progress=False,
    )
    assert len(played) == 6 and all(t.n_actions and len(t.token_ids) == len(t.logprobs) for t in played)


def test_each_push_has_a_name_of_its_own(fake, policy):
    backbone = Backbone(load('tiny')[0], LoraConfig(r=4, target_modules='all-linear'))
    sampler = ServerSampler(fake.url, policy[1])
    first = sampler.push(backbone)
    assert fake.loaded == [first] and (sampler.adapters / first / 'policy' / 'adapter_config.json').exists()
    second = sampler.push(backbone)
    assert (
        fake.loaded == [second] != [first]
        and sampler.model == second
        and not (sampler.adapters / first).exists()
    )
    again = ServerSampler(
        fake.url, policy[1], adapters=sampler.adapters
    )  # another process, while an adapter is there
    assert again.model == 'policy' and again.push(backbone) not in (first, second)
    sampler.sample([[5, 6]])
    assert fake.asked[-1]['model'] == second
    fake.faults.add('no lora')
    with pytest.raises(RuntimeError, match='--enable-lora'):
        sampler.push(backbone)
    with pytest.raises(ValueError, match='only adapters can be pushed'):
        sampler.push(Backbone(load('tiny')[0], critic='head'))


def test_training_through_a_server(fake, policy):
    model, tokenizer = load('tiny')
    args = PPOConfig(
        num_updates=2,
        episodes_per_update=4,
        max_turns=2,
        max_tokens_per_turn=8,
        max_total_tokens=500,
        learning_rate=1e-2,
    )
    trainer = PPOTrainer(
        model,
        args,
        SupportDesk,
        train_dataset=scenarios(8, 'train'),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules='all-linear'),
        reward_funcs=lambda prompts, completions, trajectories, **_: [
            sum(i % 2 for i in t.token_ids) / len(t.token_ids) for t in trajectories
        ],
        sampler=ServerSampler(fake.url, tokenizer),
    )
    first, second = trainer.train()
    assert first['mismatch_max'] < 1e-3  # the server's base is the policy as it begins
    assert (
        len({body['model'] for body in fake.asked}) == 3
    )  # the base in the check, then each update's adapter
    assert (
        first['policy_grad_norm'] > 0
        and second['mismatch_max'] > 100 * first['mismatch_max']
        and second['first_ratio_error'] == 0
    )  # the fake goes on with the base, which is measured


def test_limits_of_this_process_are_not_the_servers(monkeypatch):
    for name in ('OMP_NUM_THREADS', 'LRU_CACHE_CAPACITY', 'KEPT'):
        monkeypatch.setenv(name, '1')
    env = VLLMServer('a-model', env=dict(OMP_NUM_THREADS='2')).env
    assert (
        (env['OMP_NUM_THREADS'], env['KEPT']) == ('2', '1')
        and 'LRU_CACHE_CAPACITY' not in env
        and 'ONEDNN_PRIMITIVE_CACHE_CAPACITY' not in env
    )
