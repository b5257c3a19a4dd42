"PPO under faults and in corners: roles of the backbone, gradients that must not leak, checkpoints, trackers, kills."

import math, os, signal, subprocess, sys
from pathlib import Path

import pytest, torch
from hypothesis import given, settings, strategies as st
from peft import LoraConfig
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlops_lab.core import Trajectory, read_jsonl, rng
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import scenarios
from rlops_lab.models.backbone import Backbone
from rlops_lab.models.load import load
from rlops_lab.ppo.advantages import gae, whiten
from rlops_lab.ppo.losses import policy_loss
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer

torch.set_num_threads(1)
SHAPE = dict(
    vocab_size=16,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)


def tiny(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, initializer_range=0.1)).to(dtype)


def lora(**kw):
    return LoraConfig(**(dict(r=4, lora_alpha=8, target_modules='all-linear') | kw))


def shaken(backbone, seed=1, size=0.05):
    "adapters away from their start, where the LoRA adds nothing"
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in backbone.policy_parameters() + backbone.critic_parameters():
            p.add_(size * torch.randn(p.shape, generator=g).to(p))
    return backbone


def episodes(n=8, seed=0, turns=2, **kw):
    "random episodes that pay 1 for each token 3"
    out = []
    for i in range(n):
        g = rng(seed, i)
        ids, tid = [1, 2], [-1, -1]
        rewards = []
        for k in range(turns):
            t = [*g.integers(3, 8, int(g.integers(1, 6))).tolist(), 0]
            ids += t
            tid += [k] * len(t)
            rewards.append(float(t.count(3)))
            if k < turns - 1:
                o = int(g.integers(1, 9))
                ids += [9] * o
                tid += [-1] * o
        mask = [int(k >= 0) for k in tid]
        ending = dict(terminated=True, stop_reason='done') | kw
        out.append(Trajectory(dict(task=i), [], ids, mask, [-2.77 * m for m in mask], tid, rewards, **ending))
    return out


class Offline(PPOTrainer):
    "samples nothing: episodes come from a seed, so that runs are quick"

    def collect(self, rows):
        return self.grade(episodes(self.args.episodes_per_update, seed=self.n_updates))


def trainer(model=None, peft_config='lora', rows=({},), **kw):
    args = PPOConfig(
        **(
            dict(
                num_updates=3,
                episodes_per_update=8,
                max_total_tokens=64,
                micro_batch_tokens=128,
                learning_rate=1e-3,
            )
            | kw
        )
    )
    return Offline(
        model or tiny(),
        args,
        train_dataset=rows,
        peft_config=lora() if peft_config == 'lora' else peft_config,
    )


def flat(parameters):
    return torch.cat([p.detach().flatten().clone() for p in parameters])


def timeless(r):
    return {k: v for k, v in r.items() if 'seconds' not in k and '_per_s' not in k}


# ---- settings
@pytest.mark.parametrize(
    'kw',
    [
        dict(gamma='length'),
        dict(gamma=None),
        dict(lam=None),
        dict(critic_lam='length'),
        dict(vf_coef=-1.0),
        dict(cliprange_value=0.0),
        dict(cliprange_value=-1.0),
        dict(save_every=-1, output_dir='x'),
        dict(learning_rate=math.inf),
        dict(kl_coef=math.inf),
        dict(num_updates=2.5),
        dict(episodes_per_update=8.5),
        dict(critic_warmup_updates=-1),
        dict(critic_epochs=-1, critic='head'),
        dict(rejection_bounds=(0,)),
        dict(rejection_bounds=0.5),
        dict(rejection_bounds=()),
        dict(reward_weights=[math.nan]),
        dict(clip_range=(0.2, math.nan)),
        dict(temperature=math.inf),
        dict(entropy_coef=-1.0),
        dict(critic_warmup_updates=10),
        dict(save_every=5),
        dict(stop_kl=0.1, kl_coef=0.0),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused_by_name(kw):
    with pytest.raises(ValueError, match=next(iter(kw))):
        PPOConfig(**kw)


def test_settings_at_their_edges_are_taken():
    for kw in (
        dict(gamma=0),
        dict(lam=1),
        dict(lam='length'),
        dict(critic_lam=None),
        dict(rejection_bounds=[0.0, 3.0]),
        dict(clip_range=[0.2, 0.28]),
        dict(vf_coef=0.0),
        dict(output_dir='x', save_every=1),
        dict(max_grad_norm=math.inf),
    ):
        PPOConfig(**kw)


# ---- backbone
def test_layers_without_adapters_run_once_and_change_nothing(monkeypatch):
    upper = lora(layers_to_transform=[1], target_modules=['q_proj', 'down_proj'])
    shared, alone = trainer(peft_config=upper), trainer(peft_config=upper)
    assert shared.backbone.shared_layers == 1
    monkeypatch.setattr(alone.backbone, 'shared_hidden', lambda *args: None)
    a, b = shared.update(episodes()), alone.update(episodes())
    assert a['first_ratio_error'] == b['first_ratio_error'] == 0
    for k in ('kl_k1', 'entropy', 'policy_loss', 'value_loss', 'policy_grad_norm', 'critic_grad_norm'):
        assert a[k] == pytest.approx(b[k], rel=1e-4, abs=1e-6)


def test_the_record_has_three_divergences_and_the_critics_clip():
    t = trainer(cliprange_value=1e-4, critic_learning_rate=1e-2, num_ppo_epochs=3)
    shaken(t.backbone)
    r = t.update(episodes())
    d = (t.scored['old'] - t.scored['reference'])[t.scored['mask']]
    for k, want in dict(k1=d, k2=d**2 / 2, k3=torch.expm1(-d) + d).items():
        assert r[f'kl_{k}'] == pytest.approx(want.mean().item(), rel=1e-4)
    assert (
        0 < r['value_clip_fraction'] < 1
        and trainer(cliprange_value=None).update(episodes())['value_clip_fraction'] == 0
    )


def test_roles_are_three_models_and_nest():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (1, 7))
    with torch.no_grad():
        out = {r: b.hidden(ids, r) for r in ('policy', 'reference', 'critic')}
        for x, y in (('policy', 'reference'), ('policy', 'critic'), ('reference', 'critic')):
            assert not torch.allclose(out[x], out[y], atol=1e-3)
        with b.role('critic'):
            with b.role('reference'):
                torch.testing.assert_close(
                    b.base.get_decoder()(input_ids=ids).last_hidden_state, out['reference']
                )
            torch.testing.assert_close(
                b.base.get_decoder()(input_ids=ids).last_hidden_state, out['critic']
            )  # another attention kernel: equal to rounding
        assert torch.equal(b.hidden(ids, 'policy'), out['policy'])
    with pytest.raises(ValueError, match='judge'):
        b.hidden(ids, 'judge')


def test_a_fresh_policy_is_the_reference_and_a_fresh_critic_says_zero():
    b = Backbone(tiny(), lora())
    ids = torch.randint(0, 16, (2, 7))
    with torch.no_grad():
        assert torch.equal(b.hidden(ids, 'policy'), b.hidden(ids, 'reference'))
        assert not b.values(b.hidden(ids, 'critic')).any()


def test_each_loss_reaches_its_own_adapter_only():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (2, 7))
    b.hidden(ids, 'policy').sum().backward()
    assert all(p.grad is not None for p in b.policy_parameters()) and all(
        p.grad is None for p in b.critic_parameters()
    )
    for p in b.policy_parameters():
        p.grad = None
    b.values(b.hidden(ids, 'critic')).sum().backward()
    assert all(p.grad is None for p in b.policy_parameters()) and all(
        p.grad is not None for p in b.critic_parameters()
    )
    assert all(
        p.grad is None and not p.requires_grad for n, p in b.model.named_parameters() if 'lora_' not in n
    )


