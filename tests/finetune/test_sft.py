"Fine-tuning: the same numbers as TRL, to the bit the same after a kill, and a plain model in the end"

import copy

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from datasets import Dataset
from finetuning import Killed, kill_at, labelled_rows, lora, same_weights, tiny, tokenizer
from peft import get_peft_model
from torch.nn.functional import cross_entropy

from rlops_lab.finetune.sft import _sft_classes, labels_html, sft
from rlops_lab.finetune.trl_runs import run_trainer

pytestmark = pytest.mark.filterwarnings('ignore')
LONG = tiny().config.max_position_embeddings + 1


def losses(model, data, folder, **options):
    _, log = sft(model, tokenizer, data, folder, **options)
    return [entry['loss'] for entry in log]


def test_loss_and_gradient_are_trls(tmp_path):
    from trl import SFTConfig, SFTTrainer

    def run(classes):
        skip = dict(skip_prepare_dataset=True)
        options = dict(batch_size=4, peft_config=lora(), dataset_kwargs=skip)
        return run_trainer(classes, tiny(), tokenizer, labelled_rows(), [40] * 12, tmp_path, **options)[1]

    for a, b in zip(run(_sft_classes()), run((SFTTrainer, SFTConfig))):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-5)
        assert a['grad_norm'] == pytest.approx(b['grad_norm'], rel=1e-4)


def test_first_loss_by_hand(tmp_path):
    data, model = labelled_rows(4), tiny()
    total = count = 0
    for row in data:
        targets = torch.tensor(row['labels'])[1:]
        with torch.no_grad():
            logits = model(torch.tensor([row['input_ids']])).logits[0, :-1]
        total += cross_entropy(logits, targets, reduction='sum').item()
        count += (targets != -100).sum().item()
    assert losses(model, data, tmp_path, batch_size=4)[0] == pytest.approx(total / count, rel=1e-5)


def test_tokens_without_label_have_no_influence_on_the_loss_but_their_text_has(tmp_path):
    def longer(row):
        return dict(input_ids=row['input_ids'] + [5, 6], labels=row['labels'] + [-100, -100])

    def first(data):
        return losses(tiny(), data, tmp_path, batch_size=12, max_steps=1)[0]

    assert first(labelled_rows()) == pytest.approx(first(labelled_rows().map(longer)), rel=1e-6)


def test_micro_batches_change_nothing(tmp_path):
    def run(micro):
        options = dict(batch_size=6, epochs=2, micro_batch_size=micro)
        return losses(tiny(), labelled_rows(), tmp_path, **options)

    assert run(None) == pytest.approx(run(2), rel=1e-4)


def test_the_seed_decides(tmp_path):
    def run(seed):
        options = dict(batch_size=4, peft_config=lora(lora_dropout=0.1), seed=seed)
        return sft(tiny(), tokenizer, labelled_rows(), tmp_path, **options)[0]

    a, b, c = run(0), run(0), run(1)
    assert same_weights(a, b)
    assert not same_weights(a, c)


CASES = [(torch.bfloat16, lora(lora_dropout=0.1)), (torch.float32, None)]


@pytest.mark.parametrize('dtype, peft_config', CASES)
@pytest.mark.parametrize('at', [1, 4, 6])
def test_killed_and_resumed_is_uninterrupted(tmp_path, dtype, peft_config, at):
    options = dict(epochs=2, batch_size=4, peft_config=peft_config, save_steps=2)
    whole, log = sft(tiny(dtype), tokenizer, labelled_rows(), tmp_path / 'a', **options)
    with pytest.raises(Killed):
        sft(tiny(dtype), tokenizer, labelled_rows(), tmp_path / 'b', on_step=kill_at(at), **options)
    (tmp_path / 'b' / 'checkpoint-99').mkdir()
    again, resumed_log = sft(tiny(dtype), tokenizer, labelled_rows(), tmp_path / 'b', resume=True, **options)
    assert same_weights(whole, again)
    assert log == resumed_log
    assert len(log) == 6


def test_resuming_a_finished_run_gives_its_model(tmp_path):
    options = dict(epochs=1, batch_size=4, peft_config=lora(), save_steps=1)
    finished, _ = sft(tiny(), tokenizer, labelled_rows(), tmp_path, **options)
    resumed, log = sft(tiny(), tokenizer, labelled_rows(), tmp_path, resume=True, **options)
    assert same_weights(finished, resumed)
    assert len(log) == 3


