"""Training steps on BANKING77, batch 16: prefix trees against flat packing, LoRA and full, in turns."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from etude.config import load_run_file
from etude.cycle.fine_tune import prepare_rows
from etude.cycle.show import Quiet
from etude.data.batches import OfflineBatches
from etude.models.load import load
from etude.objectives.sft import SFT
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.progress import Progress

STEPS = 10
WARM = 2
ROUNDS = 3
EXAMPLE = Path(__file__).parent.parent / "examples" / "banking77.yaml"


def main() -> None:
    """Each measurement in a process of its own, alternating, so that memory and caches are its own."""
    print(
        "| technique | batches | rows/s | tokens of data/s | computed share | peak RSS GB |\n|---|---|---|---|---|---|"
    )
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(ROUNDS):
        for technique in ("lora", "full"):
            for batches in ("tree", "flat"):
                done = subprocess.run(
                    [sys.executable, "-m", "bench.training_step", technique, batches],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found.setdefault((technique, batches), []).append([float(x) for x in done.stdout.split()[-4:]])
    for (technique, batches), rounds in found.items():
        rows, tokens, share, rss = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {technique} | {batches} | {rows:.2f} | {tokens:.0f} | {share:.2f} | {rss:.2f} |")


def measure(technique: str, batches: str) -> None:
    """One process: prints rows/s, tokens/s, computed share, peak RSS."""
    run_file = load_run_file(EXAMPLE)
    samples = prepare_rows(run_file, Quiet(), quarantine=None).samples[: 16 * STEPS]
    policy = attach(LoRA() if technique == "lora" else Full(), load(run_file.model))
    seen: list[Progress] = []
    train(
        policy,
        OfflineBatches(samples=samples, share_prefixes=batches == "tree"),
        SFT(),
        options=TrainOptions(steps=STEPS, batch_rows=16, learning_rate=1e-5),
        hooks=[lambda progress, _: seen.append(progress)],
    )
    seconds = statistics.median(one.seconds for one in seen[WARM:])
    tokens = sum(one.tokens for one in seen) / len(seen)
    share = sum(one.tokens_computed for one in seen) / sum(one.tokens for one in seen)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(16 / seconds, tokens / seconds, share, peak)


if __name__ == "__main__":
    measure(*sys.argv[1:])
