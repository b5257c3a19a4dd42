"Fine-tuning: the same numbers as TRL, to the bit the same after a kill, and a plain model in the end"

import copy, math
import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from rlops_lab.core import rng
from rlops_lab.finetune.sft import _sft_classes, labels_html, sft
from rlops_lab.finetune.trl_runs import batch_order, last_checkpoint, merge, run_trainer
from rlops_lab.finetune.preferences import preference
from rlops_lab.finetune.reward_training import reward_model
from rlops_lab.models.load import load

pytestmark = pytest.mark.filterwarnings('ignore')
_, tokenizer = load('tiny')


def tiny(dtype=None):
    return load('tiny', dtype=dtype)[0]


LONG = tiny().config.max_position_embeddings + 1


def lora(**kw):
    return LoraConfig(**dict(r=4, lora_alpha=8, target_modules='all-linear') | kw)


def rows(n=12, low=10, high=40, seed=0):
    r = rng(seed, 'rows')
    out = []
    for _ in range(n):
        ids = r.integers(3, 300, r.integers(low, high)).tolist()
        out.append(
            dict(input_ids=ids, labels=[x if i % 3 == 2 else -100 for i, x in enumerate(ids)], group='a')
        )
    return Dataset.from_list(out)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize('n, epochs, size', [(10, 1, 4), (10, 3, 4), (7, 2.5, 3), (3, 4, 8), (64, 1, 8)])
def test_the_order_covers_every_epoch(n, epochs, size):
    lengths = rng(0, n).integers(5, 100, n).tolist()
    order = batch_order(lengths, epochs, size)
    counts = np.bincount(order, minlength=n)
    assert (
        len(order) == round(epochs * n)
        and counts.min() >= math.floor(epochs)
        and counts.max() <= math.ceil(epochs)
    )
    assert order == batch_order(lengths, epochs, size)
    assert n < 5 or order != batch_order(lengths, epochs, size, seed=1)


def test_a_longer_run_begins_like_a_shorter_one():
    lengths = rng(0).integers(5, 100, 64).tolist()
    assert batch_order(lengths, 3, 4)[:64] == batch_order(lengths, 1, 4)


def test_loss_and_gradient_are_trls(tmp_path):
    from trl import SFTConfig, SFTTrainer

    def run(classes):
        return run_trainer(
            classes,
            tiny(),
            tokenizer,
            rows(),
            [40] * 12,
            tmp_path,
            batch_size=4,
            peft_config=lora(),
            dataset_kwargs=dict(skip_prepare_dataset=True),
        )[1]

    for a, b in zip(run(_sft_classes()), run((SFTTrainer, SFTConfig))):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-5) and a['grad_norm'] == pytest.approx(
            b['grad_norm'], rel=1e-4
        )


def test_first_loss_by_hand(tmp_path):
    data, model = rows(4), tiny()
    with torch.no_grad():
        parts = [
            (model(torch.tensor([r['input_ids']])).logits[0, :-1], torch.tensor(r['labels'])[1:])
            for r in data
        ]
        want = sum(cross_entropy(l, t, reduction='sum') for l, t in parts) / sum(
            (t != -100).sum() for _, t in parts
        )
    assert sft(model, tokenizer, data, tmp_path, batch_size=4)[1][0]['loss'] == pytest.approx(
        want.item(), rel=1e-5
    )


def test_tokens_without_label_have_no_influence_on_the_loss_but_their_text_has(tmp_path):
    first = lambda data: sft(tiny(), tokenizer, data, tmp_path, batch_size=12, max_steps=1)[1][0]['loss']
    longer = rows().map(lambda r: dict(input_ids=r['input_ids'] + [5, 6], labels=r['labels'] + [-100, -100]))
    assert first(rows()) == pytest.approx(first(longer), rel=1e-6)


