"""BANKING77 as one command on each side: from the files to an adapter whose accuracy on all test queries is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.cases import LORA, TRL
from bench.pairs import BUILD, OFFLINE, ROOT, Options, child, interpreter, ratios_of, rendered, shorter

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data")) / "banking77"
PASSES = {"samples_per_pass": 16}
HEAP = {"MALLOC_TRIM_THRESHOLD_": "17179869184"}
"""Over hundreds of updates of rows of all lengths passes of 32 with the roomy heap need more than 24 GB."""
SMOKE_ANSWERS = 64
"""Test queries where only some updates are made."""


def main(options: Options) -> None:
    """The same recipe on both sides; the time is the whole process's, answering the 3,080 queries included."""
    print("| | seconds from file to measured adapter | accuracy |\n|---|---|---|")
    seconds: list[tuple[float, float]] = []
    for _ in range(options.pairs):
        mine, peer = ours(options), theirs(options)
        seconds.append((peer[0], mine[0]))
        for name, (took, accuracy) in (("Etude", mine), ("TRL", peer)):
            print(f"| {name} | {took:.0f} | {accuracy:.2%} |", flush=True)
    print(f"\nratio of times: {ratios_of(seconds)}")


def ours(options: Options) -> tuple[float, float]:
    """Seconds and accuracy of `etude train`, without the base model's measurement, which the peer has not got."""
    folder = BUILD / "accuracy.run"
    shutil.rmtree(folder, ignore_errors=True)
    changed = [
        f"output={folder}",
        "data.holdout=0",
        "evaluation.base=false",
        "training.save_every=0",
        "training.heldout_every=null",
    ]
    if options.steps is None:
        changed.append(f"training.epochs={options.epochs}")
    else:
        changed += ["training.epochs=null", f"training.steps={options.steps}", f"evaluation.limit={SMOKE_ANSWERS}"]
    command = [str(Path(sys.executable).with_name("etude")), "train", str(ROOT / "examples" / "banking77.yaml")]
    began = time.perf_counter()
    subprocess.run([*command, *changed], check=True, env={**os.environ, **OFFLINE}, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    return took, accuracy_in(folder / "reports" / "banking77.jsonl")


def accuracy_in(report: Path) -> float:
    """The share of right answers, from the report's first line."""
    with report.open(encoding="utf-8") as lines:
        header = json.loads(next(lines))["report"]
    return float(header["summary"][header["metric"]])


def theirs(options: Options) -> tuple[float, float]:
    """Seconds and accuracy of the peer's script."""
    model = json.loads(rendered(shorter(LORA, 1)).read_text(encoding="utf-8"))["model"]
    job = BUILD / "accuracy.peer.json"
    content = {
        "model": model,
        "train": str(DATA / "train.csv"),
        "test": str(DATA / "test.csv"),
        "epochs": options.epochs,
        "steps": options.steps,
        "limit": None if options.steps is None else SMOKE_ANSWERS,
        "settings": {**TRL, **PASSES},
    }
    job.write_text(json.dumps(content), encoding="utf-8")
    command = [interpreter("trl"), "-m", "bench.peers.trl_banking77", str(job)]
    began = time.perf_counter()
    found = child(command, BUILD / "accuracy.peer.log", HEAP)
    return time.perf_counter() - began, found.figures["accuracy"]
