"""Peak memory of each training case, both sides at their leanest: checkpointing, small passes, an ordinary heap."""

from __future__ import annotations

import statistics
from dataclasses import replace

from bench.cases import DPO, FULL, GRPO, LORA, TEXT, Case
from bench.measured import Measured
from bench.pairs import Options, ours, peers, ratios_of, shorter

STEPS = 4
LEAN_ROWS = 2
"""Rows of one of the peer's passes; a pair or a group stays whole."""
LEAN = {"activation_checkpointing": "always", "tokens": 256}
"""Etude's smallest passes: a sample stays whole."""


def main(options: Options) -> None:
    """A line a case: Etude as it always runs, Etude and the peer at their leanest, and the ratio of the lean ones."""
    print(
        "| case | Etude GB | Etude lean GB | peer lean GB | ratio, lean | examples/s: Etude | lean | peer lean |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for case in (LORA, TEXT, FULL, DPO, GRPO):
        usual = shorter(replace(case, variables={}), options.steps or STEPS)
        lean = replace(usual, ours_settings={**case.ours_settings, **LEAN}, settings=_lean_settings(case))
        rounds = [(ours(usual), ours(lean), peers(lean)) for _ in range(options.pairs)]
        columns = list(zip(*rounds, strict=True))
        cells = [case.name]
        cells += [f"{statistics.median(one.peak_gigabytes for one in runs):.2f}" for runs in columns]
        cells.append(str(ratios_of([(one.peak_gigabytes, peer.peak_gigabytes) for _, one, peer in rounds])))
        cells += [f"{_speed(runs, usual.warm):.2f}" for runs in columns]
        print(f"| {' | '.join(cells)} |", flush=True)


def _lean_settings(case: Case) -> dict[str, object]:
    per_pass = 1 if case.objective != "sft" else LEAN_ROWS
    return {**case.settings, "gradient_checkpointing": True, "samples_per_pass": per_pass}


def _speed(runs: tuple[Measured, ...], warm: int) -> float:
    return statistics.median(run.rows_per_second(warm) for run in runs)