def test_the_model_comes_back_plain(tmp_path):
    model = tiny()
    tuned, _ = sft(model, tokenizer, labelled_rows(), tmp_path, batch_size=4, peft_config=lora())
    assert tuned is model
    assert not hasattr(tuned, 'peft_config')
    assert not {'forward', '_original_forward'} & vars(tuned).keys()
    assert all(weight.requires_grad for weight in tuned.parameters())
    assert not tuned.training
    assert not any('lora' in name for name, _ in tuned.named_modules())
    twin = copy.deepcopy(tuned)
    with torch.no_grad():
        twin.model.norm.weight.zero_()
    ids = torch.tensor([[5]])
    assert twin(ids).logits.abs().max() == 0 < tuned(ids).logits.abs().max()
    _, log = sft(tuned, tokenizer, labelled_rows(), tmp_path / 'again', batch_size=4, peft_config=lora())
    assert len(log) == 3


def test_callback_and_log(tmp_path):
    seen = []
    options = dict(batch_size=4, epochs=5, max_steps=4, on_step=lambda *step: seen.append(step))
    _, log = sft(tiny(), tokenizer, labelled_rows(), tmp_path, **options)
    assert [(step, steps) for step, steps, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [entry['step'] for entry in log] == [1, 2, 3, 4]
    assert log[-1]['learning_rate'] < log[0]['learning_rate']
    assert {'loss', 'grad_norm', 'mean_token_accuracy'} <= log[0].keys()


TOO_LONG = Dataset.from_list([dict(input_ids=[3] * LONG, labels=[3] * LONG)])
WITHOUT_LABEL = Dataset.from_list([dict(input_ids=[3], labels=[-100])])


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(dataset=labelled_rows().remove_columns('labels')), 'no column'),
        (dict(dataset=labelled_rows().select([])), 'no rows'),
        (dict(dataset=TOO_LONG), f'takes {LONG - 1}'),
        (dict(dataset=WITHOUT_LABEL), 'no label at all'),
        (dict(model=tiny(torch.bfloat16)), 'rounds small updates away'),
        (dict(batch_size=5, micro_batch_size=2), 'no multiple'),
    ],
)
def test_refused_before_anything_is_spent(tmp_path, change, text):
    arguments = dict(model=tiny(), tokenizer=tokenizer, dataset=labelled_rows(), output_dir=tmp_path / 'x')
    with pytest.raises(ValueError, match=text):
        sft(**arguments | change)
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize('options', [dict(epochs=0), dict(batch_size=0), dict(micro_batch_size=-1)])
def test_nothing_to_train_is_refused(tmp_path, options):
    with pytest.raises(ValueError, match='each must be above 0'):
        sft(tiny(), tokenizer, labelled_rows(), tmp_path / 'x', **options)


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(TypeError, match='learning_rat'):
        sft(tiny(), tokenizer, labelled_rows(), tmp_path, learning_rat=1e-3)


def test_pad_and_adapters_are_checked(tmp_path):
    bad = copy.deepcopy(tokenizer)
    bad.pad_token = bad.eos_token
    with pytest.raises(ValueError, match='pad token'):
        sft(tiny(), bad, labelled_rows(), tmp_path)
    with pytest.raises(TypeError, match='adapters already'):
        sft(get_peft_model(tiny(), lora()), tokenizer, labelled_rows(), tmp_path)


def test_changed_logits_are_refused(tmp_path):
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=8.0,
    )
    with pytest.raises(ValueError, match='changes its logits'):
        sft(GraniteForCausalLM(config), tokenizer, labelled_rows(), tmp_path)


def test_a_method_without_a_plain_model_is_refused_before_training(tmp_path):
    from peft import PromptTuningConfig

    def never(*_):
        raise AssertionError('a step was made')

    options = dict(peft_config=PromptTuningConfig(task_type='CAUSAL_LM', num_virtual_tokens=4), on_step=never)
    with pytest.raises(ValueError, match='PROMPT_TUNING: no plain model .* use a method that PEFT can merge'):
        sft(tiny(), tokenizer, labelled_rows(), tmp_path, **options)


def test_an_adapter_on_shared_embeddings_gives_the_output_layer_weights_of_its_own(tmp_path):
    config = lora(target_modules=['embed_tokens'])
    model, _ = sft(tiny(), tokenizer, labelled_rows(), tmp_path / 'run', peft_config=config, learning_rate=1e-2)
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    assert torch.equal(model.lm_head.weight, tiny().lm_head.weight)
    model.save_pretrained(tmp_path / 'kept')
    again = type(model).from_pretrained(tmp_path / 'kept')
    ids = torch.arange(5, 25)[None]
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_labels_as_html_escape_and_colour():
    ids = tokenizer('<b>\n', add_special_tokens=False)['input_ids']
    page = labels_html(tokenizer, ids, [ids[0]] + [-100] * (len(ids) - 1))
    assert '<b>' not in page
    assert page.count('52,168,83') == 1
    assert page.count('<span') == len(ids)
