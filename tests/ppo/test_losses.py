"The losses against slow, plain re-implementations, exact enumeration, and inputs that must not count"

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.ppo.losses import (
    AdaptiveKL,
    importance_weights,
    kl_estimate,
    mismatch_report,
    policy_loss,
    token_logprobs,
    value_loss,
)

torch.set_num_threads(1)
examples = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 10_000)
parts = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def close(a, b):
    a, b = (torch.as_tensor(x, dtype=torch.float32) for x in (a, b))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def distribution(g, n=6):
    return torch.log_softmax(torch.randn(n, generator=g), -1)


def batch(seed, n):
    "current, old, advantages and weights of n tokens, half of the weights 0"
    g = generator(seed)
    new, old, advantages = (torch.randn(n, generator=g) for _ in range(3))
    return new, old, advantages, torch.rand(n, generator=g) * (torch.rand(n, generator=g) < 0.5)


# ---- policy
def plain(ratio, advantage, low, high, dual):
    "the objective of one token, in Python, as the papers write it"
    objective = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
    return max(objective, dual * advantage) if dual and advantage < 0 else objective


@examples
@given(
    seeds, st.integers(1, 30), st.floats(0.05, 0.9), st.floats(0.05, 0.9), st.sampled_from([None, 2.0, 3.0])
)
def test_policy_loss_is_the_papers_formula(seed, n, low, high, dual):
    new, old, advantages, weights = batch(seed, n)
    loss, stats = policy_loss(new, old, advantages, weights, n, (low, high), dual)
    tokens = [
        (math.exp(a - b), adv, w)
        for a, b, adv, w in zip(new.tolist(), old.tolist(), advantages.tolist(), weights.tolist())
    ]
    close(loss, -sum(w * plain(r, a, low, high, dual) for r, a, w in tokens) / n)
    on = [(r, a) for r, a, w in tokens if w > 0]
    assert stats['n'] == len(on)
    assert stats['clip_low'] == sum(a < 0 and r < 1 - low for r, a in on) and stats['clip_high'] == sum(
        a > 0 and r > 1 + high for r, a in on
    )
    assert stats['clip'] == stats['clip_low'] + stats['clip_high']
    assert stats['dual_clip'] == sum(a < 0 and r > (dual or math.inf) for r, a in on)
    close(stats['kl'], sum(r - 1 - math.log(r) for r, _ in on))
    close(stats['ratio'], sum(r for r, _ in on))


@examples
@given(seeds, st.integers(1, 30), st.sampled_from([None, 2.0]))
def test_clipped_tokens_have_no_gradient_and_all_others_have(seed, n, dual):
    new, old, advantages, weights = batch(seed, n)
    new.requires_grad_()
    loss, stats = policy_loss(new, old, advantages, weights, n, 0.2, dual)
    gradient = torch.autograd.grad(loss, new)[0]
    assert (gradient != 0).sum() == stats['n'] - stats['clip'] - stats['dual_clip']
    alive = gradient != 0
    close(gradient[alive], (-weights * advantages * (new - old).exp() / n)[alive].detach())


@examples
@given(seeds, parts, st.sampled_from([0.2, (0.1, 0.3), [0.2, 0.28]]), st.sampled_from([None, 1.5]))
def test_the_log_adds_up_over_any_split(seed, parts, clip_range, dual):
    n = sum(parts)
    data = batch(seed, n)
    loss, stats = policy_loss(*data, n, clip_range, dual)
    split = [policy_loss(*(x[at] for x in data), n, clip_range, dual) for at in torch.arange(n).split(parts)]
    close(sum(loss_part for loss_part, _ in split), loss)
    for k, v in stats.items():
        close((max if k in ('ratio_max', 'ratio_error') else sum)(s[k] for _, s in split), v)


@pytest.mark.parametrize('garbage', [math.nan, math.inf, -math.inf, 1e30])
def test_what_has_no_weight_has_no_part(garbage):
    new, old, advantages, weights = batch(1, 20)
    off = weights == 0
    want, stats = policy_loss(new, old, advantages, weights, 20)
    x = torch.where(off, garbage, new).requires_grad_()
    loss, same = policy_loss(x, old, advantages, weights, 20)
    assert loss == want and same == stats
    gradient = torch.autograd.grad(loss, x)[0]
    assert gradient.isfinite().all() and not gradient[off].any()


def test_a_pair_of_equal_bounds_is_one_bound_and_double_precision_works():
    data = batch(2, 20)
    assert policy_loss(*data, 20, (0.2, 0.2)) == policy_loss(*data, 20, 0.2)
    double, stats = policy_loss(*(x.double() for x in data), 20, 0.2, 3.0)
    close(double, policy_loss(*data, 20, 0.2, 3.0)[0])
    assert double.dtype == torch.float64 and stats['n'] == (data[3] > 0).sum()
    with pytest.raises(ValueError, match='inside the clip range'):
        policy_loss(*data, 20, 0.2, 1.0)


