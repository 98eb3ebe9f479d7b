"""A reward model of human preferences, measured on pairs whose first question no training pair has (ten minutes)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from bench.pairs import BUILD, OFFLINE, ROOT

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data")) / "hh_rlhf_harmless" / "pairs.jsonl"
TEST_PAIRS = 400
RUN_FILE = """
model: smollm2-135m-instruct
data: {train: train.jsonl, holdout: 0.05, max_tokens: 512, over_length: drop}
technique: {kind: lora, rank: 16}
objective: {kind: reward}
training: {epochs: 1, learning_rate: 5e-4, batch_rows: 16, heldout_every: 20, keep_best: true}
evaluation: {tasks: [pairs.task.yaml], base: false}
"""


def main() -> None:
    """Trains and prints the summary of the held-out pairs."""
    folder = BUILD / "reward-model"
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[str]] = {}
    for line in DATA.read_text(encoding="utf-8").splitlines():
        groups.setdefault(json.loads(line)["chosen"].split("\n\nAssistant:")[0], []).append(line)
    names = sorted(groups)
    random.Random(0).shuffle(names)
    sides: dict[str, list[str]] = {"test": [], "train": []}
    for name in names:
        sides["test" if len(sides["test"]) < TEST_PAIRS else "train"] += groups[name]
    for side, lines in sides.items():
        (folder / f"{side}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "pairs.task.yaml").write_text("name: harmless\ndata: test.jsonl\nmetric: preference\n", encoding="utf-8")
    (folder / "reward.yaml").write_text(RUN_FILE, encoding="utf-8")
    etude, run = Path(sys.executable).with_name("etude"), folder / "run"
    command = [str(etude), "train", str(folder / "reward.yaml"), f"output={run}"]
    subprocess.run(command, check=True, env={**os.environ, **OFFLINE})
    with (run / "reports" / "harmless.jsonl").open(encoding="utf-8") as report:
        header = json.loads(next(report))["report"]
    print(json.dumps({"summary": header["summary"], "intervals": header["intervals"]}))