def test_bfloat16_base_computes_in_bfloat16_with_float32_adapters():
    b = shaken(Backbone(tiny(torch.bfloat16), lora()))
    hidden = b.hidden(torch.randint(0, 16, (1, 7)), 'policy')
    hidden.float().sum().backward()
    assert hidden.dtype == torch.bfloat16 and {
        p.dtype for p in b.policy_parameters() + b.critic_parameters()
    } == {torch.float32}
    assert {p.grad.dtype for p in b.policy_parameters()} == {torch.float32}


def test_a_decoder_that_names_its_layers_otherwise_is_trained_the_usual_way():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    t = trainer(
        GPT2LMHeadModel(
            GPT2Config(
                vocab_size=16, n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=1, eos_token_id=0
            )
        )
    )
    before = flat(t.backbone.policy_parameters())
    r = t.update(episodes())
    assert (
        r['first_ratio_error'] == 0
        and 'flops_per_s_update' not in r
        and not torch.equal(before, flat(t.backbone.policy_parameters()))
    )


def test_padding_on_the_right_needs_no_mask():
    b = shaken(Backbone(tiny(), lora()))
    ids = torch.randint(0, 16, (1, 7))
    padded = torch.nn.functional.pad(ids, (0, 5))
    with torch.no_grad():
        torch.testing.assert_close(b.hidden(padded)[:, :7], b.hidden(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('critic', ['adapter', 'head', 'full'])
def test_saved_set_has_the_value_head(tmp_path, critic):
    b = shaken(Backbone(tiny(), lora(), critic=critic))
    b.save(tmp_path)
    other = Backbone(tiny(), lora(), critic=critic)
    other.load(tmp_path)
    assert torch.equal(flat(b.policy_parameters()), flat(other.policy_parameters()))
    assert torch.equal(flat(b.critic_parameters()), flat(other.critic_parameters()))
    (tmp_path / 'value_head.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='value_head'):
        other.load(tmp_path)


def test_loading_another_rank_is_an_error(tmp_path):
    Backbone(tiny(), lora()).save(tmp_path)
    with pytest.raises((ValueError, RuntimeError)):
        Backbone(tiny(), lora(r=8)).load(tmp_path)


def test_what_the_backbone_refuses():
    from peft import get_peft_model

    with pytest.raises(TypeError, match='merge_and_unload'):
        Backbone(get_peft_model(tiny(), lora()), lora())
    with pytest.raises(ValueError, match='float32'):
        Backbone(tiny(torch.bfloat16), None, critic='head')
    with pytest.raises(ValueError, match='use_dora'):
        Backbone(tiny(), lora(use_dora=True))
    with pytest.raises(ValueError, match='critic='):
        Backbone(tiny(), lora(), critic='both')
    with pytest.raises(ValueError, match='no weight of the model is trainable'):
        Backbone(tiny().requires_grad_(False), None, critic='head')


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(init_lora_weights='pissa'), "init_lora_weights='pissa'"),
        (dict(lora_bias=True), 'lora_bias=True'),
        (dict(modules_to_save=['lm_head']), 'modules_to_save'),
        (dict(bias='all'), "bias='all'"),
        (dict(trainable_token_indices=[1]), 'trainable_token_indices'),
        (dict(target_modules=['q_proj', 'lm_head']), 'output embeddings'),
    ],
)
@pytest.mark.parametrize('critic', ['adapter', 'head'])
def test_adapters_that_would_not_be_trained_or_would_change_the_reference_are_refused(change, text, critic):
    with pytest.raises(ValueError, match=text):
        Backbone(tiny(), lora(**change), critic=critic)


def test_adapters_of_another_kind_are_refused_and_other_plain_ones_are_not():
    from peft import IA3Config

    with pytest.raises(ValueError, match='peft_type'):
        Backbone(tiny(), IA3Config(target_modules=['k_proj'], feedforward_modules=[]), critic='head')
    for change in (
        dict(init_lora_weights='gaussian'),
        dict(use_rslora=True),
        dict(rank_pattern=dict(q_proj=2)),
        dict(target_modules=['q_proj', 'embed_tokens']),
        dict(lora_dropout=0.1),
    ):
        Backbone(tiny(), lora(**change))


@pytest.mark.parametrize(
    'make',
    [
        lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=1.0)),
        lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)),
    ],
)
def test_architectures_that_change_logits_after_the_head_are_refused(make):
    torch.manual_seed(0)
    model = make()
    model.get_output_embeddings().weight.data.mul_(50)
    with pytest.raises(ValueError, match='not supported'):
        Backbone(model, lora())


# ---- advantages and losses
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
def test_gae_ignores_observations_wherever_they_lie(seed, B, T, gamma, lam):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(B, T, generator=g) < 0.6
    r, v, cut = (
        torch.randn(B, T, generator=g) * mask,
        torch.randn(B, T, generator=g),
        torch.randn(B, generator=g),
    )
    full, targets = gae(r, v, mask, gamma, lam, cut)
    for b in range(B):
        on = mask[b]
        if not on.any():
            continue
        alone, _ = gae(
            r[b][on][None], v[b][on][None], torch.ones(1, int(on.sum())), gamma, lam, cut[b : b + 1]
        )
        torch.testing.assert_close(full[b][on], alone[0], atol=1e-4, rtol=1e-4)
    assert not full[~mask].any() and not targets[~mask].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_policy_loss_adds_up_over_any_split(seed, parts):
    g, n = torch.Generator().manual_seed(seed), sum(parts)
    new, old, adv = (torch.randn(n, generator=g) for _ in range(3))
    weights = torch.rand(n, generator=g).round()
    count = max(1.0, weights.sum().item())
    whole, stats = policy_loss(new, old, adv, weights, count)
    split = [
        policy_loss(new[at], old[at], adv[at], weights[at], count) for at in torch.arange(n).split(parts)
    ]
    torch.testing.assert_close(sum(l for l, _ in split), whole, atol=1e-4, rtol=1e-5)
    assert sum(s['n'] for _, s in split) == stats['n'] and sum(s['clip'] for _, s in split) == stats['clip']


