"""The server's sampler against a server in this process: the same tokens as our own sampler, what a server may get
wrong, and training through it"""

import pytest

pytest.importorskip('openai')
from fake_vllm import FakeVLLM
from peft import LoraConfig

from rlops_lab.core import rng
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
from rlops_lab.rollouts.engine import rollout
from rlops_lab.samplers.sampling import SamplingParams
from rlops_lab.samplers.server import ServerSampler


@pytest.fixture(scope='module')
def policy():
    return load('tiny')


@pytest.fixture
def fake(policy):
    server = FakeVLLM(*policy)
    yield server
    server.http.shutdown()


def test_the_same_tokens_as_our_own_sampler(fake, policy):
    "Each request's seed comes from the address that HFSampler draws from; what comes back must be what was drawn"
    sampler = ServerSampler(fake.url, policy[1])
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    settings = dict(max_tokens=7, temperature=0.8)
    got = sampler.sample(prompts, SamplingParams(**settings, seed=3), keys=['a', 'b', 'c'])
    for key, prompt, reply in zip('abc', prompts, got):
        seed = int(rng(3, key, len(prompt)).integers(2**31))
        right = fake.sampler.sample([prompt], SamplingParams(**settings, seed=seed))[0]
        assert reply.token_ids == right.token_ids
        assert reply.logprobs == pytest.approx(right.logprobs)
        assert reply.finish_reason == right.finish_reason
        assert reply.usage.prompt_tokens == len(prompt)
        assert reply.usage.calls == 1
        assert reply.usage.seconds > 0


def test_nothing_is_left_to_the_models_generation_config(fake, policy):
    sampler = ServerSampler(fake.url, policy[1])
    sampler.sample([[5, 6, 7]])
    sent = fake.requests[-1]
    assert sent['stop_token_ids'] == [policy[1].eos_token_id]
    assert sent['repetition_penalty'] == 1
    assert sent['min_p'] == 0
    assert sent['top_k'] == 0
    assert sent['ignore_eos']
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


def test_a_request_to_a_busy_server_is_retried(fake, policy):
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
    assert len(fake.requests) == 2  # those of the check


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
    assert len(played) == 6
    assert all(t.n_actions and len(t.token_ids) == len(t.logprobs) for t in played)


def test_each_push_has_a_name_of_its_own(fake, policy):
    backbone = Backbone(load('tiny')[0], LoraConfig(r=4, target_modules='all-linear'))
    sampler = ServerSampler(fake.url, policy[1])
    first = sampler.push(backbone)
    assert fake.loaded == [first]
    assert (sampler.adapters / first / 'policy' / 'adapter_config.json').exists()
    second = sampler.push(backbone)
    assert fake.loaded == [second] != [first]
    assert sampler.model == second
    assert not (sampler.adapters / first).exists()
    # another process, while an adapter is there
    again = ServerSampler(fake.url, policy[1], adapters=sampler.adapters)
    assert again.model == 'policy'
    assert again.push(backbone) not in (first, second)
    sampler.sample([[5, 6]])
    assert fake.requests[-1]['model'] == second
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

    def odd_tokens(prompts, completions, trajectories, **_):
        return [sum(i % 2 for i in t.token_ids) / len(t.token_ids) for t in trajectories]

    trainer = PPOTrainer(
        model,
        args,
        SupportDesk,
        train_dataset=scenarios(8, 'train'),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules='all-linear'),
        reward_funcs=odd_tokens,
        sampler=ServerSampler(fake.url, tokenizer),
    )
    first, second = trainer.train()
    assert first['mismatch_max'] < 1e-3  # the server's base is the policy as it begins
    # the base in the check, then each update's adapter
    assert len({body['model'] for body in fake.requests}) == 3
    assert first['policy_grad_norm'] > 0
    # the fake goes on with the base, which is measured
    assert second['mismatch_max'] > 100 * first['mismatch_max']
    assert second['first_ratio_error'] == 0
