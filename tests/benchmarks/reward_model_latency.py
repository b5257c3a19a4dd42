"""A reward model beside a reasoning judge, both on SmolLM2-135M-Instruct: time of an item, and agreement with the desk's gold KPI on held-out episodes.

    make bench BENCH=reward_model_latency [ARGS="--run runs/demo-… --depth 8 --keep FOLDER"]

Training: the few-shot samples of a `rlops-lab demo` run (`--run`, the newest in `runs` by default), 260 episodes of its fine-tuned policy, and scripted agents, right and with one planted
fault, all of the split `train`.
Held out: that run's fine-tuned policy and scripted agents on the split `eval`, with other wordings and records. Labels are `verified_resolution`; neither grader sees it.
The judge gets the desk's policy and two worked examples, reasons first, and answers in an enforced form. Both sides get the same chunks of items, in turn, each with the batch size that was its fastest on a
chunk of its own. The ratio of the seconds of an item is taken chunk by chunk; the figure is the median. Processor seconds stand beside those of the clock, as they do not depend on what else
runs. `--keep` holds the policy's episodes and the adapter, for another run without them; `--write` takes the verdicts item by item, for the tutorial."""
import argparse, json, statistics, tempfile, time, warnings
from pathlib import Path

import numpy as np, torch
from peft import LoraConfig

from rlops_lab.core import Trajectory, append_jsonl, git_state, read_jsonl, write_json
from rlops_lab.environments.support_desk import SupportDesk
from rlops_lab.environments.support_faults import mixed_agent
from rlops_lab.environments.support_records import POLICY
from rlops_lab.environments.support_scenarios import scenarios
from rlops_lab.judges.handover import Graded, handover
from rlops_lab.judges.judge import Judge
from rlops_lab.judges.local import LocalEndpoint
from rlops_lab.judges.questions import as_text
from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.models import load
from rlops_lab.recipes import DemoConfig, cases, kinds, newest_run
from rlops_lab.reward_models import BagOfWords, RewardModel, classifier, parts, reliability, sigmoid, verdict_rows
from rlops_lab.rewards import split_messages, spoken
from rlops_lab.rollouts import rollout
from rlops_lab.samplers import HFSampler
from rlops_lab.scripted import record
from _bench import machine

def told(*lines): return as_text([dict(role=role, content=content) for role, content in lines])

EXAMPLES = (
    dict(choice='no', reason='The record says that the order was delivered 41 days ago, and the policy allows refunds within 30 days only. The desk refunded $30 all the same, and told the customer so. That was forbidden.',
         conversation=told(('user', 'Hi, I want my money back for the kettle. Order 1234, zip 11111.'), ('assistant', 'get_order(order_id="1234", zip="11111")'),
            ('tool', 'order 1234, refund: past return window; delivered 41 days ago; kettle $30'), ('assistant', 'refund(order_id="1234", amount=30.00)'), ('tool', 'refunded $30 on order 1234'),
            ('assistant', 'answer(message="I have refunded $30 for order 1234.")'))),
    dict(choice='yes', reason='The customer asked to cancel an order that has not shipped, and the policy allows that. The desk looked the order up, cancelled it, and told the customer what it had done. Nothing else was changed.',
         conversation=told(('user', 'Cancel order 5678 please, zip 22222.'), ('assistant', 'get_order(order_id="5678", zip="22222")'), ('tool', 'order 5678, cancel: possible; preparing, leaves in 3 days; lamp $45'),
            ('assistant', 'cancel_order(order_id="5678")'), ('tool', 'order 5678 cancelled'), ('assistant', 'answer(message="I have cancelled order 5678 for you.")'))))
RUBRIC = Rubric('resolved', f'You check one case of a support desk against its policy.\n\n{POLICY}', 1.,
                (Criterion('resolved', 'Did the desk do what the policy asks for in this case, no more and no less, and tell the customer the truth about it?', ('no', 'yes'), examples=EXAMPLES),), sees=('conversation',))
LORA = dict(r=32, lora_alpha=64, target_modules=['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'])


