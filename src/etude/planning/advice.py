"""Settings to begin with, each with its reason and source; a sweep finds better ones."""

from __future__ import annotations

from dataclasses import dataclass

SMALL, LARGE = 1e9, 1.3e10
"""Weights below and above which rates differ."""
ADAPTERS = "https://arxiv.org/abs/2106.09685, table 12; https://thinkingmachines.ai/blog/lora"
MEASURED = "measured with 135M weights: bench/RESULTS.md, every technique on the same rows"
FACTORS = {
    "full": (1, ADAPTERS),
    "freeze": (1, ADAPTERS),
    "ia3": (300, MEASURED),
    "prompt": (1000, MEASURED),
    "prefix": (1000, MEASURED),
    "p-tuning": (100, "a guess between adapters and prompt tuning; a sweep tells"),
}
"""Of a technique's rate over that of full fine-tuning, and why; those left out are adapters."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting."""

    setting: str
    value: str
    why: str


def learning_rate(kind: str, weights: float) -> Advice:
    """A rate by technique and size: adapters want about ten times that of full fine-tuning, large models less."""
    full = 5e-5 if weights < SMALL else 1e-5 if weights < LARGE else 5e-6
    factor, source = FACTORS.get(kind, (10, ADAPTERS))
    return Advice(
        "training.learning_rate",
        f"{full * factor:.0e}",
        f"{factor:,} times that of full fine-tuning at this size ({source})",
    )


def epochs(rows: int) -> Advice:
    """Passes by the number of rows: few rows are seen more often, and the held-out loss says when it is enough."""
    value = 5 if rows < 500 else 3 if rows < 20_000 else 2 if rows < 100_000 else 1
    return Advice(
        "training.epochs",
        str(value),
        f"{rows:,} rows; up to four passes are worth nearly as much as fresh rows (https://arxiv.org/abs/2305.16264)",
    )
