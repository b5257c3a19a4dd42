"The four roles on a batch: shared layers, references, reward functions, a reward model on the same base"

import pytest
import torch
from policies import (
    Offline,
    constant,
    episodes,
    flat,
    lora,
    reward_adapter,
    shaken,
    timeless,
    tiny,
    trainer,
)

from rlops_lab.ppo.config import PPOConfig


def test_layers_without_adapters_run_once_and_change_nothing(monkeypatch):
    upper = lora(layers_to_transform=[1], target_modules=['q_proj', 'down_proj'])
    shared, alone = trainer(peft_config=upper), trainer(peft_config=upper)
    assert shared.backbone.shared_layers == 1
    monkeypatch.setattr(alone.backbone, 'shared_hidden', lambda *args: None)
    a, b = shared.update(episodes()), alone.update(episodes())
    assert a['first_ratio_error'] == b['first_ratio_error'] == 0
    for k in ('kl_k1', 'entropy', 'policy_loss', 'value_loss', 'policy_grad_norm', 'critic_grad_norm'):
        assert a[k] == pytest.approx(b[k], rel=1e-4, abs=1e-6)


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
        assert torch.allclose(scored.ref_logprobs[i, : len(want)], torch.stack(want), atol=1e-5)
        assert not torch.allclose(scored.old_logprobs[i, : len(want)], torch.stack(want), atol=1e-2)


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

    with pytest.raises(ValueError, match='several are called constant'):
        Offline(
            tiny(),
            PPOConfig(max_total_tokens=64),
            reward_funcs=[constant(1.0), constant(2.0)],
            train_dataset=[{}],
            peft_config=lora(),
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
            not t.shared_hidden
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
    assert not t.shared_hidden
    t.grade(episodes(3), training=True)
    assert len(t.shared_hidden) == 3
    t.grade(episodes(3))
    assert not t.shared_hidden