def test_whitening_ignores_padding_of_any_size():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 5)
    wide = torch.nn.functional.pad(x, (0, 40), value=1e6), torch.nn.functional.pad(mask, (0, 40))
    torch.testing.assert_close(whiten(*wide)[:, :5], whiten(x, mask))


# ---- updates
def test_training_needs_no_tokenizer_and_no_messages():
    t = trainer()
    assert t.tokenizer is None
    r = t.update(episodes())
    assert r['first_ratio_error'] == 0 and r['optimizer_steps'] == 4


def test_two_runs_with_one_seed_are_one_run():
    runs = [[timeless(r) for r in trainer().steps()] for _ in range(2)]
    assert runs[0] == runs[1] and runs[0] != [timeless(r) for r in trainer(seed=1).steps()]


def test_warmup_trains_the_critic_only():
    t = trainer(critic_warmup_updates=1)
    policy, critic = flat(t.backbone.policy_parameters()), flat(t.backbone.critic_parameters())
    t.update(episodes())
    assert torch.equal(policy, flat(t.backbone.policy_parameters())) and not torch.equal(
        critic, flat(t.backbone.critic_parameters())
    )
    t.update(episodes())
    assert not torch.equal(policy, flat(t.backbone.policy_parameters()))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_critic_that_is_a_whole_model_trains_and_resumes(tmp_path, dtype):
    frozen = tiny(dtype).requires_grad_(False)  # as a user may bring it
    t = trainer(frozen, critic='full')
    before = [p.detach().clone() for p in t.backbone.critic_parameters()]
    t.step()
    t.save(tmp_path / 'c')
    moved = [not torch.equal(a, b) for a, b in zip(before, t.backbone.critic_parameters())]
    assert (
        len(moved) > 20
        and sum(moved) >= len(moved) - 1
        and {p.dtype for p in t.backbone.critic_parameters()} == {torch.float32}
    )  # an embedding may have no token of this batch
    again = trainer(tiny(dtype), critic='full').resume(tmp_path / 'c')
    assert timeless(again.step()) == timeless(t.step())


@pytest.mark.parametrize(
    'critic, warm_up', [('adapter', 0), ('adapter', 1), ('head', 0), ('head', 1), ('full', 0)]
)
def test_operations_are_those_of_a_hand_count(critic, warm_up):
    t = trainer(critic=critic, critic_warmup_updates=warm_up, num_ppo_epochs=2, num_mini_batches=2)
    r = t.step()
    n = [len(x.token_ids) for x in t.trajectories]
    tokens, actions = sum(n), sum(x.n_actions for x in t.trajectories)
    h, ffn, layers, kv = 32, 64, 2, 16
    weights = layers * (2 * h * h + 2 * h * kv + 3 * h * ffn)
    adapter = 4 * layers * (2 * (h + h) + 2 * (h + kv) + 3 * (h + ffn))  # rank 4 on all linear parts
    mixing = layers * sum(2 * 2 * h * k * (k + 1) / 2 for k in n)
    unread = (
        tokens - actions - len(n)
    )  # the last layer ends behind attention for tokens before no action and at no end
    through, fitted = (
        2 * tokens * weights - 2 * unread * (h * h + 3 * h * ffn),
        2 * tokens * adapter - 2 * unread * 4 * (2 * h + 3 * (h + ffn)),
    )
    policy = 2 * (through + 2 * actions * 16 * h) + 3 * (fitted + mixing)
    value = dict(
        adapter=2 * through + 3 * (fitted + mixing), head=0, full=3 * (2 * tokens * weights + mixing)
    )[critic]
    if warm_up:
        policy = through + fitted + mixing if critic == 'head' else 0
    assert r['flops_per_s_update'] * r['seconds_update'] == pytest.approx(2 * (policy + value), rel=1e-6)


def test_head_leaves_the_trunk_alone_unless_asked():
    def policy_after(**kw):
        t = trainer(critic='head', num_ppo_epochs=2, num_mini_batches=1, **kw)
        with torch.no_grad():
            t.backbone.value_head.weight.fill_(0.3)
        t.update(episodes())
        return flat(t.backbone.policy_parameters())

    assert torch.equal(policy_after(vf_coef=1.0), policy_after(vf_coef=5.0))
    assert not torch.equal(
        policy_after(vf_coef=1.0, detach_critic=False), policy_after(vf_coef=5.0, detach_critic=False)
    )


def test_training_the_whole_model_leaves_the_reference():
    t = trainer(peft_config=None, critic='head')
    ids = torch.randint(0, 16, (1, 9))
    with torch.no_grad():
        reference, policy = t.backbone.hidden(ids, 'reference'), t.backbone.hidden(ids, 'policy')
    assert torch.equal(reference, policy)
    t.update(episodes())
    with torch.no_grad():
        assert torch.equal(t.backbone.hidden(ids, 'reference'), reference)
        assert not torch.equal(t.backbone.hidden(ids, 'policy'), policy)


def test_reference_of_the_whole_model_keeps_its_own_output_embeddings():
    "The copy's hidden states go through the copy's head, not through the one that is being trained"
    model = tiny()
    frozen = tiny()
    t = trainer(model, None, critic='head')
    shaken(t.backbone)
    played = episodes(4)
    scored = t.score(played, t.plan(played, list(range(4))))
    for i, e in enumerate(played):
        with torch.no_grad():
            logprobs = frozen(torch.tensor([e.token_ids])).logits[0, :-1].log_softmax(-1)
        want = [logprobs[k - 1, x] for k, (x, m) in enumerate(zip(e.token_ids, e.action_mask)) if m]
        assert torch.allclose(scored['reference'][i, : len(want)], torch.stack(want), atol=1e-5)
        assert not torch.allclose(scored['old'][i, : len(want)], torch.stack(want), atol=1e-2)


def test_learning_rate_falls_to_zero_and_follows_edits():
    t = trainer(lr_scheduler_type='linear', num_updates=4)
    rates = [t.update(episodes())['learning_rate'] for _ in range(4)]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert t.update(episodes())['learning_rate'] == 0  # past its end, where it would be negative
    live = trainer()
    live.update(episodes())
    live.args.learning_rate = 5e-5
    assert live.update(episodes())['learning_rate'] == 5e-5


