"One update under faults and in corners: what it trains, when it ends, what it leaves behind"

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import episodes, flat, shaken, timeless, trainer

from rlops_lab.ppo import update
from rlops_lab.ppo.advantages import gae, whiten
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.losses import policy_loss


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
    torch.testing.assert_close(sum(loss_part for loss_part, _ in split), whole, atol=1e-4, rtol=1e-5)
    assert sum(s['n'] for _, s in split) == stats['n'] and sum(s['clip'] for _, s in split) == stats['clip']


def test_whitening_ignores_padding_of_any_size():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 5)
    wide = torch.nn.functional.pad(x, (0, 40), value=1e6), torch.nn.functional.pad(mask, (0, 40))
    torch.testing.assert_close(whiten(*wide)[:, :5], whiten(x, mask))


def test_training_needs_no_tokenizer_and_no_messages():
    t = trainer()
    assert t.tokenizer is None
    r = t.update(episodes())
    assert r['first_ratio_error'] == 0 and r['optimizer_steps'] == 4


def test_warmup_trains_the_critic_only():
    t = trainer(critic_warmup_updates=1)
    policy, critic = flat(t.backbone.policy_parameters()), flat(t.backbone.critic_parameters())
    t.update(episodes())
    assert torch.equal(policy, flat(t.backbone.policy_parameters())) and not torch.equal(
        critic, flat(t.backbone.critic_parameters())
    )
    t.update(episodes())
    assert not torch.equal(policy, flat(t.backbone.policy_parameters()))


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
    assert t.scored.rows == [0, 1, 2, 3] and r['truncated'] == 0.5 and r['episodes'] == 8
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
        t.logprobs = [lp - 1.0 if m else lp for lp, m in zip(t.logprobs, t.action_mask)]
    record = trainer(old_logprobs='sampler', target_kl=1e-6, num_mini_batches=4).update(far)
    assert (
        record['optimizer_steps'] == 0
        and record['policy_grad_norm'] == 0
        and math.isfinite(record['policy_loss'])
    )


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


def test_an_interrupted_update_leaves_no_gradient_behind(monkeypatch):
    t, backward = trainer(), update.backward

    def interrupted(*args):
        backward(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(update, 'backward', interrupted)
        with pytest.raises(KeyboardInterrupt):
            t.update(episodes())
    assert timeless(t.update(episodes())) == timeless(trainer().update(episodes()))


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


def test_an_entropy_bonus_keeps_entropy_up():
    def after(coef):
        t = trainer(entropy_coef=coef, learning_rate=1e-2, num_updates=8, kl_coef=0.0)
        t.backbone.output_embeddings.data.mul_(4)
        return [r['entropy'] for r in t.steps()][-1]

    assert after(0.5) > after(0.0) + 0.01
