"The demo on a tiny model, with the scripted expert for a teacher: used by the tests of recipes"

from rlops_lab.core import Trajectory, Usage
from rlops_lab.environments.support_desk.scenarios import demonstrate, oracle_step, run_scripted_case
from rlops_lab.recipes.support_desk import Demo

TINY = dict(
    model='tiny',
    families=('status_open', 'cancel_open'),
    undemonstrated=('refund_ok',),
    n_prompted=6,
    n_eval=6,
    n_rejection=12,
    rejection_batch=6,
    per_kind=3,
    n_latency=1,
    sft_per_kind=8,
    sft_batch=2,
    sft_lora_layers=2,
    ppo_lora_layers=1,
    lora_rank=4,
    ppo_updates=3,
    ppo_episodes=4,
    max_turns=2,
    max_tokens_per_turn=12,
    batch_size=6,
    threads=1,
)


def odd_tokens(prompts, completions, trajectories, **_):
    "Share of odd token ids: dense, so that updates move the policy"

    def share(t):
        odd = sum(i % 2 for i, is_action in zip(t.token_ids, t.action_mask) if is_action)
        return odd / max(1, t.n_actions)

    return [share(t) for t in trajectories]


def expert(row, tokenizer):
    "The scripted expert's episode as a trajectory: a tiny random model finds no right answer by itself"
    messages = demonstrate(row)
    while messages[-1]['role'] != 'assistant':
        messages.pop()
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    mask = out['assistant_masks']
    turn_ids, turn = [], -1
    for i, is_action in enumerate(mask):
        turn += bool(is_action and not mask[i - 1])
        turn_ids.append(turn if is_action else -1)
    return Trajectory(
        task=row,
        messages=messages,
        token_ids=out['input_ids'],
        action_mask=mask,
        logprobs=[-0.1 * is_action for is_action in mask],
        turn_ids=turn_ids,
        turn_rewards=[0.0] * turn + [1.0],
        kpis=dict(run_scripted_case(oracle_step, row).kpis),
        reply_seconds=[0.0] * (turn + 1),
        terminated=True,
        stop_reason='done',
        usage=Usage(prompt_tokens=100, completion_tokens=sum(mask), calls=turn + 1),
    )


class FakeTeacherDemo(Demo):
    "Rejection sampling from the scripted expert, and a reward that a random model earns some of"

    def reward_funcs(self):
        return [*super().reward_funcs(), odd_tokens]

    def sample_batch(self, sampler, tokenizer, rows, tag):
        return [expert(row, tokenizer) for row in rows]