def test_kl_pulls_back_as_reward_and_as_loss():
    def drift(**kw):
        t = trainer(num_updates=8, learning_rate=3e-3, **kw)
        return [r for r in t.steps()][-1]

    free = drift(kl_coef=1e-6)
    for kind in ('k1', 'k2'):
        assert drift(kl_coef=1.0, kl_estimator=kind)['kl_k3'] < free['kl_k3']
    assert 'kl_k1' not in drift(kl_coef=0.0)


def test_cut_episodes_are_left_out_of_the_update_under_mask():
    t = trainer(truncation='mask')
    mixed = episodes(4) + episodes(4, seed=5, terminated=False, truncated=True)
    r = t.update(mixed)
    assert t.scored['rows'] == [0, 1, 2, 3] and r['truncated'] == 0.5 and r['episodes'] == 8
    with pytest.raises(ValueError, match='raise max_turns'):
        t.update(mixed[4:])
    with pytest.raises(ValueError, match='no sampled token'):
        t.update([])


def test_an_update_ends_before_it_goes_too_far():
    far = dict(learning_rate=0.1, num_mini_batches=4, num_ppo_epochs=3)
    assert trainer(**far).update(episodes())['optimizer_steps'] == 12
    assert 1 <= trainer(**far, target_kl=1e-4).update(episodes())['optimizer_steps'] < 12
    with pytest.raises(ValueError, match='target_kl'):
        PPOConfig(target_kl=0.0)


def test_an_update_may_end_before_its_first_step():
    far = episodes()
    for t in far:
        t.logprobs = [l - 1.0 if m else l for l, m in zip(t.logprobs, t.action_mask)]
    record = trainer(old_logprobs='sampler', target_kl=1e-6, num_mini_batches=4).update(far)
    assert (
        record['optimizer_steps'] == 0
        and record['policy_grad_norm'] == 0
        and math.isfinite(record['policy_loss'])
    )


def test_rows_may_be_given_to_a_step():
    seen = []

    class Told(Offline):
        def collect(self, rows):
            seen.extend(rows)
            return super().collect(rows)

    t = trainer(rows=[dict(a=1)])
    t.__class__ = Told
    t.step([dict(a=5)])
    t.step()
    assert seen == [dict(a=5)] + [dict(a=1)] * 8


def test_a_gradient_that_is_not_finite_stops_the_run():
    t = trainer()
    with torch.no_grad():
        t.backbone.value_head.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match='update 1: the policy gradient is nan'):
        t.update(episodes())
    with torch.no_grad():
        t.backbone.value_head.bias.zero_()
    assert timeless(t.update(episodes())) == timeless(
        trainer().update(episodes())
    )  # and leaves nothing behind


@pytest.mark.parametrize(
    'name, x',
    [('turn_rewards', math.nan), ('turn_rewards', math.inf), ('logprobs', math.nan), ('logprobs', -math.inf)],
)
def test_numbers_that_are_not_finite_are_refused_before_anything_is_computed(name, x):
    "A log-probability that is no number would leave its episode out of the gradient and say nothing"
    bad = episodes()
    getattr(bad[3], name)[-1] = x
    with pytest.raises(ValueError, match='episode 3 has a reward or a log-probability'):
        trainer().update(bad)


def test_an_interrupted_update_leaves_no_gradient_behind():
    t = trainer()
    backward = t._backward

    def interrupted(*args):
        backward(*args)
        raise KeyboardInterrupt

    t._backward = interrupted
    with pytest.raises(KeyboardInterrupt):
        t.update(episodes())
    t._backward = backward
    assert timeless(t.update(episodes())) == timeless(trainer().update(episodes()))


def test_reward_functions_weigh_abstain_and_keep_their_names():
    class Length:
        def __call__(self, trajectories, **_):
            return [float(t.n_actions) for t in trajectories]

    def sometimes(task, **_):
        return [None if i % 2 else 1.0 for i in task]

    t = trainer(reward_weights=None)
    t.reward_funcs, t.args.reward_weights = [Length(), sometimes], [1.0, 3.0]
    before, after = episodes(), t.grade(episodes())
    for i, (a, b) in enumerate(zip(before, after)):
        n = b.n_actions
        assert b.reward - a.reward == pytest.approx(n * 4.0 if i % 2 else n + 3.0) and b.scores == dict(
            Length=n, sometimes=None if i % 2 else 1.0
        )
    r = t.update(after)
    assert r['reward/sometimes'] == 1.0 and r['reward/Length'] == pytest.approx(
        sum(e.n_actions for e in after) / 8
    )


def constant(x, name='constant'):
    def f(trajectories, **_):
        return [x] * len(trajectories)

    f.__name__ = name
    return f


def paid(t, funcs, weights):
    "What functions add to each of two episodes' rewards"
    t.reward_funcs, t.args.reward_weights = funcs, weights
    return [b.reward - a.reward for a, b in zip(episodes(2), t.grade(episodes(2)))]


def test_a_penalty_stays_one_when_others_abstain_and_weights_may_cancel():
    t, silent, one = trainer(), constant(None, 'silent'), constant(1.0, 'one')
    assert paid(t, [silent, one], [1.0, -0.5]) == pytest.approx([-1.5] * 2)
    assert paid(t, [constant(2.0, 'two'), one], [1.0, -1.0]) == pytest.approx([1.0] * 2)
    assert (
        paid(t, [silent, one], [1.0, 0.0])
        == paid(t, [silent], None)
        == paid(t, [silent, one], [0.0, 0.0])
        == [0.0] * 2
    )


def test_reward_functions_are_told_apart_and_their_answers_checked():
    t = trainer()
    assert paid(t, [constant(1.0), constant(10.0)], [1.0, 2.0]) == pytest.approx(
        [21.0] * 2
    )  # set later, and so not refused: the sum is right all the same
    for bad, text in ((float('nan'), 'returned nan'), (float('inf'), 'returned inf')):
        with pytest.raises(ValueError, match=text):
            paid(t, [constant(bad)], None)
    with pytest.raises(ValueError, match='1 values for 2'):
        paid(t, [lambda **_: [1.0]], None)

    async def later(**_):
        return []

    for funcs, text in (
        ([constant(1.0), constant(2.0)], 'several are called constant'),
        (later, 'later is async'),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            Offline(
                tiny(),
                PPOConfig(max_total_tokens=64),
                reward_funcs=funcs,
                train_dataset=[{}],
                peft_config=lora(),
            )


def test_a_composed_reward_is_recorded_by_component():
    from rlops_lab.rewards.compose import WeightedSum

    t = trainer()
    t.reward_funcs = [
        WeightedSum([constant(1.0, 'one'), constant(None, 'silent')], min_answered=0.0, name='both')
    ]
    r = t.step()
    assert r['reward/both/one'] == 1.0 and r['reward/both'] == 2.0 and r['reward/both/silent'] is None


def test_data_order_is_a_permutation_of_each_pass():
    t = trainer(rows=[dict(i=i) for i in range(5)], episodes_per_update=4)
    seen = [r['i'] for u in range(5) for r in t.batch_rows(u)]
    assert all(sorted(seen[5 * e : 5 * e + 5]) == list(range(5)) for e in range(4)) and seen[:5] != seen[5:10]


# ---- checkpoints
def test_only_complete_checkpoints_and_only_the_newest_are_kept(tmp_path):
    t = trainer(output_dir=str(tmp_path), save_every=1, num_updates=4)
    (tmp_path / '.checkpoint-00003.tmp').mkdir()  # left by a kill in the middle of a save
    for _ in t.steps():
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'checkpoint-00003',
        'checkpoint-00004',
        'metrics.jsonl',
    ]
    t.save()  # over an existing one
    assert trainer(output_dir=str(tmp_path), num_updates=4).resume().n_updates == 4


