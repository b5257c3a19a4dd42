"The sampler in this process draws from the model's own distribution, whatever its layers"

from types import SimpleNamespace

import pytest
import torch
from llamas import ARCHITECTURES, adapted, llama

from rlops_lab.models.packed_layers import unsupported_layers
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.sampling import SamplingParams


def gelu():
    return llama(hidden_act='gelu')


ADAPTERS = [None, {}, dict(use_dora=True), dict(modules_to_save=['lm_head'])]


@pytest.mark.parametrize('adapter', ADAPTERS, ids=['plain', 'lora', 'dora', 'whole head'])
@pytest.mark.parametrize('make', [*ARCHITECTURES, gelu])
def test_logprobs_are_those_of_the_model(make, adapter):
    "Log-probabilities of what was drawn and the model's own; rows of several lengths, two turns"
    torch.manual_seed(0)
    model = make().eval() if adapter is None else adapted(make(), **adapter)
    for name, p in model.named_parameters():
        if 'magnitude' in name or 'modules_to_save' in name:
            p.data += 0.3 * torch.rand_like(p)
    sampler = HFSampler(model, SimpleNamespace(eos_token_id=0), min_prefix=4)
    by_transformers = sampler.merged.layers is None
    assert by_transformers == (make is gelu) == bool(unsupported_layers(sampler.base))
    prompts = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 11, 12], [20, 21]]
    for turn in range(2):
        replies = sampler.sample(prompts, SamplingParams(max_tokens=5), keys=['a', 'b', 'c'])
        for prompt, reply in zip(prompts, replies, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + reply.token_ids])).logits[0, len(prompt) - 1 : -1]
            right = logits.log_softmax(-1)[range(len(reply.token_ids)), reply.token_ids]
            torch.testing.assert_close(torch.tensor(reply.logprobs), right, atol=1e-5, rtol=0)
            prompt += reply.token_ids + [30 + turn]


def test_an_interrupted_conversation_leaves_no_rows():
    sampler = HFSampler(gelu().eval(), SimpleNamespace(eos_token_id=0))

    def next_contexts(done):
        if done:
            raise KeyboardInterrupt
        return {'a': [5, 6], 'b': [7, 8]}

    with pytest.raises(KeyboardInterrupt):
        sampler.converse(next_contexts, SamplingParams(max_tokens=3))
    assert not sampler.ids
    assert sampler.base.config._attn_implementation != 'rlops_rows'
