"""Share of Etude's training step in matrix products, by torch's profiler."""

from __future__ import annotations

from dataclasses import replace

from bench.cases import FULL, LORA, TEXT
from bench.pairs import Options, ours, shorter


def main(options: Options) -> None:
    """The profiler sees torch's products, not the C kernels; the step's wall time holds both, so the share is exact."""
    print("| case | products, s a step | step, s | step without profiler, s | share |\n|---|---|---|---|---|")
    for case in (LORA, TEXT, FULL):
        found = ours(shorter(replace(case, ours="bench.ours.products"), options.steps or 12), "products").figures
        share = found["products_seconds"] / found["profiled_seconds"]
        print(
            f"| {case.name} | {found['products_seconds']:.3f} | {found['profiled_seconds']:.3f} "
            f"| {found['plain_seconds']:.3f} | {share:.0%} |",
            flush=True,
        )
