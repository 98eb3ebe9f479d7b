"""Shares and how far they can be off, and which of many differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence


def share_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def differs(successes: int, n: int, other_successes: int, other_n: int) -> float:
    """p that two shares are the same (Fisher's exact test)."""
    from scipy.stats import fisher_exact

    table = [[successes, n - successes], [other_successes, other_n - other_successes]]
    return float(fisher_exact(table).pvalue)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p values for many tests at once: below q, a share of q of them is false (Benjamini and Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return [] if not p_values else [float(value) for value in false_discovery_control(p_values, method="bh")]