def test_dual_clip_bounds_the_loss_and_spares_good_tokens():
    data = batch(3, 200)
    far = data[0] * 4
    bounded, free = (policy_loss(far, *data[1:], 1, 0.2, c)[0] for c in (3.0, None))
    assert bounded <= 3 * (data[3] * data[2].abs()).sum() and bounded < free
    good = data[2].abs()
    assert (
        policy_loss(far, data[1], good, data[3], 1, 0.2, 3.0)[0]
        == policy_loss(far, data[1], good, data[3], 1)[0]
    )


# ---- critic
@examples
@given(seeds, parts, st.sampled_from([None, 0.2, 1.0]))
def test_value_loss_adds_up_and_counts_what_it_stopped(seed, parts, clip_range):
    g, n = generator(seed), sum(parts)
    values, old, returns = (torch.randn(n, generator=g) for _ in range(3))
    values.requires_grad_()
    loss, stats = value_loss(values, old, returns, n, clip_range, stats=True)
    assert loss == value_loss(values, old, returns, n, clip_range)
    split = [
        value_loss(values[at], old[at], returns[at], n, clip_range, stats=True)
        for at in torch.arange(n).split(parts)
    ]
    close(sum(loss_part for loss_part, _ in split), loss)
    for k, v in stats.items():
        close(sum(s[k] for _, s in split), v)
    assert stats['clip'] == (torch.autograd.grad(loss, values)[0] == 0).sum() and stats['n'] == n
    if clip_range is None:
        assert stats['clip'] == 0


# ---- KL and entropy, by enumeration
@examples
@given(seeds)
def test_which_gradient_each_estimator_has(seed):
    g = generator(seed)
    theta, reference = torch.randn(6, generator=g, dtype=torch.float64), distribution(g).double()
    policy = torch.log_softmax(theta, -1)

    def gradient(f):
        x = theta.clone().requires_grad_()
        return torch.autograd.grad(f(torch.log_softmax(x, -1)), x)[0]

    def loss(kind):
        return gradient(lambda p: (policy.exp() * kl_estimate(p, reference, kind)).sum())

    def reward(kind):
        return gradient(lambda p: (policy.exp() * p * kl_estimate(policy, reference, kind)).sum())

    forward, backward = (
        gradient(lambda p: (p.exp() * (p - reference)).sum()),
        gradient(lambda p: (reference.exp() * (reference - p)).sum()),
    )
    for kind, want in dict(k1=0 * theta, k2=forward, k3=backward).items():
        close(loss(kind), want)
    for kind, want in dict(k1=forward, k3=forward - backward).items():
        close(reward(kind), want)
    for kind in ('k1', 'k3'):
        close(
            (policy.exp() * kl_estimate(policy, reference, kind)).sum(),
            (policy.exp() * (policy - reference)).sum(),
        )
        close(loss(kind) + reward(kind), forward)  # the derivative of an unbiased estimate is the sum of both


@pytest.mark.parametrize('biased', [False, True])
@pytest.mark.parametrize('trained', [False, True])
@pytest.mark.parametrize('temperature', [0.7, 1.0])
def test_logprobs_and_entropy_have_their_gradients(temperature, trained, biased):
    "Both ways to the gradient, each output alone and both at once; scores without gradients are the same numbers"
    g = generator(0)
    hidden, weight = (
        torch.randn(9, 5, generator=g).requires_grad_(),
        torch.randn(30, 5, generator=g).requires_grad_(trained),
    )
    targets, up, bias = (
        torch.randint(0, 30, (9,), generator=g),
        torch.randn(2, 9, generator=g),
        torch.randn(30, generator=g) if biased else None,
    )
    dist = torch.distributions.Categorical(logits=(hidden @ weight.T + (bias if biased else 0)) / temperature)
    want, parts = (dist.log_prob(targets), dist.entropy()), [hidden] + [weight] * trained
    ours = lambda **k: token_logprobs(hidden, weight, targets, temperature, bias, chunk=4, **k)
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, -0.3)):
        loss = lambda pair: sum(w * (u * x).sum() for w, u, x in zip(weights, up, pair))
        for a, b in zip(
            torch.autograd.grad(loss(ours(entropy=True)), parts),
            torch.autograd.grad(loss(want), parts, retain_graph=True),
        ):
            close(a, b)
    for a, b in zip(
        torch.autograd.grad((up[0] * ours()).sum(), parts),
        torch.autograd.grad((up[0] * want[0]).sum(), parts),
    ):
        close(a, b)
    with torch.no_grad():
        scored = ours(entropy=True)
    for a, b, c in zip(scored, ours(entropy=True), want):
        close(a, b.detach())
        close(a, c.detach())
    assert torch.equal(scored[0], ours().detach())  # the first ratio is 1 to the bit


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('n', [1, 8, 9, 17, 193, 202])
def test_blocks_of_positions_change_no_number(n, dtype):
    g = generator(n)
    hidden, weight, targets = (
        torch.randn(n, 5, generator=g).to(dtype).requires_grad_(),
        torch.randn(40, 5, generator=g).to(dtype),
        torch.randint(0, 40, (n,), generator=g),
    )
    dist = torch.distributions.Categorical(logits=(hidden @ weight.T).float() / 0.7)
    for ours, want in zip(
        token_logprobs(hidden, weight, targets, 0.7, entropy=True), (dist.log_prob(targets), dist.entropy())
    ):
        torch.testing.assert_close(ours, want, atol=1e-5, rtol=1e-5)
        a, b = (torch.autograd.grad(x.sum(), hidden, retain_graph=True)[0].float() for x in (ours, want))
        torch.testing.assert_close(
            a, b, **(dict(atol=1e-5, rtol=1e-4) if dtype == torch.float32 else dict(atol=0.02, rtol=0.02))
        )


