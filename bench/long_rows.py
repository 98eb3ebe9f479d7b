"""One row of growing length on both sides: how seconds and memory grow with the work."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from functools import partial

from bench.cases import long_case
from bench.measured import Measured
from bench.pairs import BUILD, Options, measure, ratios, shorter, sides

LENGTHS = (512, 1024, 2048, 4096, 8192)


def main(options: Options) -> None:
    """A line for each length; the peer checkpoints its activations where it would not fit otherwise."""
    print("| tokens | Etude s | peer s | ratio of speed | Etude GB | peer GB |\n|---|---|---|---|---|---|")
    record: dict[int, object] = {}
    for length in LENGTHS:
        case = shorter(long_case(length), options.steps)
        pairs = measure(case, options.pairs)
        seconds = [statistics.median(run.steady(case.warm) for run in runs) for runs in sides(pairs)]
        peak = [statistics.median(run.peak_gigabytes for run in runs) for runs in sides(pairs)]
        speed = ratios(pairs, partial(Measured.rows_per_second, warm=case.warm))
        print(
            f"| {length:,} | {seconds[0]:.2f} | {seconds[1]:.2f} | {speed} | {peak[0]:.2f} | {peak[1]:.2f} |",
            flush=True,
        )
        record[length] = [asdict(pair) for pair in pairs]
    (BUILD / "long.json").write_text(json.dumps(record), encoding="utf-8")
