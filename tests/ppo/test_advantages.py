"Advantages of tokens and turns: what must not matter, whatever the layout, and what must."

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.ppo.advantages import (
    adaptive_lam,
    explained_variance,
    explained_variance_by_turn,
    gae,
    masked_mean,
    token_rewards,
    turn_gae,
    whiten,
)

torch.set_num_threads(1)
examples = settings(max_examples=50, deadline=None)
seeds, unit = st.integers(0, 10_000), st.floats(0, 1)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def layout(seed, B=3, T=20, turns=4):
    "turn ids with gaps anywhere, rewards, values, bootstrap; NaN where no token was sampled"
    g = torch.Generator().manual_seed(seed)
    ids = (
        torch.randint(turns, (B, T), generator=g)
        .sort(1)[0]
        .masked_fill(torch.rand(B, T, generator=g) < 0.3, -1)
    )
    r, v = (torch.where(ids >= 0, torch.randn(B, T, generator=g), torch.nan) for _ in range(2))
    return ids, r, v, torch.randn(B, generator=g)


def squeezed(ids, *tensors):
    "only the sampled tokens of one row"
    on = ids >= 0
    return [x[on][None] for x in (ids, *tensors)]


# ---- by token
@examples
@given(seeds, unit, unit, unit)
def test_two_lambdas_are_two_runs_in_one(seed, gamma, lam, critic_lam):
    ids, r, v, cut = layout(seed)
    advantages, targets = gae(r, v, ids >= 0, gamma, lam, cut, critic_lam)
    close(advantages, gae(r, v, ids >= 0, gamma, lam, cut)[0])
    close(targets, gae(r, v, ids >= 0, gamma, critic_lam, cut)[1])
    for one, two in zip(gae(r, v, ids >= 0, gamma, lam, cut), gae(r, v, ids >= 0, gamma, lam, cut, lam)):
        assert torch.equal(one, two)


@examples
@given(seeds, unit, st.lists(unit, min_size=3, max_size=3), st.sampled_from([gae, turn_gae]))
def test_one_lambda_per_episode(seed, gamma, lams, f):
    ids, r, v, cut = layout(seed)
    where = ids >= 0 if f is gae else ids
    together = f(r, v, where, gamma, torch.tensor(lams), cut, torch.tensor(lams).flip(0))
    for b, lam in enumerate(lams):
        alone = f(r[b : b + 1], v[b : b + 1], where[b : b + 1], gamma, lam, cut[b : b + 1], lams[-1 - b])
        for x, y in zip(together, alone):
            close(x[b], y[0])


@examples
@given(seeds, unit)
def test_monte_carlo_targets_are_discounted_returns(seed, gamma):
    ids, r, v, cut = layout(seed)
    _, targets = gae(r, v, ids >= 0, gamma, 0.5, cut, 1.0)
    for b in range(3):
        (_, rewards, got), left = squeezed(ids[b], r[b], targets[b]), cut[b]
        for t in reversed(range(rewards.shape[1])):
            left = rewards[0, t] + gamma * left
            close(got[0, t], left)


def test_double_precision_stays_double():
    r, v, mask = (
        torch.zeros(1, 50, dtype=torch.float64),
        torch.zeros(1, 50, dtype=torch.float64),
        torch.ones(1, 50),
    )
    r[0, -1] = 1
    assert abs(gae(r, v, mask, lam=0.95)[0][0, 0].item() - 0.95**49) < 1e-12


@examples
@given(seeds)
def test_rewards_land_on_the_last_token_of_their_turn(seed):
    ids, *_ = layout(seed)
    there = torch.stack([(ids == k).any(1) for k in range(4)], 1)
    paid = torch.randn(there.shape, generator=torch.Generator().manual_seed(seed)) * there
    rewards = token_rewards(paid, ids)
    close(rewards.sum(1), paid.sum(1))
    for b in range(3):
        for k in ids[b][ids[b] >= 0].unique():
            at = (ids[b] == k).nonzero()[:, 0]
            close(rewards[b, at[-1]], paid[b, k])
            assert not rewards[b, at[:-1]].any()


@examples
@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_whitening_forgets_scale_and_shift(seed, scale, shift):
    ids, r, *_ = layout(seed)
    torch.testing.assert_close(whiten(scale * r + shift, ids >= 0), whiten(r, ids >= 0), atol=2e-2, rtol=1e-3)
    assert abs(masked_mean(whiten(r, ids >= 0), ids >= 0)) < 1e-5


@pytest.mark.parametrize('alpha', [0.05, 0.3, 1.0, 5.0])
def test_length_adaptive_lambda_is_a_lambda_and_grows(alpha):
    mask = torch.arange(2000) < torch.arange(2001)[:, None]
    lams = adaptive_lam(mask, alpha)
    assert ((lams >= 0) & (lams < 1)).all() and (lams.diff() >= 0).all()
    assert adaptive_lam(mask.roll(7, 1), alpha).equal(lams)  # how many tokens, not where
    long = torch.arange(2001) * alpha > 1
    reach = 1 / (1 - lams[long]) / torch.arange(2001)[long]
    torch.testing.assert_close(
        reach, torch.full_like(reach, alpha), atol=0, rtol=1e-3
    )  # float32 rounds 1-λ when λ is near 1
    with pytest.raises(ValueError, match='above 0'):
        adaptive_lam(mask, -1.0)


