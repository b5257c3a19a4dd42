"A whole update against a slow one: sums in plain Python, an episode at a time through transformers, plain autograd"

import math

import pytest
import torch
from policies import episodes, lora, shaken, trainer

from rlops_lab.core import rng


def credited(played, scored, a):
    "Advantages, targets, weights and which tokens are kept, of each episode, by the sums that define them"
    out = []
    for i, t in enumerate(played):
        ids = [k for k in t.turn_ids if k >= 0]
        n = len(ids)
        old, reference, value = (scored[k][i].tolist() for k in ('old', 'reference', 'values'))
        behaviour = [x for x, m in zip(t.logprobs, t.action_mask) if m]
        reward = [t.turn_rewards[k] * (j == n - 1 or ids[j + 1] != k) for j, k in enumerate(ids)]
        if a.kl_estimator == 'k1':
            reward = [x - a.kl_coef * (o - r) for x, o, r in zip(reward, old, reference)]
        after = scored['bootstrap'][i].item() if t.truncated and a.truncation == 'bootstrap' else 0.0
        begins = [j for j in range(n) if a.credit == 'token' or j == 0 or ids[j] != ids[j - 1]]
        which = [sum(b <= j for b in begins) - 1 for j in range(n)]  # the decision that a token belongs to
        paid, expected = (
            [sum(x for x, w in zip(reward, which) if w == d) for d in range(len(begins))],
            [value[b] for b in begins] + [after],
        )
        error = [r + a.gamma * expected[d + 1] - expected[d] for d, r in enumerate(paid)]

        def sums(lam):
            return [
                sum((a.gamma * lam) ** (e - d) * error[e] for e in range(d, len(error)))
                for d in range(len(error))
            ]

        lam = max(0.0, 1 - 1 / (a.lam_alpha * n)) if a.lam == 'length' else a.lam
        targets = [x + v for x, v in zip(sums(lam if a.critic_lam is None else a.critic_lam), expected)]
        ratio = [o - b for o, b in zip(old, behaviour)]
        if a.importance_level != 'token':
            ratio = [sum(ratio) / (n if a.importance_level == 'geometric' else 1)] * n
        low, high = a.rejection_bounds or (0.0, math.inf)
        out.append(
            dict(
                old=old,
                reference=reference,
                value=value,
                advantage=[sums(lam)[w] for w in which],
                target=[targets[w] for w in which],
                weight=[min(math.exp(x), a.importance_cap or math.inf) for x in ratio],
                keep=[float(low <= math.exp(x) <= high) for x in ratio],
            )
        )
    every = [x for c in out for x in c['advantage']]
    mean = sum(every) / len(every)
    std = math.sqrt(sum((x - mean) ** 2 for x in every) / len(every))
    for c in out:
        c['advantage'] = [(x - mean) / std for x in c['advantage']]
    return [{k: torch.tensor(x) for k, x in c.items()} for c in out]


def forward(b, a, t):
    "Log-probabilities, entropies and values of an episode's sampled tokens, and the value after its end"
    ids, at = torch.tensor([t.token_ids]), [i - 1 for i, m in enumerate(t.action_mask) if m]
    sampled = ids[0, [i + 1 for i in at]]

    def run(role):
        with b.role(role) as model:
            return model(input_ids=ids, use_cache=False, output_hidden_states=True)

    policy = run('policy')
    full = (policy.logits[0, at] / a.temperature).log_softmax(-1)
    with torch.no_grad():
        reference = (run('reference').logits[0, at] / a.temperature).log_softmax(-1)[range(len(at)), sampled]
    states = (
        b.critic_decoder(input_ids=ids).last_hidden_state
        if a.critic == 'full'
        else run('critic').hidden_states[-1]
    )
    values = b.value_head(states[0].detach() if a.critic == 'head' and a.detach_critic else states[0])[:, 0]
    return full[range(len(at)), sampled], -(full.exp() * full).sum(-1), reference, values[at], values[-1]


def step_loss(b, a, played, credits):
    "The loss of one optimizer step"
    kept, total, loss = (
        max(1.0, sum(c['keep'].sum().item() for c in credits)),
        sum(len(c['keep']) for c in credits),
        0.0,
    )
    low, high = a.clip_range if isinstance(a.clip_range, tuple) else (a.clip_range,) * 2
    for t, c in zip(played, credits):
        logprobs, entropies, reference, values, _ = forward(b, a, t)
        ratio, A = (logprobs - c['old']).exp(), c['advantage']
        gain = torch.minimum(ratio * A, ratio.clamp(1 - low, 1 + high) * A)
        if a.dual_clip:
            gain = torch.where(A < 0, torch.maximum(gain, a.dual_clip * A), gain)
        gain = c['weight'] * gain + a.entropy_coef * entropies
        if a.kl_estimator == 'k2':
            gain = gain - a.kl_coef * (logprobs - reference) ** 2 / 2
        error = (values - c['target']) ** 2
        if a.cliprange_value:
            error = torch.maximum(
                error,
                (
                    c['value']
                    + (values - c['value']).clamp(-a.cliprange_value, a.cliprange_value)
                    - c['target']
                )
                ** 2,
            )
        loss = loss - (c['keep'] * gain).sum() / kept + a.vf_coef * error.sum() / 2 / total
    return loss


