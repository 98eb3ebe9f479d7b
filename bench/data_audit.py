"""What an audit costs as rows grow, and what it finds of labels that were made wrong in BANKING77."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.data_scale import peak_megabytes, write_rows

ROWS = (1_000, 10_000, 100_000)
SHARES = (0.0, 0.02, 0.05, 0.1)
COLUMNS = {"prompt": "{text}", "completion": "category"}


def main() -> None:
    """Prints both tables; each measurement is made in a process of its own."""
    print("| rows | CPU seconds | rows per CPU second | peak RSS, MB |")
    print("|---|---|---|---|")
    for rows in [int(size) for size in os.environ.get("ETUDE_BENCH_ROWS", "").split()] or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder) / "rows.jsonl", rows)
            found = measured(Path(folder) / "rows.jsonl")
        print(
            f"| {rows:,} | {found['seconds']:.1f} | {rows / found['seconds']:,.0f} | {found['peak']:,.0f} |", flush=True
        )
    print("\n| labels made wrong | named | found | right among the named | right among the first 100 |")
    print("|---|---|---|---|---|")
    embedder = os.environ.get("ETUDE_BENCH_EMBEDDER", "")
    for share in SHARES:
        with tempfile.TemporaryDirectory() as folder:
            wrong = write_wrong(Path(folder) / "rows.jsonl", share)
            noisy = measured(Path(folder) / "rows.jsonl", embedder)["noisy"]
        right = [line in wrong for line in noisy]
        print(
            f"| {share:.0%} ({len(wrong):,}) | {len(noisy):,} | {_share(sum(right), len(wrong))} "
            f"| {_share(sum(right), len(noisy))} | {_share(sum(right[:100]), len(right[:100]))} |",
            flush=True,
        )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole and part else "–"


def write_wrong(path: Path, share: float) -> set[int]:
    """BANKING77's training rows with a share of the labels drawn anew; returns the lines of those."""
    data = Path(os.environ.get("ETUDE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    with (data / "banking77" / "train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    draw, labels = random.Random(0), sorted({row["category"] for row in rows})
    changed = set(draw.sample(range(len(rows)), round(share * len(rows))))
    with path.open("w", encoding="utf-8") as file:
        for at, row in enumerate(rows):
            if at in changed:
                row["category"] = draw.choice([label for label in labels if label != row["category"]])
            file.write(json.dumps(row) + "\n")
    return {at + 1 for at in changed}


def measured(path: Path, embedder: str = "") -> dict[str, Any]:
    """One audit in another process."""
    command = [sys.executable, "-m", "bench.data_audit", str(path), embedder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def look(path: str, embedder: str) -> dict[str, object]:
    """An audit with the base model's tokenizer; the processor's seconds, without loading it."""
    from etude.data.audit.audit import audit
    from etude.data.inputs import Reading, open_inputs
    from etude.data.render import Renderer
    from etude.models.embedding import load_embedder
    from etude.models.load import load_tokenizer

    renderer = Renderer(load_tokenizer("smollm2-135m-instruct"))
    embed = load_embedder(embedder) if embedder else None
    with Path(path).open(encoding="utf-8") as file:
        is_banking = "category" in json.loads(file.readline())
    reading = Reading(columns=COLUMNS if is_banking else {})
    started = time.process_time()
    found = audit(open_inputs([path], reading), renderer=renderer, model="smollm2-135m-instruct", embed=embed)
    seconds = time.process_time() - started
    noisy = [place.origin.line for one in found.findings if one.check == "label-noise" for place in one.places]
    return {"seconds": seconds, "peak": peak_megabytes(), "noisy": noisy}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(look(*sys.argv[1:3])))
    else:
        main()