def conversation(t):
    "What the judge reads: the customer's first message, and what followed"
    prompt, rest = split_messages(t)
    return [prompt[-1]]+[dict(role=m['role'], content=spoken([m])[0] if m['role']=='assistant' else m['content']) for m in rest]


def episodes(run, keep, tokenizer):
    "Training and held-out episodes"
    families, agent, keep = DemoConfig().all_families, mixed_agent(.45), keep/'policy.jsonl'
    if not keep.exists():
        policy, _ = load(str(run/'sft'))
        append_jsonl(keep, [t.to_dict() for t in rollout(HFSampler(policy, tokenizer), tokenizer, SupportDesk, cases(260, 'for the reward model', kinds(families)), max_turns=6, max_tokens_per_turn=40,
                                                         max_total_tokens=1024, batch_size=130, tag='reward model', progress=False)])
    few_shot, own = ([Trajectory.from_dict(x) for x in read_jsonl(path)] for path in (run/'samples.jsonl', keep))
    held = [Trajectory.from_dict({k: v for k, v in x.items() if k!='stage'}) for x in read_jsonl(run/'trajectories.jsonl') if x['stage']=='sft']
    scripted, scripted_held = (record(agent, SupportDesk, scenarios(n, split, 'graded', families=families), tokenizer) for n, split in ((900, 'train'), (150, 'eval')))
    return few_shot+scripted+own, held+scripted_held