def test_another_run_is_refused_by_name(tmp_path):
    trainer(output_dir=str(tmp_path), num_updates=1, save_every=1).train()
    with pytest.raises(ValueError, match='clip_range was 0.2 and is 0.3'):
        trainer(output_dir=str(tmp_path), clip_range=0.3).resume()
    with pytest.raises(ValueError, match='train_dataset'):
        trainer(output_dir=str(tmp_path), rows=[dict(x=1)]).resume()
    trainer(output_dir=str(tmp_path), num_updates=9).resume()  # going on for longer is no other run
    for text, change in (
        ('peft_config.lora_alpha was 8 and is 32', dict(peft_config=lora(lora_alpha=32))),
        ('peft_config.r was 4 and is 8', dict(peft_config=lora(r=8))),
        ('model was', dict(model=tiny(seed=5))),
        ('peft_config.r was 4 and is None', dict(peft_config=None, critic='head')),
    ):
        with pytest.raises(ValueError, match=text):
            trainer(output_dir=str(tmp_path), **change).resume()
    paid = trainer(output_dir=str(tmp_path))
    paid.reward_funcs = [constant(1.0)]
    with pytest.raises(ValueError, match='reward_funcs was .* and is .*constant'):
        paid.resume()


@pytest.mark.parametrize(
    'file',
    [
        'identity.json',
        'files.json',
        'trainer.pt',
        'value_head.safetensors',
        'policy/adapter_model.safetensors',
        'critic/adapter_model.safetensors',
        'policy/adapter_config.json',
    ],
)
def test_any_damage_to_the_newest_checkpoint_is_found(tmp_path, file):
    trainer(output_dir=str(tmp_path), num_updates=2, save_every=1).train()
    path = tmp_path / 'checkpoint-00002' / file
    whole = path.read_bytes()
    for damaged in (
        None,
        b'',
        whole[: len(whole) // 2],
        b'\xff' * len(whole),
        whole[:-8] + bytes(8),
    ):  # the last one leaves the format intact where it ends with numbers
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.warns(UserWarning, match='checkpoint-00002 is damaged .* going back to checkpoint-00001'):
            assert trainer(output_dir=str(tmp_path)).resume().n_updates == 1
    with pytest.raises(OSError):
        trainer(output_dir=str(tmp_path)).resume(tmp_path / 'checkpoint-00002')


def test_a_new_run_in_the_folder_of_an_old_one_is_refused(tmp_path):
    "Its first checkpoints would be the oldest by number, and be deleted as they are written"
    trainer(output_dir=str(tmp_path), num_updates=3, save_every=1).train()
    with pytest.raises(FileExistsError, match='choose another output_dir'):
        trainer(output_dir=str(tmp_path), num_updates=1, save_every=1).train()
    assert len(trainer(output_dir=str(tmp_path), num_updates=4).resume().train()) == 1
    fresh = trainer(output_dir=str(tmp_path / 'new'), num_updates=1, save_every=1)
    fresh.save()
    fresh.train()  # what it wrote itself is no other run


KILLED = '''
import sys; sys.path.insert(0, {tests!r})
from test_trainer import trainer
t = trainer(output_dir=sys.argv[1], num_updates=6, save_every=1)
if len(sys.argv)>2: t.resume()
for r in t.steps(): print(r['update'], flush=True)
'''


def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path):
    code, env = KILLED.format(tests=str(Path(__file__).parent)), os.environ | dict(OMP_NUM_THREADS='1')
    child = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert any(line.strip() == '2' for line in child.stdout)
    child.send_signal(signal.SIGKILL)
    child.wait()
    again = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path), 'resume'], capture_output=True, text=True, env=env
    )
    assert again.returncode == 0, again.stderr[-2000:]
    want = [timeless(r) for r in trainer(num_updates=6).steps()]
    assert [timeless(r) for r in read_jsonl(tmp_path / 'metrics.jsonl')] == want


KILLS_ITSELF = '''
import os, signal, sys; sys.path.insert(0, {tests!r})
import test_trainer
from rlops_lab.samplers.local import HFSampler
folder, where, update = sys.argv[1], sys.argv[2], int(sys.argv[3])
t = test_trainer.playing(folder)
owner, name, call = dict(rollout=(HFSampler, 'pick', 5), score=(type(t.backbone), 'values', 2), update=(type(t), '_backward', 3), save=(type(t.backbone), 'state', 1)).get(where, (None, None, 0))
if owner:
    real, calls = getattr(owner, name), []
    def deadly(self, *args, **kw):
        out = real(self, *args, **kw)
        if t.n_updates==update-(where!='save'):
            calls.append(1)
            if len(calls)==call: os.kill(os.getpid(), signal.SIGKILL)
        return out
    setattr(owner, name, deadly)
if os.listdir(folder): t.resume()
for r in t.steps(): pass
'''


def checksum(trajectories, **_):
    return [sum(t.token_ids) % 11 for t in trajectories]


def playing(folder=None):
    "A run that samples its episodes, with several micro-batches"
    model, tokenizer = load('tiny')
    args = PPOConfig(
        num_updates=5,
        episodes_per_update=6,
        max_turns=2,
        max_tokens_per_turn=8,
        max_total_tokens=320,
        micro_batch_tokens=400,
        learning_rate=1e-3,
        report_to=None,
        **dict(output_dir=str(folder), save_every=1) if folder else {},
    )
    return PPOTrainer(model, args, SupportDesk, checksum, scenarios(15, 'train'), tokenizer, lora())


