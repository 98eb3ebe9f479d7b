"""From `etude train` to the first update, and what the first update costs beyond a steady one."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import etude

ROUNDS = 3
UPDATES = 10
HERE = Path(etude.__file__).parent
CASES = {
    "quickstart": HERE / "quickstart" / "tickets.run.yaml",
    "BANKING77": Path(__file__).parent.parent / "examples" / "banking77.yaml",
}
SETTINGS = (
    "training.epochs=null",
    f"training.steps={UPDATES}",
    f"training.heldout_every={UPDATES}",
    "training.save_every=0",
    "evaluation.base=false",
    "evaluation.tasks=[]",
)


@dataclass(frozen=True)
class Start:
    """One training's beginning, in seconds."""

    first_step: float
    """From the start of the process to the start of the first update."""
    prepare: float
    load: float
    first_update: float
    steady_update: float


def main() -> None:
    """Prints medians over whole processes; the model is converted and the disk's cache warm after the first one."""
    print(
        "| run | to the first step s | prepare | load | imports, checks, adapter | first update | steady update | "
        "warm-up s |\n|---|---|---|---|---|---|---|---|"
    )
    for name, run_file in CASES.items():
        _measured(run_file)
        starts = [_measured(run_file) for _ in range(ROUNDS)]
        whole, prepare, load, first, steady = (
            statistics.median(column)
            for column in zip(
                *((one.first_step, one.prepare, one.load, one.first_update, one.steady_update) for one in starts),
                strict=True,
            )
        )
        print(
            f"| {name} | {whole:.2f} | {prepare:.2f} | {load:.2f} | {whole - prepare - load:.2f} | {first:.2f} | "
            f"{steady:.2f} | {first - steady:.2f} |"
        )


def _measured(run_file: Path) -> Start:
    """One process that trains a few updates and measures nothing."""
    folder = Path(tempfile.mkdtemp(prefix="startup-"))
    run = folder / "run"
    metrics = run / "metrics.jsonl"
    command = [sys.executable, "-m", "etude.cli.main", "train", str(run_file), *SETTINGS, f"output={run}"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        began = time.perf_counter()
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
                time.sleep(0.005)
            first_done = time.perf_counter() - began
        assert process.returncode == 0, " ".join(command)
        updates = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        seconds = [line["seconds"] for line in updates if "loss" in line]
        timings = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["timings"]
        steady = statistics.median(seconds[UPDATES // 2 :])
        return Start(first_done - seconds[0], timings["prepare"], timings["load"], seconds[0], steady)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
