"Our environments, as they are, in TRL's GRPOTrainer; and TRL's own tool loop beside our rollout, token by token."

import json
import warnings

import pytest

trl = pytest.importorskip('trl')

from datasets import Dataset
from scripted_rollouts import Scripted

from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.scenarios import demonstrate, scenarios
from rlops_lab.environments.text_to_sql.clinic import ClinicSQL, draw_question, questions
from rlops_lab.judges.endpoints import JudgeReply
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.models.load import load
from rlops_lab.rollouts.encoding import encoded
from rlops_lab.rollouts.engine import rollout

pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning')  # of transformers, about TRL's own settings


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')


def trainer(folder, rows, reward_funcs=None, environment=SupportDesk, **options):
    model, tokenizer = load('tiny')
    defaults = dict(per_device_train_batch_size=2, num_generations=2, max_completion_length=12)
    args = trl.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to='none',
        save_strategy='no',
        disable_tqdm=True,
        max_steps=1,
        shuffle_dataset=False,
        learning_rate=1e-3,
        **defaults | options,
    )
    return trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=args,
        reward_funcs=reward_funcs,
        train_dataset=Dataset.from_list(rows),
        environment_factory=environment,
    )


def scripted(t, replies):
    "Make TRL's generation say what it is told, {generation: replies}, and then something that is no call"
    said, running = [0] * len(replies), list(range(len(replies)))

    def generate(prompt_ids, *args, **kwargs):
        running[:] = [i for i in running if said[i] <= len(replies[i])]
        assert len(prompt_ids) == len(running)
        texts = [(replies[i] + ['Bye.'])[said[i]] for i in running]
        for i in running:
            said[i] += 1
        return [encoded(t.processing_class, text + '<|im_end|>') for text in texts], None

    t._generate_single_turn = generate


def test_template_and_tokenizer_are_fit_for_tools():
    assert trl.chat_template_utils.supports_tool_calling(load('tiny')[1])
    assert trl.chat_template_utils.is_chat_template_prefix_preserving(load('tiny')[1])


def test_support_desk_trains_one_step_under_grpo(tmp_path):
    rows = scenarios(2)

    def length(completions, **columns):
        return [float(len(c[-1]['content'])) for c in completions]

    t = trainer(tmp_path, rows, [length])
    before = {k: v.clone() for k, v in t.model.state_dict().items()}
    t.train()
    assert t.state.global_step == 1
    assert [e.case.family for e in t.environments] == [
        rows[0]['family']
    ] * 2  # `reset` was called with the row
    assert {type(e) for e in t.environments} == {SupportDesk} and 'SupportDesk' in t.reward_func_names
    assert any((v != before[k]).any() for k, v in t.model.state_dict().items()), (
        'a step that changes nothing is none'
    )


def test_text_to_sql_is_played_and_trained_on_under_grpo(tmp_path):
    rows = questions(2)

    def one(prompts, **columns):
        return [1.0] * len(prompts)

    t = trainer(tmp_path, rows, [one], ClinicSQL, max_completion_length=300)
    right = f'answer(query="{draw_question(rows[0]["family"], rows[0]["seed"]).query}")'
    scripted(t, [['run(query="DROP TABLE doctor")', right], [right]])
    t.train()
    assert [e.get_reward() for e in t.environments] == [0.8, 1.0] and t.state.global_step == 1


def test_a_judge_pays_under_grpo_as_it_is(tmp_path):
    "Reads TRL's prompts and completions, costs a call each, and abstains where it has nothing to say"
    read = []

    async def ask(messages, **how):
        read.append(messages[-1]['content'])
        return JudgeReply(
            'hm'
            if len(read) == 1
            else json.dumps(dict(reason='By count.', choice=('no', 'yes')[len(read) % 2]))
        )

    judge = Judge(
        ask,
        Rubric(
            'helpful', 'You check one answer.', 0.5, (Criterion('helps', 'Does it help?', ('no', 'yes')),)
        ),
        attempts=1,
        concurrency=1,
    )
    rows = [dict(prompt=[dict(role='user', content=f'Where is order {i}?')]) for i in range(2)]
    t = trainer(tmp_path, rows, [judge], environment=None, num_generations=4, per_device_train_batch_size=4)
    with warnings.catch_warnings(action='ignore', category=UserWarning):
        t.train()
    assert (
        t.state.global_step == 1
        and t.reward_func_names == ['helpful']
        and [v.score for v in judge.verdicts] == [None, 0.0, 1.0, 0.0]
    )
    assert all('Where is order 0?' in x and '<<<completion' in x for x in read) and judge.usage.calls == 4
    assert t.state.log_history[0]['rewards/helpful/mean'] == pytest.approx(1 / 3)


def played_by_trl(folder, rows, replies):
    "What TRL's loop records for scripted replies: prompts, completions, masks, rewards"
    t = trainer(folder, rows, per_device_train_batch_size=2 * len(rows), max_completion_length=1000)
    scripted(t, [r for r in replies for _ in range(2)])
    seen, generate = {}, t._generate

    def spy(prompts):
        seen['out'] = generate(prompts)
        return seen['out']

    t._generate = spy
    t._generate_and_score_completions([row for row in rows for _ in range(2)])
    prompts, completions, masks = seen['out'][:3]
    return [
        (p + c, [0] * len(p) + m, e.get_reward())
        for p, c, m, e in list(zip(prompts, completions, masks, t.environments))[::2]
    ]


def test_our_rollout_and_trl_record_the_same_tokens(tmp_path):
    rows = scenarios(6)
    replies = [[m['content'] for m in demonstrate(row) if m['role'] == 'assistant'] for row in rows]
    ours = rollout(
        Scripted(dict(enumerate(replies))),
        load('tiny')[1],
        SupportDesk,
        rows,
        tools_in_prompt=True,
        max_tokens_per_turn=128,
        progress=False,
    )
    for t, (ids, mask, reward) in zip(ours, played_by_trl(tmp_path, rows, replies), strict=True):
        n = len(
            t.token_ids
        )  # TRL knows no `done`: it shows the last result, and lets the model say one thing more
        assert ids[:n] == t.token_ids and mask[:n] == t.action_mask
        assert reward == t.reward == 1
