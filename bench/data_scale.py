"""What preparing rows costs as they grow from a thousand to a million: time and memory, then a second run's."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = (1_000, 10_000, 100_000, 1_000_000)
STEPS = 50
BATCH_ROWS = 32
WORDS = [
    "card",
    "payment",
    "refund",
    "order",
    "parcel",
    "account",
    "password",
    "login",
    "invoice",
    "router",
    "camera",
    "delivery",
    "address",
    "today",
    "yesterday",
    "please",
    "help",
    "urgent",
    "money",
    "bank",
    "transfer",
    "pending",
    "missing",
    "wrong",
    "double",
    "charged",
    "cancel",
    "change",
    "update",
    "email",
    "phone",
    "number",
    "code",
    "error",
    "screen",
    "blue",
    "green",
    "small",
    "large",
    "cheap",
    "broken",
    "new",
    "old",
    "fast",
    "slow",
]


def main() -> None:
    """Prints the table, each size prepared in a process of its own and then once more in another."""
    print(
        "| rows | seconds | rows/s | batching, µs a row | peak RSS, MB | imports' RSS, MB "
        "| second run: seconds | peak RSS, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    sizes = [int(size) for size in os.environ.get("ETUDE_BENCH_ROWS", "").split()] or ROWS
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder) / "rows.jsonl", rows)
            first, second = (measured(Path(folder)) for _ in range(2))
        print(
            f"| {rows:,} | {first['seconds']:.2f} | {rows / first['seconds']:,.0f} | {first['batching']:.0f} "
            f"| {first['peak']:,.0f} | {first['floor']:,.0f} | {second['seconds']:.2f} | {second['peak']:,.0f} |",
            flush=True,
        )


def write_rows(path: Path, count: int) -> None:
    """Short made-up questions, no two alike, with one of many labels."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = " ".join(draw.choices(WORDS, k=draw.randint(6, 16)))
            row = {
                "prompt": f"Classify the message into its intent.\nMessage: {asked} {number}",
                "completion": f"{draw.choice(WORDS)}_{draw.choice(WORDS)}",
            }
            file.write(json.dumps(row) + "\n")


def measured(folder: Path) -> dict[str, float]:
    """One process that does what `etude train` does before it loads the model."""
    from etude.models.source import cache_folder

    home = folder / "home"
    home.mkdir(exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(cache_folder())
    environment = {**os.environ, "ETUDE_HOME": str(home), "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-m", "bench.data_scale", str(folder / "rows.jsonl")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def prepare(path: str) -> dict[str, float]:
    """Prepares the rows, or finds them prepared; seconds are without imports."""
    from etude.config import RunFile
    from etude.cycle.fine_tune import prepare_rows
    from etude.cycle.show import Quiet
    from etude.data.batches import OfflineBatches
    from etude.data.options import DataOptions
    from etude.models.load import load_tokenizer
    from etude.models.options import ModelOptions
    from etude.objectives.sft import SFT
    from etude.techniques.lora import LoRA

    load_tokenizer("smollm2-135m-instruct")
    floor = peak_megabytes()
    run_file = RunFile(
        model=ModelOptions(name="smollm2-135m-instruct"),
        data=DataOptions(train=path, holdout=0.02),
        technique=LoRA(),
        objective=SFT(),
        output=str(Path(path).with_name("run")),
    )
    started = time.perf_counter()
    prepared = prepare_rows(run_file, Quiet(), quarantine=None)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    source = OfflineBatches(samples=prepared.samples)
    total = min(STEPS * BATCH_ROWS, len(prepared.samples))
    for _ in source.steps(batch_rows=BATCH_ROWS, seed=0, first=0, total_samples=total, share=lambda items: items):
        pass
    batching = 1e6 * (time.perf_counter() - started) / total
    return {"seconds": seconds, "batching": batching, "floor": floor, "peak": peak_megabytes()}


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(prepare(sys.argv[1])))
    else:
        main()