def test_killed_in_each_phase_and_resumed_is_the_uninterrupted_run(tmp_path):
    "SIGKILL in the middle of a rollout, of scoring, of an optimizer step's micro-batches and of writing a checkpoint"
    code, env = KILLS_ITSELF.format(tests=str(Path(__file__).parent)), os.environ | dict(OMP_NUM_THREADS='1')
    for update, where in enumerate(('rollout', 'score', 'update', 'save', 'nowhere'), 2):
        child = subprocess.run(
            [sys.executable, '-c', code, str(tmp_path), where, str(update)],
            capture_output=True,
            text=True,
            env=env,
        )
        assert child.returncode == (0 if where == 'nowhere' else -signal.SIGKILL), (
            f'{where}: {child.stderr[-2000:]}'
        )
        if where != 'nowhere':
            assert len(read_jsonl(tmp_path / 'metrics.jsonl')) == update - (where != 'save'), (
                f'killed elsewhere than in {where} of update {update}'
            )
    assert [timeless(r) for r in read_jsonl(tmp_path / 'metrics.jsonl')] == [
        timeless(r) for r in playing().steps()
    ]


def test_trackers_of_accelerate_get_every_record(tmp_path):
    from accelerate.tracking import GeneralTracker

    class Memory(GeneralTracker):
        name, requires_logging_directory = 'memory', False

        def __init__(self):
            super().__init__()
            self.config, self.logged = {}, []

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            self.config = values

        def log(self, values, step=None, **_):
            self.logged.append((step, values))

    memory = Memory()
    t = trainer(report_to=memory)
    t.train()
    assert [s for s, _ in memory.logged] == [1, 2, 3] and all('reward' in v for _, v in memory.logged)


def test_a_tracker_that_is_not_installed_is_an_error(monkeypatch):
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, 'get_available_trackers', lambda: [])
    with pytest.raises(ImportError, match="report_to='tensorboard'"):
        trainer(report_to='tensorboard')


# ---- options of an update, and the watch over a run
@pytest.mark.parametrize(
    'options',
    [
        dict(credit='turn'),
        dict(lam='length'),
        dict(critic_lam=1.0),
        dict(clip_range=(0.2, 0.28), dual_clip=3.0),
        dict(entropy_coef=0.01),
        dict(importance_level='geometric', rejection_bounds=(0.5, 2.0)),
        dict(critic='head', critic_epochs=3),
    ],
)
def test_every_option_changes_the_update_and_keeps_the_first_ratio(options):
    plain, other = trainer(learning_rate=1e-2), trainer(learning_rate=1e-2, **options)
    shaken(plain.backbone)
    shaken(other.backbone)
    a, b = [[t.update(episodes(16, seed=i)) for i in range(2)][-1] for t in (plain, other)]
    assert b['first_ratio_error'] == 0
    assert any(
        a[k] != b[k]
        for k in (
            'policy_loss',
            'value_loss',
            'approx_kl',
            'policy_grad_norm',
            'rejected',
            'explained_variance',
        )
    )


def test_capped_and_rejected_are_counted_at_the_level_in_force():
    "A sequence whose product is over the cap though no token's ratio is, and one whose mean is over a bound"
    far = episodes()
    t = trainer(importance_level='sequence')
    s = t.score(far, t.plan(far, list(range(8))))
    for i, e in enumerate(far):  # each token's ratio is 1.5 in the first half of the episodes, 1 in the rest
        old = iter(s['old'][i].tolist())
        e.logprobs = [next(old) - (math.log(1.5) if i < 4 else 0.0) if m else 0.0 for m in e.action_mask]
    share = sum(e.n_actions for e in far[:4]) / sum(e.n_actions for e in far)
    r = trainer(importance_level='sequence').update(far)
    assert (
        all(e.n_actions > 1 for e in far)
        and r['importance_capped'] == pytest.approx(share)
        and r['rejected'] == 0
    )
    assert trainer().update(far)['importance_capped'] == 0  # 1.5 is below the cap of 2
    r = trainer(importance_level='geometric', rejection_bounds=(0.7, 1.4)).update(far)
    assert r['rejected'] == pytest.approx(share) and r['importance_capped'] == 0


def test_what_the_trainer_sets_is_no_rollout_option():
    for name in ('temperature', 'seed', 'max_turns'):
        with pytest.raises(ValueError, match=f'rollout_options has {name}'):
            PPOTrainer(
                tiny(),
                PPOConfig(max_total_tokens=64),
                train_dataset=[{}],
                peft_config=lora(),
                rollout_options={name: 1},
            )


def test_an_entropy_bonus_keeps_entropy_up():
    def after(coef):
        t = trainer(entropy_coef=coef, learning_rate=1e-2, num_updates=8, kl_coef=0.0)
        t.backbone.output_embeddings.data.mul_(4)
        return [r['entropy'] for r in t.steps()][-1]

    assert after(0.5) > after(0.0) + 0.01


def test_the_kl_price_follows_its_target_and_a_checkpoint_remembers_it(tmp_path):
    free = trainer(
        kl_target=1e-6,
        kl_horizon=1.0,
        kl_coef=0.1,
        learning_rate=3e-2,
        num_updates=4,
        output_dir=str(tmp_path),
        save_every=2,
    )
    prices = [r['kl_coef'] for r in free.steps()]
    assert prices[0] == 0.1 and prices[-1] != 0.1
    again = trainer(
        kl_target=1e-6,
        kl_horizon=1.0,
        kl_coef=0.1,
        learning_rate=3e-2,
        num_updates=4,
        output_dir=str(tmp_path),
        save_every=2,
    ).resume()
    assert again.args.kl_coef == pytest.approx(free.args.kl_coef) and again.n_updates == 4


def test_a_run_that_leaves_its_reference_ends():
    t = trainer(stop_kl=1e-7, learning_rate=5e-2, num_updates=6)
    records = list(t.steps())
    assert len(records) < 6 and 'stop_kl=1e-07' in t.stopped


def test_a_run_that_ends_early_keeps_its_last_state(tmp_path):
    t = trainer(stop_kl=1e-7, learning_rate=5e-2, num_updates=6, output_dir=str(tmp_path), save_every=6)
    t.train()
    assert [p.name for p in tmp_path.glob('checkpoint-*')] == [
        f'checkpoint-{t.n_updates:05d}'
    ] and t.n_updates < 6


class Measured(Offline):
    "held-out episodes whose figure is given"

    def evaluate(self, rows=None):
        return [
            Trajectory(
                {},
                [],
                [1, 2],
                [0, 1],
                [0.0, 0.0],
                [-1, 0],
                [0.0],
                kpis=dict(verified_resolution=float(i < self.passed[self.n_updates - 1])),
                terminated=True,
            )
            for i in range(200)
        ]

    def collect(self, rows):
        paid = episodes(16, seed=self.n_updates)
        for i, t in enumerate(paid):
            t.turn_rewards[-1] += 5 * self.n_updates
        return paid