def test_micro_batches_change_nothing(tmp_path):
    run = lambda micro: [
        h['loss']
        for h in sft(tiny(), tokenizer, rows(), tmp_path, batch_size=6, epochs=2, micro_batch_size=micro)[1]
    ]
    assert run(None) == pytest.approx(run(2), rel=1e-4)


def test_the_seed_decides(tmp_path):
    run = lambda seed: sft(
        tiny(), tokenizer, rows(), tmp_path, batch_size=4, peft_config=lora(lora_dropout=0.1), seed=seed
    )[0]
    a, b, c = run(0), run(0), run(1)
    assert same(a, b) and not same(a, c)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    'dtype, peft_config', [(torch.bfloat16, lora(lora_dropout=0.1)), (torch.float32, None)]
)
@pytest.mark.parametrize('at', [1, 4, 6])
def test_killed_and_resumed_is_uninterrupted(tmp_path, dtype, peft_config, at):
    def kill(step, steps, metrics):
        if step == at:
            raise Killed

    options = dict(epochs=2, batch_size=4, peft_config=peft_config, save_steps=2)
    whole, log = sft(tiny(dtype), tokenizer, rows(), tmp_path / 'a', **options)
    with pytest.raises(Killed):
        sft(tiny(dtype), tokenizer, rows(), tmp_path / 'b', on_step=kill, **options)
    (tmp_path / 'b' / 'checkpoint-99').mkdir()
    again, log2 = sft(tiny(dtype), tokenizer, rows(), tmp_path / 'b', resume=True, **options)
    assert same(whole, again) and log == log2 and len(log) == 6


def test_resuming_a_finished_run_gives_its_model(tmp_path):
    options = dict(epochs=1, batch_size=4, peft_config=lora(), save_steps=1)
    (a, _), (b, log) = (sft(tiny(), tokenizer, rows(), tmp_path, resume=r, **options) for r in (False, True))
    assert same(a, b) and len(log) == 3


def test_torn_checkpoints_do_not_count(tmp_path):
    assert last_checkpoint(tmp_path) is None and last_checkpoint(tmp_path / 'nowhere') is None
    for n in (2, 10, 30):
        (tmp_path / f'checkpoint-{n}').mkdir()
    for n in (2, 10):
        (tmp_path / f'checkpoint-{n}/trainer_state.json').touch()
    assert last_checkpoint(tmp_path).name == 'checkpoint-10'


def test_the_model_comes_back_plain(tmp_path):
    model = tiny()
    tuned, _ = sft(model, tokenizer, rows(), tmp_path, batch_size=4, peft_config=lora())
    assert (
        tuned is model
        and not hasattr(tuned, 'peft_config')
        and not {'forward', '_original_forward'} & vars(tuned).keys()
    )
    assert (
        all(p.requires_grad for p in tuned.parameters())
        and not tuned.training
        and not any('lora' in n for n, _ in tuned.named_modules())
    )
    twin = copy.deepcopy(tuned)
    with torch.no_grad():
        twin.model.norm.weight.zero_()
    assert twin(torch.tensor([[5]])).logits.abs().max() == 0 < tuned(torch.tensor([[5]])).logits.abs().max()
    assert len(sft(tuned, tokenizer, rows(), tmp_path / 'again', batch_size=4, peft_config=lora())[1]) == 3