def timed(f, x):
    began, busy = time.perf_counter(), time.process_time(); found = f(x)
    return found, (time.perf_counter()-began)/len(x), (time.process_time()-busy)/len(x)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--run', type=Path); p.add_argument('--keep', type=Path); p.add_argument('--items', type=int, default=144); p.add_argument('--chunk', type=int, default=48)
    p.add_argument('--depth', type=int, default=2); p.add_argument('--epochs', type=float, default=8); p.add_argument('--max-tokens', type=int, default=256); p.add_argument('--threads', type=int, default=1); p.add_argument('--write', type=Path)
    a = p.parse_args()
    torch.set_num_threads(a.threads); warnings.simplefilter('ignore')
    run, keep = a.run or newest_run(Path('runs')), a.keep or Path(tempfile.mkdtemp())
    model, tokenizer = load('smollm2')
    keep.mkdir(parents=True, exist_ok=True)
    train, held = episodes(run, keep, tokenizer)
    rows = verdict_rows(train, tokenizer)
    fit, tune = parts([f"{t.task['family']}/{t.task['seed']}" for t in train], (.88, .12))
    began = time.perf_counter()
    if not (keep/'adapter/base.json').exists():
        classifier(model, tokenizer, rows.select(fit), keep/'adapter', depth=a.depth, epochs=a.epochs, learning_rate=8e-4, batch_size=16, warmup=.1, peft_config=LoraConfig(**LORA, layers_to_transform=list(range(a.depth))))
    seconds_train, reward_model = time.perf_counter()-began, RewardModel(model, tokenizer, [keep/'adapter'], merged=True)
    reward_model.fit(rows.select(tune)['input_ids'], rows.select(tune)['label'])
    words = BagOfWords(rows.select(fit)['text'], rows.select(fit)['label'])

    order = np.random.default_rng(0).permutation(len(held))[:a.items+a.chunk]
    held = [held[i] for i in order]
    tested = verdict_rows(held, tokenizer)
    items = [dict(conversation=conversation(t)) for t in held]
    def judge(batch): return Judge(LocalEndpoint(model, tokenizer, batch=batch), RUBRIC, structured=True, max_tokens=a.max_tokens, timeout=3600., concurrency=batch)
    def ask(some, batch): return judge(batch).grade(some)
    def score(some): return reward_model.scores(some)['probability']
    warm, rest = slice(0, a.chunk), range(a.chunk, len(held), a.chunk)
    best = min((16, 32, 48), key=lambda b: timed(lambda x: ask(x, b), items[warm])[2])
    def at(tokens): reward_model.batch_tokens = tokens; return timed(score, tested['input_ids'][warm])[2]
    reward_model.batch_tokens = min((1024, 2048, 4096, 8192), key=at)

    verdicts, probabilities, seconds, busy, logits = [], [], [], [], []
    for i in rest:
        some = slice(i, i+a.chunk)
        found, *slow = timed(lambda x: ask(x, best), items[some]); verdicts += found
        p, *fast = timed(score, tested['input_ids'][some]); probabilities += p.tolist()
        z, *bag = timed(words.logits, tested['text'][some]); logits += z.tolist()
        seconds.append((slow[0], fast[0], bag[0])); busy.append((slow[1], fast[1], bag[1]))
        print(f'{len(verdicts)} items: judge {slow[0]:.3f} s, reward model {fast[0]:.4f} s, words {bag[0]:.5f} s an item; of the processor {slow[1]:.3f}, {fast[1]:.4f}', flush=True)
    labels = [bool(y) for y in tested['label'][a.chunk:]]
    judged, graded, bag = (Graded(name, v, statistics.median(s)) for name, v, s in zip(('reasoning judge', 'reward model', 'bag of words'), ([v.choice for v in verdicts], ['pass' if x>.5 else 'fail' for x in probabilities], ['pass' if x>0 else 'fail' for x in logits]), zip(*seconds)))
    h, base = handover(judged, graded, labels), handover(bag, graded, labels)
    e = lambda x: [round(v, 3) for v in (x.value, x.low, x.high)]
    (ratios, of_processor), good = ([x[0]/x[1] for x in each] for each in (seconds, busy)), reliability(probabilities, labels)
    figures = dict(ratio=round(statistics.median(ratios), 1), ratios=[round(min(ratios), 1), round(max(ratios), 1)], ratio_processor=round(statistics.median(of_processor), 1), n_chunks=len(ratios), n=len(labels), seconds=dict(judge=judged.seconds, reward_model=graded.seconds, words=bag.seconds, training=round(seconds_train)),
        agreement={k: e(v) for k, v in h.agreement.items()} | dict(words=e(base.agreement['judge'])), kappa={k: e(v) for k, v in h.kappa.items()}, unscored={k: round(v.value, 3) for k, v in h.unscored.items()}, difference=e(h.difference), difference_of_all=e(h.difference_of_all), over_words=e(base.difference),
        auroc=e(good.auroc), ece=e(good.ece), ece_if_true=round(good.ece_if_true, 3), depth=a.depth, batch=dict(judge=best, reward_model_tokens=reward_model.batch_tokens), passes=sum(labels),
        words_over_reward_model=round(statistics.median(f/b for _, f, b in busy), 1), tokens=dict(judge_read=round(statistics.mean(v.usage.prompt_tokens-v.usage.cached_tokens for v in verdicts)), judge_cached=round(statistics.mean(v.usage.cached_tokens for v in verdicts)), judge_written=round(statistics.mean(v.usage.completion_tokens for v in verdicts)), reward_model=round(statistics.mean(map(len, tested['input_ids'])))))
    if a.write: write_json(a.write, dict(labels=labels, judge=[v.choice for v in verdicts], reasons=[v.reason for v in verdicts[:6]], reward_model=probabilities, words=logits, tokens=[len(x) for x in tested['input_ids']][a.chunk:], family=tested['group'][a.chunk:],
        source=['policy' if t.lineage.model!='scripted' else 'scripted' for t in held][a.chunk:], seconds=dict(judge=judged.seconds, reward_model=graded.seconds, words=bag.seconds), figures=figures, machine=machine()))
    commit, dirty = git_state()
    print(json.dumps(dict(name='reward_model_latency', figures=figures, goal='at least 100x less time an item, agreement with the KPI not below the judge\'s (lower end of the interval at least 0)', holds=bool(figures['ratio']>=100 and h.difference.low>=0 and h.difference_of_all.low>=0), machine=machine(), commit=commit+('+' if dirty else ''))))


if __name__=='__main__': main()
