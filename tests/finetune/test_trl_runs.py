"TRL runs: an order that covers every epoch, whole checkpoints only, and adapters merged as they answer"

import math
from inspect import signature

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from datasets import Dataset
from finetuning import Killed, kill_at, labelled_rows, lora, tiny, tokenizer
from peft import get_peft_model

from rlops_lab.core import rng
from rlops_lab.finetune.preferences import kto, preference
from rlops_lab.finetune.reward_training import classifier, reward_model
from rlops_lab.finetune.sft import _sft_classes, sft
from rlops_lab.finetune.trl_runs import RunOptions, batch_order, check_columns, last_checkpoint, merge, run_trainer

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.mark.parametrize('n, epochs, size', [(10, 1, 4), (10, 3, 4), (7, 2.5, 3), (3, 4, 8), (64, 1, 8)])
def test_the_order_covers_every_epoch(n, epochs, size):
    lengths = rng(0, n).integers(5, 100, n).tolist()
    order = batch_order(lengths, epochs, size)
    counts = np.bincount(order, minlength=n)
    assert len(order) == round(epochs * n)
    assert counts.min() >= math.floor(epochs)
    assert counts.max() <= math.ceil(epochs)
    assert order == batch_order(lengths, epochs, size)
    assert n < 5 or order != batch_order(lengths, epochs, size, seed=1)


def test_a_longer_run_begins_like_a_shorter_one():
    lengths = rng(0).integers(5, 100, 64).tolist()
    assert batch_order(lengths, 3, 4)[:64] == batch_order(lengths, 1, 4)


@pytest.mark.parametrize('n, epochs, size', [(39, 3, 16), (31, 2, 31), (96, 3, 16), (10, 3, 4)])
def test_few_rows_do_not_meet_themselves(n, epochs, size):
    order = batch_order(rng(0, n).integers(5, 100, n).tolist(), epochs, size)
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    # sorted over all epochs, a batch held its rows two or three times
    assert min(len(set(batch)) / len(batch) for batch in batches if len(batch) == size) >= 0.7
    assert len(set(batches[0])) == size


def test_the_order_is_the_one_that_checkpoints_rely_on():
    assert batch_order([5, 9, 7, 3, 8, 6], 1.5, 2, seed=3) == [4, 1, 5, 2, 3, 0, 3, 5, 1]


def test_torn_checkpoints_do_not_count(tmp_path):
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / 'nowhere') is None
    for n in (2, 10, 30):
        (tmp_path / f'checkpoint-{n}').mkdir()
    for n in (2, 10):
        (tmp_path / f'checkpoint-{n}/trainer_state.json').touch()
    assert last_checkpoint(tmp_path).name == 'checkpoint-10'


def with_random_adapter(dtype=None, **options):
    "The tiny model under a LoRA that changes its answers"
    torch.manual_seed(0)
    adapted = get_peft_model(tiny(dtype), lora(**options))
    for name, weight in adapted.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(weight, std=0.05)
    return adapted


@pytest.mark.parametrize('dtype, eps', [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_merged_answers_like_adapted(dtype, eps):
    adapted = with_random_adapter(dtype)
    ids = torch.tensor([list(range(5, 25))])
    with torch.no_grad():
        want = adapted(ids).logits.float()
        assert torch.allclose(merge(adapted)(ids).logits.float(), want, atol=eps * want.abs().max().item())


@pytest.mark.parametrize('options', [dict(use_dora=True), dict(use_rslora=True)])
def test_what_is_not_plain_lora_is_merged_as_well(options):
    adapted = with_random_adapter(**options)
    ids = torch.tensor([list(range(5, 25))])
    with torch.no_grad():
        want = adapted(ids).logits
        assert torch.allclose(merge(adapted)(ids).logits, want, atol=1e-5 * want.abs().max().item())
        assert not torch.allclose(want, tiny()(ids).logits, atol=0.1)


def test_a_missing_column_is_named_with_its_maker():
    rows = Dataset.from_list([dict(a=1)])
    check_columns(rows, ['a'], 'nobody')
    with pytest.raises(ValueError, match=r"no column \['b', 'c'\]: make it with training_rows.pairs"):
        check_columns(rows, ['c', 'a', 'b'], 'training_rows.pairs')


def test_options_of_the_run_and_of_trl_are_told_apart(tmp_path):
    "What is no field of RunOptions goes to TRL, which refuses what it doesn't know"
    run = (_sft_classes(), tiny(), tokenizer, labelled_rows(4), [40] * 4, tmp_path)
    skip = dict(skip_prepare_dataset=True)
    with pytest.raises(TypeError, match='learning_rat'):
        run_trainer(*run, learning_rat=1.0, dataset_kwargs=skip)
    _, log = run_trainer(*run, batch_size=4, weight_decay=0.1, dataset_kwargs=skip)
    assert len(log) == 1
    assert RunOptions(batch_size=4, micro_batch_size=2).rows_per_pass == 2


def test_a_run_shows_how_far_it_is(tmp_path, monkeypatch):
    "A bar of all steps, which begins where a resumed run goes on; none where it is switched off"
    from rlops_lab.finetune import trl_runs

    bars = []

    class FakeBar:
        def __init__(self, total, initial=0, disable=False, **options):
            self.total, self.n, self.disable, self.closed, self.shown = total, initial, disable, False, {}
            self.begun = initial
            bars.append(self)

        def update(self, n):
            self.n += n

        def set_postfix(self, refresh=True, **shown):
            self.shown |= shown

        def close(self):
            self.closed = True

    monkeypatch.setattr(trl_runs, 'tqdm', FakeBar)
    skip = dict(skip_prepare_dataset=True)
    run = (_sft_classes(), tiny(), tokenizer, labelled_rows(12), [40] * 12, tmp_path)
    options = dict(batch_size=4, dataset_kwargs=skip, save_steps=1, learning_rate=1e-4)
    with pytest.raises(Killed):
        run_trainer(*run, **options, on_step=kill_at(2))
    run_trainer(*run, **options, resume=True)
    run_trainer(*run, **options, progress=False)
    assert [(bar.total, bar.begun, bar.disable) for bar in bars] == [(3, 0, False), (3, 1, False), (3, 0, True)]
    assert [bar.n for bar in bars[1:]] == [3, 3] and all(bar.closed for bar in bars[1:])
    assert set(bars[1].shown) == {'loss'}


@pytest.mark.parametrize('given, expected', [({}, []), (dict(report_to='tensorboard'), ['tensorboard'])])
def test_a_run_reports_to_trackers_that_are_named(tmp_path, monkeypatch, given, expected):
    from transformers import TrainerCallback

    asked, logged = [], []

    class FakeTracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append(logs)

    def callbacks(names):
        asked.extend(name for name in names if name != 'none')
        return [FakeTracker] if asked else []

    monkeypatch.setattr('transformers.trainer.get_reporting_integration_callbacks', callbacks)
    skip = dict(skip_prepare_dataset=True)
    run_trainer(_sft_classes(), tiny(), tokenizer, labelled_rows(4), [40] * 4, tmp_path, dataset_kwargs=skip, **given)
    assert asked == expected
    assert any('loss' in logs for logs in logged) is bool(expected)


@pytest.mark.parametrize('train', [sft, preference, kto, reward_model, classifier])
def test_every_training_shows_the_options_of_a_run(train):
    assert {'progress', 'report_to'} <= set(signature(train).parameters)
