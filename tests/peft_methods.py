"""Every method of PEFT's registry at every door, on the tiny model

A door returns 'equal' where it gave the logits of PEFT's own model, or the refusal's text; all else is an
AssertionError."""

import tempfile
from dataclasses import fields
from types import SimpleNamespace

import peft
import torch
from finetuning import labelled_rows, pair_rows, tokenizer, verdict_rows
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as REGISTRY

from rlops_lab.finetune import reward_training, sft, trl_runs
from rlops_lab.finetune.preferences import kto, preference
from rlops_lab.finetune.reward_models import RewardModel
from rlops_lab.models.adapted import merge
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load, tiny
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.sampling import SamplingParams
from rlops_lab.samplers.server import ServerSampler

IDS = torch.arange(5, 25)[None]
TARGETS = ['q_proj', 'v_proj']
METHODS = [method.value for method in REGISTRY]

# what some methods need beyond `target_modules` on a model with 96 hidden units
NEEDS = dict(
    ADALORA=dict(total_step=10),
    ADAPTION_PROMPT=dict(adapter_len=4, adapter_layers=1, target_modules=None),
    C3A=dict(block_size=16),
    IA3=dict(feedforward_modules=[]),
    MULTITASK_PROMPT_TUNING=dict(num_tasks=2),
    ROAD=dict(group_size=16),
    SHIRA=dict(r=4),
    TRAINABLE_TOKENS=dict(token_indices=[5, 6], target_modules=['embed_tokens']),
    VBLORA=dict(num_vectors=16, vector_length=16),
)


def config_of(method, **changes):
    "A small configuration of a method"
    config = REGISTRY[peft.PeftType(method)]
    known = {field.name for field in fields(config)}
    given = dict(task_type='CAUSAL_LM', target_modules=TARGETS, num_virtual_tokens=4) | NEEDS.get(method, {})
    if method == 'XLORA':
        given |= xlora_parts()
    return config(**{name: value for name, value in (given | changes).items() if name in known})


def xlora_parts():
    "Two adapters in folders, which it mixes"
    folders = {}
    for name in 'ab':
        folders[name] = tempfile.mkdtemp()
        peft.get_peft_model(tiny()[0], config_of('LORA')).save_pretrained(folders[name])
    return dict(hidden_size=96, adapters=folders)


def bare():
    "The tiny model, without a cache: XLoRA wants that"
    model = tiny()[0]
    model.config.use_cache = False
    return model


def adapted(config, std=0.02):
    "The tiny model under an adapter that changes its answers"
    return moved(peft.get_peft_model(bare(), config).eval(), std)


@torch.no_grad()
def moved(model, std=0.02):
    random = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.add_(std * torch.randn(weight.shape, generator=random))
    return model


@torch.no_grad()
def logits(model, ids=IDS):
    return model(input_ids=ids).logits.float()


BASE = logits(tiny()[0])


def same(found, expected, what='logits', base=None):
    error = (found - expected).abs().max().item()
    assert error < 1e-4, f'{what} are off by {error:.2g}'
    effect = None if base is None else (expected - base).abs().max().item()
    assert effect is None or effect > 1e-3, f'{what} are those of the base: the test shows nothing'


def refusal(error):
    "Its text, which must say more than what PEFT said"
    text = str(error)
    assert any(
        word in text for word in ('use ', 'choose ', 'leave ', 'give ', 'take ', 'Remove', 'merge', 'serve', 'must ')
    ), text
    return text


def at_door(door, config):
    try:
        return door(config) or 'equal'
    except (ValueError, TypeError) as error:
        return refusal(error)


# ---- the doors


def merging(config):
    model = adapted(config)
    expected = logits_if_it_runs(model)
    same(logits(merge(model)), expected, base=BASE)


def logits_if_it_runs(model):
    "None for a method that can't run without further input, which must be refused"
    try:
        return logits(model)
    except Exception:
        return None


def merging_inside(config):
    "The model without PEFT's wrapper, as transformers loads it"
    model = adapted(config)
    inside = model.get_base_model()
    expected = logits_if_it_runs(inside)
    if expected is not None and torch.equal(expected, BASE):
        return 'nothing inside'
    same(logits(merge(inside)), expected)


def sampling(config):
    model = adapted(config)
    sampler = HFSampler(model, tokenizer)
    prompt = IDS[0].tolist()
    (reply,) = sampler.sample([prompt], SamplingParams(max_tokens=8, temperature=1.0, seed=1))
    expected = logits(model, torch.tensor([prompt + reply.token_ids])).log_softmax(-1)[0, len(prompt) - 1 : -1]
    expected = expected.gather(1, torch.tensor(reply.token_ids)[:, None])[:, 0]
    same(torch.tensor(reply.logprobs), expected, 'log-probabilities')


