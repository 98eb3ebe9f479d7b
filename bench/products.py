"""Share of Etude's training step in matrix products, by torch's profiler; the attention kernel apart."""

from __future__ import annotations

from dataclasses import replace

from bench.cases import FULL, LORA, TEXT
from bench.pairs import Options, ours, shorter


def main(options: Options) -> None:
    """Products with SwiGLU in their last step count as products; attention in blocks is products and softmax in one."""
    print("| case | products, ms | attention, ms | step, ms | unprofiled, ms | share of products, with attention |")
    print("|---|---|---|---|---|---|")
    for case in (LORA, TEXT, FULL):
        found = ours(shorter(replace(case, ours="bench.ours.products"), options.steps or 12), "products").figures
        products, attention, step = (found[f"{name}_seconds"] for name in ("products", "attention", "profiled"))
        print(
            f"| {case.name} | {1e3 * products:.0f} | {1e3 * attention:.0f} | {1e3 * step:.0f} "
            f"| {1e3 * found['plain_seconds']:.0f} | {products / step:.0%}, {(products + attention) / step:.0%} |",
            flush=True,
        )
