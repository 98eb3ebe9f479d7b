"""The planner against whole runs, each through the command as a user would: objectives with several models in them.

What was foreseen and what was taken stand in each run's manifest; the latter is the peak from before the first update
to after the last.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.pairs import BUILD, OFFLINE, ROOT

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data"))
PAIRS = str(DATA / "hh_rlhf_harmless" / "pairs.jsonl")
PROMPTS = str(DATA / "self_instruct" / "user_oriented_instructions.jsonl")
FOLDER = BUILD / "planned-runs"
SHORT = {"group": 4, "max_new_tokens": 48, "rewards": [{"kind": "length", "most_tokens": 16}]}
JUDGED = {"group": 4, "max_new_tokens": 48, "rewards": [{"kind": "model", "run": "runs/reward"}]}


@dataclass(frozen=True)
class Run:
    """What differs between two runs."""

    name: str
    objective: dict[str, Any]
    data: str
    technique: dict[str, Any] = field(default_factory=lambda: {"kind": "lora"})
    rollouts: dict[str, Any] | None = None
    batch_rows: int = 8

    def settings(self) -> dict[str, Any]:
        """Its run file."""
        found = {
            "model": "smollm2-135m-instruct",
            "data": {"train": self.data, "holdout": 0, "max_tokens": 128, "over_length": "drop"},
            "technique": self.technique,
            "objective": self.objective,
            "training": {"steps": 2, "batch_rows": self.batch_rows, "learning_rate": 1e-4, "save_every": 0},
            "evaluation": {"base": False, "retention": [], "drift_rows": 0},
            "output": f"runs/{self.name}",
        }
        return found | ({"rollouts": self.rollouts} if self.rollouts else {})


RUNS = (
    Run("reward", {"kind": "reward"}, PAIRS),
    Run("reward-full", {"kind": "reward"}, PAIRS, {"kind": "full"}, batch_rows=4),
    Run("grpo", {"kind": "grpo"}, PROMPTS, rollouts=SHORT),
    Run("grpo-kl", {"kind": "grpo", "kl": 0.02}, PROMPTS, rollouts=SHORT),
    Run("grpo-qlora", {"kind": "grpo"}, PROMPTS, {"kind": "qlora"}, rollouts=SHORT),
    Run("grpo-wide", {"kind": "grpo"}, PROMPTS, rollouts={**SHORT, "group": 32, "max_new_tokens": 32}, batch_rows=32),
    Run("ppo", {"kind": "ppo"}, PROMPTS, rollouts=JUDGED),
    Run("ppo-full", {"kind": "ppo"}, PROMPTS, {"kind": "full"}, rollouts=JUDGED),
    Run("distill", {"kind": "distill", "teacher": "smollm2-135m-instruct"}, PROMPTS, batch_rows=8),
)
"""In this order: those with `JUDGED` need the first."""


def main() -> None:
    """A line a run; names on the command line choose some."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = {run.name for run in RUNS} & {*sys.argv[1:]}
    print("| run | objective | technique | predicted GB | while | measured GB | error |\n|---|---|---|---|---|---|---|")
    for run in RUNS:
        if chosen and run.name not in chosen:
            continue
        predicted, measured, phase = _taken(run)
        print(
            f"| {run.name} | {run.objective['kind']} | {run.technique['kind']} | {predicted / 1e9:.2f} | {phase} "
            f"| {measured / 1e9:.2f} | {predicted / measured - 1:+.1%} |",
            flush=True,
        )


def _taken(run: Run) -> tuple[float, float, str]:
    """Bytes foreseen and taken, and in which phase the peak was foreseen."""
    file, output = FOLDER / f"{run.name}.yaml", FOLDER / "runs" / run.name
    file.write_text(json.dumps(run.settings()), encoding="utf-8")  # JSON is YAML
    shutil.rmtree(output, ignore_errors=True)
    planned = _etude("plan", file.name)
    phase = planned.partition(", while ")[2].partition(":")[0]
    _etude("train", file.name)
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    return manifest["expected"]["peak_bytes"], manifest["actual"]["peak_bytes"], phase


def _etude(*arguments: str) -> str:
    """What the command says.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "etude.cli.main", *arguments]
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, env={**os.environ, **OFFLINE}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