# ---- by turn
@examples
@given(seeds, unit, unit, unit)
def test_observations_do_not_matter_to_turns(seed, gamma, lam, critic_lam):
    ids, r, v, cut = layout(seed)
    full = turn_gae(r, v, ids, gamma, lam, cut, critic_lam)
    for b in range(3):
        alone_ids, alone_r, alone_v = squeezed(
            ids[b], r[b], v[b]
        )  # turns that touch: no gap tells where one ends
        for x, y in zip(full, turn_gae(alone_r, alone_v, alone_ids, gamma, lam, cut[b : b + 1], critic_lam)):
            close(x[b][ids[b] >= 0], y[0])
            assert not x[b][ids[b] < 0].any()


@examples
@given(seeds, unit, unit)
def test_turns_of_one_token_are_tokens(seed, gamma, lam):
    g = torch.Generator().manual_seed(seed)
    on = torch.rand(3, 12, generator=g) < 0.6
    ids = torch.where(on, on.long().cumsum(1) - 1, -1)
    r, v, cut = torch.randn(3, 12, generator=g), torch.randn(3, 12, generator=g), torch.randn(3, generator=g)
    for x, y in zip(turn_gae(r, v, ids, gamma, lam, cut), gae(r, v, on, gamma, lam, cut)):
        close(x, y)


@examples
@given(seeds, unit, unit, st.integers(2, 6))
def test_words_do_not_matter_to_turns(seed, gamma, lam, times):
    "A turn said in more words, paid the same, expected the same when it begins: the same advantages"
    ids, r, v, cut = layout(seed)
    longer = ids.repeat_interleave(times, 1)
    paid = torch.zeros(longer.shape)
    paid[:, times - 1 :: times] = torch.where(ids >= 0, r, 0.0)
    begun = (
        v.repeat_interleave(times, 1) + torch.arange(longer.shape[1]) % times
    )  # at a turn's first token as before, elsewhere different
    for x, y in zip(turn_gae(r, v, ids, gamma, lam, cut), turn_gae(paid, begun, longer, gamma, lam, cut)):
        close(x, y[:, ::times])


def test_a_turn_that_earned_nothing_is_still_a_turn():
    ids = torch.tensor([[0, 0, 1, 1, 2, 2]])
    r = torch.tensor([[0, 1.0, 0, 0, 0, 1.0]])
    v = torch.tensor([[1.5, 9, 0.5, 9, 0.9, 9]])
    advantages, _ = turn_gae(r, v, ids, lam=0.0)
    close(advantages, torch.tensor([[0.0, 0, 0.4, 0.4, 0.1, 0.1]]))


def test_where_in_a_turn_it_was_paid_does_not_matter():
    ids, r, v, cut = layout(3)
    r = torch.where(ids >= 0, r, 0.0)
    sums = torch.stack([torch.where(ids == k, r, 0.0).sum(1) for k in range(4)], 1)
    for x, y in zip(
        turn_gae(r, v, ids, 0.9, 0.9, cut), turn_gae(token_rewards(sums, ids), v, ids, 0.9, 0.9, cut)
    ):
        close(x, y)


def test_an_episode_without_a_sampled_token_has_no_advantage():
    ids = torch.tensor([[-1, -1, -1], [-1, 0, 0]])
    for f, where in ((gae, ids >= 0), (turn_gae, ids)):
        advantages, targets = f(torch.ones(2, 3), torch.zeros(2, 3), where)
        assert not advantages[0].any() and not targets[0].any() and advantages[1, 1] > 0
    for x in turn_gae(torch.ones(1, 3), torch.ones(1, 3), ids[:1]):
        assert not x.any()


def test_a_cut_reaches_every_turn_and_a_perfect_critic_leaves_no_advantage():
    ids = torch.tensor([[0, 0, -1, 1, 1, 1]])
    r, v = token_rewards(torch.tensor([[1.0, 1.0]]), ids), torch.where(ids == 0, 4.0, 3.0)
    for x in turn_gae(r, v, ids, bootstrap=torch.tensor([2.0]))[:1]:
        assert not x.any()
    assert turn_gae(r, v, ids)[0][0, 0] < -1


# ---- the critic's report
@examples
@given(seeds)
def test_explained_variance_by_turn_is_explained_variance_of_the_turn(seed):
    ids, r, v, _ = layout(seed)
    turns = explained_variance_by_turn(v, r, ids)
    assert [t['turn'] for t in turns] == list(range(int(ids.max()) + 1)) and sum(
        t['tokens'] for t in turns
    ) == (ids >= 0).sum()
    for t in turns:
        on = ids == t['turn']
        assert t['episodes'] == on.any(1).sum() and t['explained_variance'] == explained_variance(v, r, on)
        if t['tokens'] > 1:
            assert explained_variance_by_turn(r, r, ids)[t['turn']]['explained_variance'] == 1
