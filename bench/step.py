"""Etude's training step on BANKING77, batch 16, in its several ways, by turns: LoRA and full."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.cases import FULL, LORA
from bench.measured import Measured
from bench.pairs import Options, ours, shorter

WAYS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str]]] = {
    "fused": ({}, {}),
    "fused, no sharing": ({"share_prefixes": False}, {}),
    "tree": ({}, {"ETUDE_KERNELS": "off"}),
    "tree, no sharing": ({"share_prefixes": False}, {"ETUDE_KERNELS": "off"}),
}


def main(options: Options) -> None:
    """Each measurement in a process of its own, alternating, so that memory and caches are its own."""
    found: dict[tuple[str, str], list[Measured]] = {}
    for _ in range(options.pairs):
        for case in (LORA, FULL):
            for way, (settings, variables) in WAYS.items():
                short = shorter(replace(case, ours_settings=settings), options.steps)
                found.setdefault((case.technique, way), []).append(ours(short, "step", variables))
    print(
        "| technique | way | examples/s | tokens of data/s | computed share | peak RSS GB |\n|---|---|---|---|---|---|"
    )
    for (technique, way), runs in found.items():
        warm = min(LORA.warm, len(runs[0].seconds) - 1)
        rows = statistics.median(run.rows_per_second(warm) for run in runs)
        tokens = statistics.median(run.tokens_per_second(warm) for run in runs)
        peak = statistics.median(run.peak_gigabytes for run in runs)
        share = runs[0].figures["computed_share"]
        print(f"| {technique} | {way} | {rows:.2f} | {tokens:,.0f} | {share:.2f} | {peak:.2f} |")