def training(train, config, base=BASE):
    "What a training returns, against PEFT's model at its end"
    seen, merge_of_run, steps = {}, trl_runs.merge, []

    def spy(model):
        from rlops_lab.models.adapted import unwrap_forward

        seen['trained'] = logits(unwrap_forward(model).eval())
        return merge_of_run(model)

    trl_runs.merge = spy
    options = dict(epochs=3, batch_size=4, learning_rate=3e-2, on_step=lambda *step: steps.append(step))
    try:
        with tempfile.TemporaryDirectory() as folder:
            found, _ = train(folder, config, options)
    except Exception:
        assert not steps, 'refused after training'
        raise
    finally:
        trl_runs.merge = merge_of_run
    same(logits(found), seen['trained'], base=base)


def by_sft(config):
    rows = labelled_rows(8)
    return training(lambda folder, c, more: sft.sft(bare(), tokenizer, rows, folder, peft_config=c, **more), config)


def by_dpo(config):
    rows = pair_rows()
    return training(lambda folder, c, more: preference(bare(), tokenizer, rows, folder, peft_config=c, **more), config)


def by_kto(config):
    pairs = pair_rows()
    rows = pairs.map(lambda row, i: kto_row(row, i), with_indices=True, remove_columns=pairs.column_names)
    return training(lambda folder, c, more: kto(bare(), tokenizer, rows, folder, peft_config=c, **more), config)


def kto_row(row, i):
    side = 'rejected' if i % 2 else 'chosen'
    return dict(
        prompt_ids=row['prompt_ids'],
        completion_ids=row[f'{side}_ids'],
        completion_mask=row[f'{side}_mask'],
        label=side == 'chosen',
    )


def by_reward_model(config):
    rows = pair_rows()

    def train(folder, c, more):
        return reward_training.reward_model(bare(), tokenizer, rows, folder, peft_config=c, **more)

    return training(train, config, base=torch.zeros(1, 1))


def by_classifier(config):
    "The grader that is kept in a folder, against PEFT's own reading of the folder"
    rows, steps = verdict_rows(16), []
    with tempfile.TemporaryDirectory() as folder:
        options = dict(batch_size=8, learning_rate=3e-2, epochs=4, on_step=lambda *step: steps.append(step))
        model = bare()
        try:
            reward_training.classifier(model, tokenizer, rows, folder, peft_config=config, **options)
        except ValueError:
            assert not steps, 'refused after training'
            raise
        same(logits(model), BASE, 'the base')
        ids = rows['input_ids'][0]
        found = RewardModel(model, tokenizer, [folder]).logits([ids])
        scorer = reward_training.with_score_head(tiny()[0].get_decoder(), tokenizer.pad_token_id)
        theirs = peft.PeftModel.from_pretrained(scorer, folder).eval()
        without = reward_training.with_score_head(tiny()[0].get_decoder(), tokenizer.pad_token_id)
        without.score.load_state_dict(theirs.base_model.model.score.modules_to_save['default'].state_dict())
        ids = torch.tensor([ids])
        same(torch.tensor(found), logits(theirs, ids), base=logits(without, ids))


def by_ppo(config):
    "The policy of a backbone"
    backbone = Backbone(tiny()[0], config)
    moved(backbone.model, 0.05)
    with torch.no_grad():
        found = backbone.hidden(IDS, 'policy', lengths=[IDS.shape[1]]) @ backbone.output_embeddings.T
    same(found, logits(backbone.model), base=BASE)


class FakeClient:
    "Keeps what would be posted to a server"

    def post(self, path, cast_to, body):
        self.body = body


def pushing(config):
    "What the server reads, against the model that pushed it"
    model = adapted(config)
    with tempfile.TemporaryDirectory() as folder:
        server = SimpleNamespace(
            client=FakeClient(), adapters=trl_runs.Path(folder), base_model='policy', model='policy'
        )
        server._post = lambda path, **body: server.client.post(path, str, body)
        ServerSampler.push(server, model)
        served = peft.PeftModel.from_pretrained(tiny()[0], server.client.body['lora_path']).eval()
    same(logits(served), logits(model), base=BASE)


def loading(config):
    "A folder that PEFT wrote"
    model = adapted(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        found = load(folder, torch.float32)[0]
    same(logits(found), logits(model), base=BASE)


DOORS = dict(
    merge=merging,
    merge_inside=merging_inside,
    sample=sampling,
    sft=by_sft,
    dpo=by_dpo,
    kto=by_kto,
    reward_model=by_reward_model,
    classifier=by_classifier,
    ppo=by_ppo,
    push=pushing,
    load=loading,
)
