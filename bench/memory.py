"""Peak memory of each training case with the peer at its leanest: checkpointing, small passes, an ordinary heap."""

from __future__ import annotations

import statistics
from dataclasses import replace

from bench.cases import DPO, FULL, GRPO, LORA, TEXT
from bench.pairs import Options, measure, ratios, shorter, sides

STEPS = 4
LEAN_ROWS = 2
"""Rows of one of the peer's passes; a pair or a group stays whole."""


def main(options: Options) -> None:
    """One table; Etude runs as it always does."""
    print("| case | Etude GB | peer GB | ratio | Etude examples/s | peer's examples/s |\n|---|---|---|---|---|---|")
    for case in (LORA, TEXT, FULL, DPO, GRPO):
        per_pass = 1 if case.objective != "sft" else LEAN_ROWS
        lean = {**case.settings, "gradient_checkpointing": True, "samples_per_pass": per_pass}
        short = shorter(replace(case, settings=lean, variables={}), options.steps or STEPS)
        pairs = measure(short, options.pairs)
        cells = [case.name]
        cells += [f"{statistics.median(one.peak_gigabytes for one in runs):.2f}" for runs in sides(pairs)]
        cells.append(str(ratios(pairs, lambda run: run.peak_gigabytes)))
        cells += [f"{statistics.median(one.rows_per_second(short.warm) for one in runs):.2f}" for runs in sides(pairs)]
        print(f"| {' | '.join(cells)} |", flush=True)