CASES = dict(
    plain={},
    turns=dict(credit='turn', gamma=0.9, critic_lam=1.0),
    length=dict(lam='length', lam_alpha=0.3, critic_lam=1.0),
    terminal=dict(truncation='terminal'),
    mask=dict(truncation='mask'),
    turns_cut=dict(credit='turn'),
    k2=dict(kl_estimator='k2', kl_coef=0.3, entropy_coef=0.1, temperature=0.6),
    dual=dict(dual_clip=1.3, clip_range=(0.1, 0.2)),
    value_clip=dict(cliprange_value=0.01, vf_coef=0.3),
    sequence=dict(importance_level='sequence', rejection_bounds=(0.5, 2.0), importance_cap=1.2),
    geometric=dict(importance_level='geometric', rejection_bounds=(0.9, 1.1), importance_cap=1.02),
    no_cap=dict(importance_cap=None, rejection_bounds=(0.5, 1.5), entropy_coef=0.1),
    head=dict(critic='head'),
    joint=dict(critic='head', detach_critic=False),
    full_critic=dict(critic='full'),
    whole=dict(peft_config=None, critic='head'),
    whole_joint=dict(peft_config=None, critic='head', detach_critic=False),
    whole_full=dict(peft_config=None, critic='full'),
    upper=dict(peft_config=lora(layers_to_transform=[1], target_modules=['q_proj', 'down_proj'])),
    dropout=dict(peft_config=lora(lora_dropout=0.3)),
    embeddings=dict(peft_config=lora(target_modules=['q_proj', 'embed_tokens'])),
    scaled=dict(
        peft_config=lora(use_rslora=True, rank_pattern=dict(q_proj=2), alpha_pattern=dict(v_proj=32))
    ),
)


@pytest.mark.parametrize('change', CASES.values(), ids=CASES)
def test_an_update_is_what_its_formulas_say(change):
    t = trainer(num_ppo_epochs=2, num_mini_batches=2, max_grad_norm=1e9, micro_batch_tokens=64, **change)
    b, a, played = shaken(t.backbone), t.args, episodes(8, turns=3)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        found = [forward(b, a, e) for e in played]
    for i, (e, f) in enumerate(zip(played, found)):
        if i % 2:
            e.terminated, e.truncated = False, True
        sampler = iter((f[0] + 0.4 * torch.randn(len(f[0]), generator=noise)).tolist())
        e.logprobs = [next(sampler) if m else 0.0 for m in e.action_mask]
    rows = [i for i, e in enumerate(played) if a.truncation != 'mask' or not e.truncated]
    credits = dict(
        zip(
            rows,
            credited(
                [played[i] for i in rows],
                {
                    k: [found[i][j] for i in rows]
                    for j, k in ((0, 'old'), (2, 'reference'), (3, 'values'), (4, 'bootstrap'))
                },
                a,
            ),
        )
    )
    plan = t.plan(played, rows)
    steps = iter(
        [
            [i for micro in plan[k] for i in micro.rows]
            for epoch in range(2)
            for k in rng(a.seed, 'epoch', 0, epoch).permutation(len(plan))
        ]
    )
    parameters, seen = [p for g in t.optimizer.param_groups for p in g['params']], []

    def compare(*_):
        ours, mine = [p.grad for p in parameters], next(steps)
        for p in parameters:
            p.grad = None
        step_loss(b, a, [played[i] for i in mine], [credits[i] for i in mine]).backward()
        for p, g in zip(parameters, ours):
            want = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(
                torch.zeros_like(p) if g is None else g,
                want,
                atol=2e-5 * (1 + want.abs().max().item()),
                rtol=1e-4,
            )
            p.grad = g
        seen.append(torch.cat([g.flatten() for g in ours if g is not None]).norm())

    t.optimizer.register_step_pre_hook(compare)
    r = t.update(played)
    assert len(seen) == 4 and min(seen) > 0.01 and r['first_ratio_error'] == 0 and next(steps, None) is None
    for j, i in enumerate(rows):
        n = len(credits[i]['keep'])
        for ours, name in (('advantages', 'advantage'), ('returns', 'target')):
            torch.testing.assert_close(getattr(t.scored, ours)[j, :n], credits[i][name], atol=1e-4, rtol=1e-4)