def test_a_trained_head_computes_the_same_bits_with_several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # a sum of 32,768 and more numbers for one row alone is shared out among threads
    try:
        g = generator(0)
        for n in (1, 9, 17, 201):
            hidden, weight, targets = (
                torch.randn(n, 4, generator=g).requires_grad_(),
                torch.randn(40_000, 4, generator=g),
                torch.randint(0, 40_000, (n,), generator=g),
            )
            with torch.no_grad():
                scored, _ = token_logprobs(hidden, weight, targets, 0.7, entropy=True)
            for trained in (False, True):
                assert torch.equal(
                    scored, token_logprobs(hidden, weight.requires_grad_(trained), targets, 0.7).detach()
                )
    finally:
        torch.set_num_threads(before)


# ---- sampler and trainer
def mismatched(seed, B=4, T=12):
    g = generator(seed)
    mask = torch.rand(B, T, generator=g) < 0.6
    mask[:, 0] = True
    old = -torch.rand(B, T, generator=g) * 3
    return old, old + 0.3 * torch.randn(B, T, generator=g), mask


@examples
@given(seeds, st.floats(1, 5))
def test_the_four_modes_by_name(seed, cap):
    old, behaviour, mask = mismatched(seed)
    d = (old - behaviour) * mask
    for level, ratio in dict(token=d.exp(), sequence=d.sum(1, keepdim=True).exp().expand_as(d)).items():
        truncated, kept = importance_weights(old, behaviour, cap, None, level, mask)
        close(truncated, ratio.clamp(max=cap) * mask)
        assert kept.equal(mask.float())
        weights, kept = importance_weights(old, behaviour, None, (0.0, cap), level, mask)
        close(weights * kept, torch.where(ratio > cap, 0.0, ratio) * mask)
    geometric, _ = importance_weights(old, behaviour, None, None, 'geometric', mask)
    close(geometric, (d.sum(1, keepdim=True) / mask.sum(1, keepdim=True)).exp() * mask)


@examples
@given(
    seeds,
    st.sampled_from(['token', 'sequence', 'geometric']),
    st.integers(0, 30),
    st.sampled_from([math.nan, math.inf, -math.inf, 7.0]),
)
def test_padding_and_garbage_change_no_weight_and_no_report(seed, level, pad, garbage):
    old, behaviour, mask = mismatched(seed)
    wide = [torch.nn.functional.pad(x, (0, pad), value=0) for x in (old, behaviour, mask)]
    dirty = [torch.where(wide[2], x, garbage) for x in wide[:2]] + wide[2:]
    how = dict(cap=2.0, bounds=(0.5, 2.0), level=level)
    for x, y in zip(
        importance_weights(old, behaviour, mask=mask, **how),
        importance_weights(*dirty[:2], mask=dirty[2], **how),
    ):
        close(y[:, :12], x)
        assert not y[~dirty[2]].any()
    assert mismatch_report(*dirty, **how) == pytest.approx(
        mismatch_report(old, behaviour, mask, **how), rel=1e-4, abs=1e-6
    )


def test_only_the_product_is_unbiased_for_a_sequence():
    g = generator(5)
    mu, old = (
        torch.stack([distribution(g) for _ in range(3)]),
        torch.stack([distribution(g) for _ in range(3)]),
    )
    every = torch.cartesian_prod(*[torch.arange(6)] * 3)

    def at(p):
        return torch.stack([p[t][every[:, t]] for t in range(3)], 1)

    returns, chance = torch.randn(len(every), generator=g), at(mu).sum(1).exp()
    want = (at(old).sum(1).exp() * returns).sum()

    def mean(level):
        weights, _ = importance_weights(at(old), at(mu), None, None, level, torch.ones(len(every), 3))
        return ((chance * returns)[:, None] * weights).sum(0)

    close(mean('sequence'), want.expand(3))
    assert (mean('token') - want).abs().max() > 0.01 and (mean('geometric') - want).abs().max() > 0.01


