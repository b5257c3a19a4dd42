"""What works with which family of models, found out on a tiny random model with the family's template.

`python tests/family_table.py` tries all families and writes nbs/results/families.json, which the notebook of the chat
format shows. The tests of families try the same, and fail where the file says something else."""

import json
import math
import os
import tempfile
import warnings
from pathlib import Path

import trl
from datasets import Dataset
from fake_vllm import FakeVLLM
from families import FAMILIES, family_tokenizer
from family_play import ONE, Till, final, written
from grpo_step import one_step
from peft import LoraConfig

from rlops_lab.environments.contract import tool_schemas
from rlops_lab.finetune.sft import sft
from rlops_lab.finetune.training_rows import to_dataset
from rlops_lab.models.load import load
from rlops_lab.models.tool_calls import THOUGHT_MARKS
from rlops_lab.ppo.trainer import PPOConfig, PPOTrainer
from rlops_lab.rollouts.call_format import CALL, NEXT, REPLY, call_talk
from rlops_lab.rollouts.chat_format import chat_format
from rlops_lab.rollouts.encoding import encoded
from rlops_lab.rollouts.engine import rollout
from rlops_lab.rollouts.turns import check_template
from rlops_lab.samplers.local import HFSampler
from rlops_lab.samplers.server import ServerSampler

FILE = Path(__file__).parents[1] / 'nbs' / 'results' / 'families.json'
LIMITS = dict(max_turns=2, max_tokens_per_turn=6, max_total_tokens=2048)
ROWS = [dict(prompt=[dict(role='user', content=f'Put in {i}. ')]) for i in range(4)]

# `--tool-call-parser` of vLLM 0.32, for those who serve the trained model to others; sampling needs none
VLLM_PARSERS = dict(
    hermes='hermes',
    tags='qwen3_xml',
    llama='llama3_json',
    mistral='mistral',
    glm='glm45',
    harmony='openai',
    lfm2='lfm2',
    deepseek='deepseek_v3',
    phi4='phi4_mini_json',
    gemma='gemma4',
)


def known():
    "The rows of the file, by family"
    return {row['family']: row for row in json.loads(FILE.read_text(encoding='utf-8'))}


def usage(name):
    "How the family's tools reach the model, and the options of a rollout that go with it"
    chat = chat_format(family_tokenizer(name))
    try:
        check_template(chat, tool_schemas(Till()), dialogue=False)
    except ValueError as error:
        if 'in no way that is known' in str(error):
            return "described in the prompt, parser='hermes'", dict(tools_in_prompt=False, parser='hermes')
        assert 'does not show the tools' in str(error), error
        return 'described in the prompt', dict(tools_in_prompt=False)
    return 'shown by the template', dict(tools_in_prompt=True)


def thoughts_in_history(chat):
    "How long the template shows the thoughts of earlier turns"
    marks = (*THOUGHT_MARKS, '<|channel|>analysis')
    if not any(mark in chat.tokenizer.chat_template for mark in marks):
        return 'none'
    if not chat.calls.shows_results:
        return 'dropped'
    talk = call_talk(1, chat.calls.needs_ids, chat.calls.as_text)
    talk[1] |= dict(reasoning_content='zq8thought', thinking='zq8thought', reasoning='zq8thought')
    later = [*talk, dict(role='assistant', content=REPLY), dict(role='user', content=NEXT)]
    within, afterwards = ('zq8thought' in chat.render(each, reply=True) for each in (talk, later))
    return 'kept' if afterwards else 'kept until the next question' if within else 'dropped'


def facts(name):
    "What the template tells"
    chat = chat_format(family_tokenizer(name))
    calls, (tools, _) = chat.calls, usage(name)
    syntax = calls.syntax.name if calls.syntax else ''
    shows_calls = CALL.name in chat.render(call_talk(1, calls.needs_ids, calls.as_text)) if syntax else False
    return dict(
        family=name,
        syntax=syntax,
        tools=tools,
        calls_in_history='kept' if shows_calls else 'dropped',
        parallel=calls.parallel,
        thoughts=thoughts_in_history(chat),
        ends=[calls.end or chat.text_end, chat.text_end],
        vllm_parser=VLLM_PARSERS.get(syntax, ''),
    )


