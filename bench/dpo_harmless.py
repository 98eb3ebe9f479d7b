"""DPO on human preferences, judged by a reward model that other pairs taught (half an hour after `reward-model`).

The pairs that `reward-model` held out are split again by their first question: most to learn from, the rest to measure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.pairs import BUILD, OFFLINE

JUDGE = BUILD / "reward-model"
MEASURED_PAIRS = 120
ANSWER_TOKENS = 64
RUN_FILE = """
model: smollm2-135m-instruct
data: {train: train.jsonl, max_tokens: 384, over_length: drop}
technique: {kind: lora, rank: 16}
objective: {kind: dpo, beta: 0.1}
training: {epochs: 2, batch_rows: 16, learning_rate: 2e-4, save_every: 10}
evaluation: {tasks: [pairs.task.yaml]}
"""


def main() -> None:
    """Trains, and prints how often the judge likes the tuned model's answers better than the base's."""
    folder = BUILD / "dpo-harmless"
    folder.mkdir(parents=True, exist_ok=True)
    if not (JUDGE / "run" / "adapter").is_dir():
        sys.exit("first: python -m bench reward-model")
    rows = (JUDGE / "test.jsonl").read_text(encoding="utf-8").splitlines()
    sides: dict[str, list[str]] = {"test": [], "train": []}
    asked: set[str] = set()
    for row in rows:
        question = json.loads(row)["chosen"].split("\n\nAssistant:")[0]
        side = "test" if question in asked or len(sides["test"]) < MEASURED_PAIRS else "train"
        asked |= {question} if side == "test" else set()
        sides[side].append(row)
    for side, lines in sides.items():
        (folder / f"{side}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    task = "name: pairs\ndata: test.jsonl\nmetric: preference\n"
    (folder / "pairs.task.yaml").write_text(task, encoding="utf-8")
    (folder / "dpo.yaml").write_text(RUN_FILE, encoding="utf-8")
    etude, run = Path(sys.executable).with_name("etude"), folder / "run"
    command = [str(etude), "train", str(folder / "dpo.yaml"), f"output={run}"]
    resumed = ["--resume"] if run.exists() else []
    subprocess.run(command + resumed, check=True, env={**os.environ, **OFFLINE})
    print((run / "verdict.json").read_text(encoding="utf-8"))
    print(json.dumps(_win_rate(run, folder / "test.jsonl")))


def _win_rate(run: Path, pairs: Path) -> dict[str, object]:
    """Of the likeliest answers to the same questions, by the judge's reward; ties count half."""
    import etude
    from etude.cycle.subjects import InMemory, open_subject
    from etude.data.render import Renderer
    from etude.evaluation.intervals import mean_interval
    from etude.models.rewarding import rewards_of
    from etude.techniques.lora import LoRA

    base = etude.load("smollm2-135m-instruct")
    known = InMemory(base, LoRA())
    judge, tuned = (open_subject(str(place), known=known) for place in (JUDGE / "run", run))
    renderer = Renderer(base.tokenizer)
    questions = {str(record.prompt): record.prompt for record in etude.read(str(pairs), etude.Preference)}
    prompts = [renderer.prompt(prompt) for prompt in questions.values()]
    prompts = [prompt for prompt in prompts if len(prompt) <= 320]
    rewards, lengths = [], []
    for subject in (base, tuned):
        with subject.use() as model:
            options = etude.SampleOptions(max_new_tokens=ANSWER_TOKENS)
            answers = etude.sample(model, prompts, options, end_ids=renderer.end_ids)
        with judge.use() as model:
            rows = [(*prompt, *answer.tokens) for prompt, answer in zip(prompts, answers, strict=True)]
            rewards.append(rewards_of(model, rows))
        lengths.append(sum(len(answer.tokens) for answer in answers) / len(answers))
        print(json.dumps([answer.text for answer in answers[:5]], indent=1))
    won = [0.5 if one == two else float(two > one) for one, two in zip(*rewards, strict=True)]
    return {
        "questions": len(prompts),
        "win_rate": sum(won) / len(won),
        "interval": mean_interval(won),
        "mean_reward": [sum(one) / len(one) for one in rewards],
        "answer_tokens": lengths,
    }