def test_ratios_beyond_any_number_stay_numbers():
    for level in ('token', 'sequence', 'geometric'):
        weights, keep = importance_weights(
            torch.zeros(2, 50), torch.full((2, 50), -100.0), None, (0.5, 2.0), level, torch.ones(2, 50)
        )
        assert weights.isfinite().all() and not (weights * keep).any()


def test_what_importance_weights_refuse():
    with pytest.raises(ValueError, match="choose 'token'"):
        importance_weights(torch.zeros(2), torch.zeros(2), level='turn')
    with pytest.raises(ValueError, match='needs the mask'):
        importance_weights(torch.zeros(2, 2), torch.zeros(2, 2), level='sequence')


@examples
@given(seeds)
def test_the_report_counts_by_hand(seed):
    old, behaviour, mask = mismatched(seed)
    r = mismatch_report(old, behaviour, mask, 1.2, (0.6, 1.5))
    ratios = [
        math.exp(a - b)
        for a, b, m in zip(old.flatten().tolist(), behaviour.flatten().tolist(), mask.flatten().tolist())
        if m
    ]
    n, used = len(ratios), [min(x, 1.2) for x in ratios if 0.6 <= x <= 1.5]
    want = dict(
        tokens=n,
        kl=sum(x - 1 - math.log(x) for x in ratios) / n,
        kl_median=sorted(x - 1 - math.log(x) for x in ratios)[(n - 1) // 2],
        ratio_min=min(1.0, *ratios),
        ratio_max=max(1.0, *ratios),
        outside=sum(not 0.9 <= x <= 1.1 for x in ratios) / n,
        capped=sum(1.2 < x <= 1.5 for x in ratios) / n,
        rejected=1 - len(used) / n,
        effective=sum(used) ** 2 / sum(x * x for x in used) / n if used else 0.0,
    )
    assert {k: r[k] for k in want} == pytest.approx(want, rel=1e-3, abs=1e-5) and r.keys() == want.keys()


def test_equal_policies_and_no_tokens_report_nothing():
    x, mask = torch.randn(3, 4), torch.ones(3, 4)
    calm = dict(
        kl=0.0,
        kl_median=0.0, ratio_min=1.0, ratio_max=1.0, outside=0.0, capped=0.0, rejected=0.0)
    assert mismatch_report(x, x, mask) == calm | dict(tokens=12, effective=1.0)
    assert mismatch_report(x, x, 0 * mask) == calm | dict(tokens=0, effective=0.0)


# ---- the controller
@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 2))
def test_the_controller_finds_the_target_from_anywhere(start, target):
    "A plant whose KL follows 1/coef with a lag"
    control, kl = AdaptiveKL(start, target, horizon=1000), 0.0
    for _ in range(800):
        kl = 0.7 * kl + 0.3 / control.coef
        control.update(kl, 100)
    assert kl == pytest.approx(target, rel=0.02) and control.coef == pytest.approx(1 / target, rel=0.02)


def test_a_resumed_controller_goes_on():
    def go(control, kls):
        return [control.update(kl, 50) for kl in kls]

    kls = torch.rand(40, generator=generator(0)).tolist()
    whole, half = AdaptiveKL(0.1, 0.5, 1000), AdaptiveKL(0.1, 0.5, 1000)
    want = go(whole, kls)
    go(half, kls[:17])
    resumed = AdaptiveKL(half.coef, 0.5, 1000)  # as the trainer makes it, from the checkpoint's `kl_coef`
    assert go(resumed, kls[17:]) == want[17:] and resumed.coef == whole.coef


def test_the_controller_moves_as_the_paper_says_and_no_further():
    for kl, n, factor in (
        (0.55, 100, 1 + 0.1 * 0.1),
        (9.0, 100, 1.02),
        (-3.0, 100, 0.98),
        (9.0, 10**9, 1.2),
        (-3.0, 10**9, 0.8),
        (0.5, 100, 1.0),
    ):
        assert AdaptiveKL(0.3, 0.5, 1000).update(kl, n) == pytest.approx(0.3 * factor)


def test_what_the_controller_refuses():
    for bad in (dict(coef=0), dict(target=-1), dict(horizon=math.nan), dict(clip=1.0)):
        with pytest.raises(ValueError, match=next(iter(bad))):
            AdaptiveKL(**(dict(coef=0.1, target=1.0, horizon=10) | bad))
    for kl in (math.nan, math.inf):
        control = AdaptiveKL(0.1, 1.0, 10)
        with pytest.raises(ValueError, match='not finite'):
            control.update(kl, 1)
        assert control.coef == 0.1