def family_model(name):
    "The tiny model, with a row for each token of the family"
    model, _ = load('tiny')
    tokenizer = family_tokenizer(name)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def played(name, sampler, **options):
    _, how = usage(name)
    return rollout(sampler, family_tokenizer(name), Till, ROWS, progress=False, **how, **LIMITS, **options)


def try_sft(name):
    "A step of SFT on episodes that the model played"
    model, tokenizer = family_model(name)
    rows = to_dataset(played(name, HFSampler(model, tokenizer)), tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        _, metrics = sft(model, tokenizer, rows, folder, max_steps=1, batch_size=4, progress=False)
    assert math.isfinite(metrics[0]['loss'])


def try_ppo(name):
    "An update of PPO; the policy that is trained gives the tokens the probabilities that the sampler noted"
    model, tokenizer = family_model(name)
    trainer = PPOTrainer(
        model,
        PPOConfig(num_updates=1, episodes_per_update=4, num_mini_batches=1, **LIMITS),
        Till,
        reward_funcs=lambda completions, **_: [float(i) for i, _ in enumerate(completions)],
        train_dataset=ROWS,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules=['q_proj', 'v_proj'], task_type='CAUSAL_LM'),
        rollout_options=dict(progress=False) | usage(name)[1],
    )
    record = trainer.step()
    assert record['optimizer_steps'] > 0 and record['first_ratio_error'] < 1e-4


def try_server(name):
    "Episodes through a server of token ids, which is told every token that ends a turn"
    model, tokenizer = family_model(name)
    server = FakeVLLM(model, tokenizer, context=LIMITS['max_total_tokens'])
    try:
        sampler = ServerSampler(server.url, tokenizer)
        server.requests.clear()
        episodes = played(name, sampler)
    finally:
        server.http.shutdown()
    stops = set(chat_format(tokenizer, parser=usage(name)[1].get('parser')).stop_ids)
    assert all(stops <= set(body['stop_token_ids']) for body in server.requests)
    assert all(t.n_turns and len(t.token_ids) == len(t.logprobs) for t in episodes)


def try_grpo(name):
    "A step of TRL's GRPO on our environment, with a call in the family's syntax that has to reach the till"
    model, tokenizer = family_model(name)
    with tempfile.TemporaryDirectory() as folder:
        args = one_step(folder)
        args.max_completion_length = 300
        rows = Dataset.from_list(ROWS[:2])
        trainer = trl.GRPOTrainer(
            model=model, processing_class=tokenizer, args=args, train_dataset=rows, environment_factory=Till
        )
        chat = chat_format(tokenizer)
        turns = iter([written(chat, 0, ONE), final(chat, 'Done.')])

        def generate(prompt_ids, *args, **kwargs):
            ids = encoded(tokenizer, ''.join(next(turns)))
            return [list(ids) for _ in prompt_ids], None

        trainer._generate_single_turn = generate
        trainer.train()
    assert [env.log for env in trainer.environments] == [[(1, '', False)]] * 2


TRIALS = dict(sft=try_sft, ppo=try_ppo, grpo=try_grpo, server=try_server)


def outcome(name, trial):
    "'yes', or the first sentence of a refusal"
    try:
        TRIALS[trial](name)
    except ValueError as error:
        return str(error).partition('. ')[0]
    return 'yes'


def main():
    os.environ['TRL_EXPERIMENTAL_SILENCE'] = '1'
    warnings.simplefilter('ignore')
    rows = [facts(name) | {trial: outcome(name, trial) for trial in TRIALS} for name in FAMILIES]
    FILE.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