@pytest.mark.parametrize('dtype, eps', [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_merged_answers_like_adapted(dtype, eps):
    torch.manual_seed(0)
    adapted = get_peft_model(tiny(dtype), lora())
    for n, p in adapted.named_parameters():
        if 'lora_B' in n:
            torch.nn.init.normal_(p, std=0.05)
    ids = torch.tensor([list(range(5, 25))])
    with torch.no_grad():
        want = adapted(ids).logits.float()
        assert torch.allclose(merge(adapted)(ids).logits.float(), want, atol=eps * want.abs().max().item())


def test_callback_and_log(tmp_path):
    seen = []
    _, log = sft(
        tiny(),
        tokenizer,
        rows(),
        tmp_path,
        batch_size=4,
        epochs=5,
        max_steps=4,
        on_step=lambda *a: seen.append(a),
    )
    assert [(s, n) for s, n, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [h['step'] for h in log] == [1, 2, 3, 4] and log[-1]['learning_rate'] < log[0]['learning_rate']
    assert {'loss', 'grad_norm', 'mean_token_accuracy'} <= log[0].keys()


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(dataset=rows().remove_columns('labels')), "no column"),
        (dict(dataset=rows().select([])), 'no rows'),
        (
            dict(dataset=Dataset.from_list([dict(input_ids=[3] * LONG, labels=[3] * LONG)])),
            f'takes {LONG - 1}',
        ),
        (dict(dataset=Dataset.from_list([dict(input_ids=[3], labels=[-100])])), 'no label at all'),
        (dict(model=tiny(torch.bfloat16)), 'rounds small updates away'),
        (dict(batch_size=5, micro_batch_size=2), 'no multiple'),
    ],
)
def test_refused_before_anything_is_spent(tmp_path, change, text):
    with pytest.raises(ValueError, match=text):
        sft(**dict(model=tiny(), tokenizer=tokenizer, dataset=rows(), output_dir=tmp_path / 'x') | change)
    assert not (tmp_path / 'x').exists()


def test_pad_and_adapters_are_checked(tmp_path):
    bad = copy.deepcopy(tokenizer)
    bad.pad_token = bad.eos_token
    with pytest.raises(ValueError, match='pad token'):
        sft(tiny(), bad, rows(), tmp_path)
    with pytest.raises(TypeError, match='adapters already'):
        sft(get_peft_model(tiny(), lora()), tokenizer, rows(), tmp_path)


def test_changed_logits_are_refused(tmp_path):
    from transformers import GraniteConfig, GraniteForCausalLM

    scaled = GraniteForCausalLM(
        GraniteConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            logits_scaling=8.0,
        )
    )
    with pytest.raises(ValueError, match='changes its logits'):
        sft(scaled, tokenizer, rows(), tmp_path)


def pair_rows(n=8, same_actions=False):
    r, out = rng(3, 'pairs'), []
    for _ in range(n):
        ids, tool, bad = (r.integers(3, 300, k).tolist() for k in (6, 4, 6))
        good = [9] * 3 + tool + [10] * 3
        out.append(
            dict(
                prompt_ids=ids,
                chosen_ids=good,
                chosen_mask=[1] * 3 + [0] * 4 + [1] * 3,
                rejected_ids=good if same_actions else bad[:3] + tool + bad[3:],
                rejected_mask=[1] * 3 + [0] * 4 + [1] * 3,
                margin=1.0,
            )
        )
    return Dataset.from_list(out)


def test_preference_begins_at_log_2_and_moves_the_margin(tmp_path):
    _, log = preference(
        tiny(),
        tokenizer,
        pair_rows(),
        tmp_path,
        peft_config=lora(),
        epochs=3,
        batch_size=8,
        learning_rate=1e-2,
    )
    assert log[0]['loss'] == pytest.approx(math.log(2), abs=1e-5) and log[-1]['rewards/margins'] > 0


def test_preference_learns_nothing_from_tools(tmp_path):
    data = pair_rows(same_actions=True).map(
        lambda r: dict(
            chosen_ids=r['chosen_ids'][:3] + [20] * 4,
            chosen_mask=[1] * 3 + [0] * 4,
            rejected_ids=r['chosen_ids'][:3] + [30] * 4,
            rejected_mask=[1] * 3 + [0] * 4,
        )
    )
    _, log = preference(
        tiny(), tokenizer, data, tmp_path, peft_config=lora(), epochs=2, batch_size=8, learning_rate=1e-2
    )
    assert [h['loss'] for h in log] == pytest.approx([math.log(2)] * 2, abs=1e-5)