def measured(path, passed, **kw):
    args = PPOConfig(
        num_updates=len(passed),
        episodes_per_update=8,
        max_total_tokens=64,
        micro_batch_tokens=128,
        output_dir=str(path),
        eval_every=1,
        **kw,
    )
    t = Measured(tiny(), args, train_dataset=[{}], eval_dataset=[{}], peft_config=lora())
    t.passed = passed
    return t


def test_the_best_measurement_is_kept_and_hacking_is_said_aloud(tmp_path):
    t = measured(tmp_path, [120, 160, 90])
    with pytest.warns(UserWarning, match='rose from .* fell from 80% of 200 to 45% of 200'):
        records = list(t.steps())
    assert [round(r['eval/kpi/verified_resolution'], 2) for r in records] == [0.6, 0.8, 0.45]
    assert measured(tmp_path, [120, 160, 90]).resume(tmp_path / 'best').n_updates == 2


def test_a_figure_that_is_no_share_raises_the_alarm_too(tmp_path):
    t = measured(tmp_path, [1, 2, 3], metric_for_best='kpi/stars')
    plain = t.evaluate

    def stars(rows=None):
        played = plain()
        for i, e in enumerate(played):
            e.kpis['stars'] = [3.0, 4.5, 2.0][t.n_updates - 1] + i % 2
        return played

    t.evaluate = stars
    with pytest.warns(UserWarning, match='rose from .* mean fell from 5 of 200 to 2.5 of 200'):
        list(t.steps())


def test_a_metric_that_nobody_measures_is_an_error_with_those_there_are(tmp_path):
    with (
        pytest.warns(UserWarning, match='none of the first update'),
        pytest.raises(ValueError, match='kpi/verified_resolution, reward'),
    ):
        list(measured(tmp_path / 'a', [1], metric_for_best='kpi/happiness').steps())
    with pytest.raises(ValueError, match='give an eval_dataset'):
        trainer(eval_every=1, output_dir=str(tmp_path))


def test_a_metric_that_abstains_everywhere_is_said_and_not_compared(tmp_path):
    t = measured(tmp_path, [1, 2], metric_for_best='reward/judge')
    plain = t.evaluate

    def silent(rows=None):
        played = plain()
        for e in played:
            e.scores['judge'] = None
        return played

    t.evaluate = silent
    with pytest.warns(UserWarning, match='update 2: reward/judge abstained on all 200'):
        records = list(t.steps())
    assert (
        'eval/kpi/verified_resolution' in records[-1]
        and 'eval/reward/judge' not in records[-1]
        and not t.history
        and not (tmp_path / 'best').exists()
    )


# ---- a reward model as one more adapter
def reward_adapter(path, model, seed=0, **where):
    "An adapter with its head, as `finetune.reward_model` keeps it, with random weights"
    import copy, json
    from peft import get_peft_model
    from transformers import LlamaForSequenceClassification
    from rlops_lab.models.lora import fingerprint

    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    config.num_labels, config.pad_token_id = 1, 15
    scorer = LlamaForSequenceClassification(config)
    scorer.model = copy.deepcopy(model.model)
    peft = get_peft_model(
        scorer,
        LoraConfig(
            task_type='SEQ_CLS',
            r=4,
            target_modules=['q_proj', 'down_proj'],
            modules_to_save=['score'],
            **where,
        ),
    )
    with torch.no_grad():
        for n, p in peft.named_parameters():
            if 'lora_B' in n or 'modules_to_save' in n:
                p.normal_(std=0.3)
    peft.save_pretrained(path)
    (path / 'base.json').write_text(json.dumps(dict(fingerprint=fingerprint(model))))
    return peft.eval()


@pytest.mark.parametrize('upper', [True, False])
def test_a_reward_model_joins_the_backbone_and_says_the_same(tmp_path, upper):
    model = tiny()
    scorer = reward_adapter(tmp_path, model)
    config = lora(target_modules=['q_proj', 'v_proj'], layers_to_transform=[1]) if upper else lora()
    b = shaken(Backbone(model, config))
    before = [b.hidden(torch.tensor([[1, 2, 3]]), r).detach() for r in ('policy', 'reference', 'critic')]
    shared = b.shared_layers
    b.add_reward(tmp_path)
    assert b.shared_layers == 0 and shared == int(upper)  # the reward model's adapter sits on every layer
    for was, r in zip(before, ('policy', 'reference', 'critic')):
        torch.testing.assert_close(b.hidden(torch.tensor([[1, 2, 3]]), r), was)
    assert not any('reward' in n for n, p in b.model.named_parameters() if p.requires_grad)
    assert len(b.policy_parameters()) == len([n for n, _ in b.model.named_parameters() if '.policy.' in n])
    rows = [[1, 5, 3, 0], [1, 7]]
    with torch.no_grad():
        want = torch.tensor([scorer(input_ids=torch.tensor([r])).logits.item() for r in rows])
    torch.testing.assert_close(
        b.rewards(torch.tensor([[1, 5, 3, 0], [1, 7, 0, 0]]), [4, 2]), want, atol=1e-4, rtol=1e-4
    )


def test_ppo_optimises_the_reward_model_and_keeps_the_environments_reward_beside_it(tmp_path):
    model = tiny()
    reward_adapter(tmp_path, model)
    t = Offline(
        model,
        PPOConfig(num_updates=1, episodes_per_update=8, max_total_tokens=64, micro_batch_tokens=128),
        train_dataset=[{}],
        peft_config=lora(),
        reward_model=tmp_path,
    )
    paid = [x.reward for x in episodes(8, seed=0)]
    record = t.step()
    assert [x.scores['environment'] for x in t.trajectories] == paid and [
        x.reward for x in t.trajectories
    ] == [x.scores['reward_model'] for x in t.trajectories]
    assert (
        record['first_ratio_error'] == 0
        and record['reward'] == pytest.approx(record['reward/reward_model'])
        and record['reward/environment'] == pytest.approx(sum(paid) / 8)
    )
    assert [x.turn_rewards[0] for x in t.trajectories] == [0.0] * 8


def judged(tmp_path, dtype=torch.float32, packs=True, **settings):
    "A trainer whose reward model has adapters on the upper layer only, and how many rows its trunk computes"
    if not (tmp_path / 'base.json').exists():
        reward_adapter(tmp_path, tiny(dtype), layers_to_transform=[1])
    t = Offline(
        tiny(dtype),
        PPOConfig(
            **(
                dict(num_updates=1, episodes_per_update=8, max_total_tokens=64, micro_batch_tokens=128)
                | settings
            )
        ),
        train_dataset=[{}],
        peft_config=lora(target_modules=['q_proj', 'up_proj'], layers_to_transform=[1]),
        reward_model=tmp_path,
    )
    trunk, t.computed, t.backbone.packs = t.backbone.shared_hidden, [], packs
    t.backbone.shared_hidden = lambda ids, lengths: t.computed.append(len(ids)) or trunk(ids, lengths)
    return t