def test_preference_needs_masks_and_adapters(tmp_path):
    with pytest.raises(ValueError, match='chosen_mask'):
        preference(tiny(), tokenizer, pair_rows().remove_columns('chosen_mask'), tmp_path, peft_config=lora())
    with pytest.raises(ValueError, match='peft_config'):
        preference(tiny(), tokenizer, pair_rows(), tmp_path, peft_config=None)


@pytest.mark.parametrize('peft_config', [None, lora()])
def test_reward_model_ranks_and_leaves_the_policy_alone(tmp_path, peft_config):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    scorer, log = reward_model(
        model,
        tokenizer,
        pair_rows(),
        tmp_path,
        peft_config=peft_config,
        epochs=6,
        batch_size=8,
        learning_rate=1e-2,
    )
    assert log[0]['loss'] == pytest.approx(math.log(2), abs=1e-5) and log[-1]['loss'] < log[0]['loss']
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        score = lambda ids: scorer(input_ids=torch.tensor([ids])).logits.item()
    assert (
        np.mean(
            [
                score(r['prompt_ids'] + r['chosen_ids']) > score(r['prompt_ids'] + r['rejected_ids'])
                for r in pair_rows()
            ]
        )
        > 0.8
    )


def test_trl_itself_takes_our_pairs_and_verdicts(tmp_path):
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    said = lambda text: [dict(role='assistant', content=text)]
    prompt = [dict(role='user', content='hello')]
    common = dict(
        per_device_train_batch_size=2,
        max_steps=1,
        report_to='none',
        use_cpu=True,
        bf16=False,
        save_strategy='no',
        disable_tqdm=True,
    )
    preferences = Dataset.from_list(
        [
            dict(
                prompt=prompt,
                chosen=said('yes'),
                rejected=said('no'),
                prompt_ids=[1],
                chosen_ids=[2],
                chosen_mask=[1],
                rejected_ids=[3],
                rejected_mask=[1],
                margin=1.0,
                group='a',
            )
        ]
        * 2
    )
    verdicts = Dataset.from_list(
        [
            dict(prompt=prompt, completion=said('yes'), label=True),
            dict(prompt=prompt, completion=said('no'), label=False),
        ]
        * 2
    )
    for trainer, config, data in ((DPOTrainer, DPOConfig, preferences), (KTOTrainer, KTOConfig, verdicts)):
        t = trainer(
            tiny(),
            args=config(str(tmp_path), **common),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=lora(),
        )
        assert math.isfinite(t.train().training_loss)


def test_labels_as_html_escape_and_colour():
    ids = tokenizer('<b>\n', add_special_tokens=False)['input_ids']
    page = labels_html(tokenizer, ids, [ids[0]] + [-100] * (len(ids) - 1))
    assert '<b>' not in page and page.count('52,168,83') == 1 and page.count('<span') == len(ids)


@pytest.mark.parametrize('options', [dict(use_dora=True), dict(use_rslora=True)])
def test_what_is_not_plain_lora_is_merged_as_well(options):
    torch.manual_seed(0)
    adapted = get_peft_model(tiny(), lora(**options))
    for n, p in adapted.named_parameters():
        if 'lora_B' in n:
            torch.nn.init.normal_(p, std=0.05)
    ids = torch.tensor([list(range(5, 25))])
    with torch.no_grad():
        want = adapted(ids).logits
        assert torch.allclose(merge(adapted)(ids).logits, want, atol=1e-5 * want.abs().max().item())
        assert not torch.allclose(want, tiny()(ids).logits, atol=0.1)


def test_an_adapter_on_embeddings_is_refused_before_training(tmp_path):
    def never(*_):
        raise AssertionError('a step was made')

    with pytest.raises(ValueError, match='leave embeddings out'):
        sft(
            tiny(),
            tokenizer,
            rows(),
            tmp_path,
            peft_config=lora(target_modules=['embed_tokens']),
            on_step=never,
        )


@pytest.mark.parametrize('options', [dict(epochs=0), dict(batch_size=0), dict(micro_batch_size=-1)])
def test_nothing_to_train_is_refused(tmp_path, options):
    with pytest.raises(ValueError, match='each must be above 0'):
        sft(tiny(), tokenizer, rows(), tmp_path / 'x', **options)


def test_a_reward_model_starts_from_a_plain_model(tmp_path):
    with pytest.raises(TypeError, match='adapters already'):
        reward_model(get_peft_model(tiny(), lora()), tokenizer, pair_rows(), tmp_path, peft_config=lora())


def test_a_reward_models_loss_is_bradley_and_terrys(tmp_path):
    "The second step's loss from the scores after the first, with the price for leaving 0"
    data = pair_rows(4)

    def trained(**how):
        options = dict(peft_config=lora(), batch_size=4, learning_rate=1e-2, warmup=0, schedule='constant')
        return reward_model(tiny(), tokenizer, data, tmp_path, **options, **how)

    one, log = trained(max_steps=1)[0], trained(epochs=2)[1]

    def score(ids):
        with torch.no_grad():
            return one(input_ids=torch.tensor([ids])).logits.item()

    sides = [[score(r['prompt_ids'] + r[f'{side}_ids']) for side in ('chosen', 'rejected')] for r in data]
    assert (
        log[1]['loss']
        == pytest.approx(np.mean([np.logaddexp(0, l - w) + 0.01 * (w + l) ** 2 for w, l in sides]), rel=1e-4)
        and log[1]['loss'] < 0.69
    )


@pytest.mark.parametrize('train', [preference, reward_model])
def test_pairs_in_micro_batches_and_in_another_state_of_the_generator(tmp_path, train):
    def losses(state, micro):
        torch.manual_seed(state)
        options = dict(batch_size=4, epochs=2, micro_batch_size=micro, learning_rate=1e-2)
        return [
            h['loss']
            for h in train(tiny(), tokenizer, pair_rows(), tmp_path, peft_config=lora(), **options)[1]
        ]

    assert losses(1, None) == losses(2, None) == pytest.approx(losses(3, 2), rel=1e-3)


def test_dpo_is_the_formula(tmp_path):
    "The second step's loss from log-probabilities of the policy's tokens, by hand"
    data, start, b = pair_rows(4), tiny(), 0.3

    def trained(**how):
        options = dict(beta=b, batch_size=4, learning_rate=1e-2, warmup=0, schedule='constant')
        return preference(tiny(), tokenizer, data, tmp_path, peft_config=lora(), **options, **how)

    one, log = trained(max_steps=1)[0], trained(epochs=2)[1]

    def said(model, r, side):
        with torch.no_grad():
            lp = model(torch.tensor([r['prompt_ids'] + r[f'{side}_ids']])).logits[0, :-1].log_softmax(-1)
        at = len(r['prompt_ids'])
        n = len(r[f'{side}_ids'])
        return (
            (
                lp[torch.arange(at - 1, at - 1 + n), torch.tensor(r[f'{side}_ids'])]
                * torch.tensor(r[f'{side}_mask'])
            )
            .sum()
            .item()
        )

    gap = [
        b
        * (
            said(one, r, 'chosen')
            - said(start, r, 'chosen')
            - said(one, r, 'rejected')
            + said(start, r, 'rejected')
        )
        for r in data
    ]
    assert (
        log[1]['loss'] == pytest.approx(np.mean([np.logaddexp(0, -g) for g in gap]), rel=1e-4)
        and log[1]['loss'] < 0.69
    )


@pytest.mark.parametrize('n, epochs, size', [(39, 3, 16), (31, 2, 31), (96, 3, 16), (10, 3, 4)])
def test_few_rows_do_not_meet_themselves(n, epochs, size):
    order = batch_order(rng(0, n).integers(5, 100, n).tolist(), epochs, size)
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    assert (
        min(len(set(b)) / len(b) for b in batches if len(b) == size) >= 0.7
    )  # sorted over all epochs, a batch held its rows two or three times
    assert len(set(batches[0])) == size