@pytest.mark.parametrize('packs', [True, False])
@pytest.mark.parametrize('mini_batches', [1, 2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_what_the_reward_model_computed_in_the_shared_layers_serves_the_update(
    tmp_path, mini_batches, dtype, packs
):
    def run(training):
        t = judged(tmp_path, dtype, packs, num_mini_batches=mini_batches)
        record = t.update(t.grade(episodes(8), training))
        assert (
            not t.trunks
            and record['first_ratio_error'] == 0
            and record['flops_per_s_score'] * record['seconds_score'] > 0
        )
        return timeless(record), flat(t.backbone.policy_parameters()), sum(t.computed)

    (record, weights, n), (again, same, m) = run(True), run(False)
    assert (n, m) == (8, 16)
    if dtype == torch.float32:
        torch.testing.assert_close(weights, same, atol=1e-6, rtol=1e-4)
    if mini_batches == 1:
        assert torch.equal(weights, same) and record == again  # the same rows met in the same shapes


def test_states_of_the_shared_layers_serve_the_very_episodes_they_are_of(tmp_path):
    def updated(change):
        t, played = judged(tmp_path), episodes(8)
        t.grade(played, training=True)
        change(played)
        t.update(played)
        return sum(t.computed) - 8, flat(t.backbone.policy_parameters())

    def another_token(played):
        played[0].token_ids[0] = 4

    def shorter(played):
        for name in ('token_ids', 'action_mask', 'logprobs', 'turn_ids'):
            getattr(played[0], name).pop()

    def others(played):
        played += episodes(12)[8:]

    def copies(played):
        played[:] = [type(t)(**vars(t)) for t in played]

    def twice(played):
        played[1] = played[0]

    assert updated(lambda played: None)[0] == 0 and updated(copies)[0] == 8
    assert {
        change.__name__: updated(change)[0] for change in (another_token, shorter, others, twice)
    } == dict(another_token=4, shorter=4, others=12, twice=0)  # rows of the micro-batches they are in
    weights = {}
    for training in (True, False):
        t, played = judged(tmp_path), episodes(8)
        t.grade(played, training)
        another_token(played)
        t.update(played)
        weights[training] = flat(t.backbone.policy_parameters())
    torch.testing.assert_close(weights[True], weights[False], atol=1e-6, rtol=1e-4)


def test_what_is_only_measured_leaves_no_states_behind(tmp_path):
    t = judged(tmp_path)
    t.grade(episodes(3))
    assert not t.trunks
    t.grade(episodes(3), training=True)
    assert len(t.trunks) == 3
    t.grade(episodes(3))
    assert not t.trunks


def test_another_reward_model_or_other_held_out_rows_make_another_run(tmp_path):
    args = PPOConfig(
        num_updates=1,
        episodes_per_update=8,
        max_total_tokens=64,
        micro_batch_tokens=128,
        output_dir=str(tmp_path / 'run'),
        eval_every=1,
        metric_for_best='reward',
    )
    for seed in (0, 1):
        reward_adapter(tmp_path / f'{seed}', tiny(), seed)

    def run(seed=0, held_out=({},)):
        return Offline(
            tiny(),
            args,
            train_dataset=[{}],
            eval_dataset=held_out,
            peft_config=lora(),
            reward_model=None if seed is None else tmp_path / f'{seed}',
        )

    run().save(tmp_path / 'saved')
    assert run().resume(tmp_path / 'saved').n_updates == 0
    for change, text in (
        (dict(seed=1), 'reward_model was'),
        (dict(seed=None), 'reward_model was .* and is None'),
        (dict(held_out=[dict(x=1)]), 'eval_dataset was'),
    ):
        with pytest.raises(ValueError, match=text):
            run(**change).resume(tmp_path / 'saved')


def test_a_reward_model_of_another_base_or_without_adapters_is_refused(tmp_path):
    reward_adapter(tmp_path, tiny())
    with pytest.raises(ValueError, match='another base'):
        Backbone(tiny(seed=1), lora()).add_reward(tmp_path)
    with pytest.raises(ValueError, match='frozen base'):
        Backbone(tiny(), None, critic='head').add_reward(tmp_path)
    with pytest.raises(FileNotFoundError, match='adapter_dir'):
        Backbone(tiny(), lora()).add_reward(tmp_path / 'nothing')


# ---- several environments, and factories that remember
class Desk:
    "One reply"

    def reset(self, word):
        self.done, self.user = False, self._hear
        return word

    def _hear(self, text):
        self.done = True

    def get_reward(self) -> float:
        return 1.0


class Bank(Desk):
    def get_reward(self) -> float:
        return 3.0


class Harder:
    "Makes an environment that is one harder than the last"

    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return Bank()

    def state_dict(self):
        return dict(made=self.made)

    def load_state_dict(self, state):
        self.made = state['made']


def mixed(folder, harder):
    from rlops_lab.models.load import load

    model, tokenizer = load('tiny')
    rows = [
        dict(word=w, environment='desk' if i % 3 else 'bank')
        for i, w in enumerate('one two three four five six'.split())
    ]
    args = PPOConfig(
        output_dir=str(folder),
        num_updates=2,
        episodes_per_update=6,
        max_turns=1,
        max_tokens_per_turn=8,
        max_total_tokens=64,
        save_every=1,
    )
    return PPOTrainer(
        model,
        args,
        dict(desk=Desk, bank=harder),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora(),
    )


def test_a_batch_of_several_environments_and_a_factory_that_remembers(tmp_path):
    harder = Harder()
    t = mixed(tmp_path, harder)
    r = t.step()
    assert (r['reward/desk'], r['reward/bank'], r['reward']) == (1, 3, pytest.approx((4 * 1 + 2 * 3) / 6))
    assert {x.lineage.environment for x in t.trajectories} == {'Desk', 'Bank'}
    made = harder.made
    assert made >= 2
    t.step()
    fresh = Harder()
    again = mixed(tmp_path, fresh).resume(tmp_path / 'checkpoint-00001')
    assert fresh.made == made and again.n_updates == 1
    with pytest.raises(ValueError, match="environment=None"):
        PPOTrainer(
            'tiny',
            PPOConfig(),
            dict(desk=Desk),
            train_dataset=[dict(word='x')],
            processing_class=again.tokenizer,
            peft_config=lora(),
        )
