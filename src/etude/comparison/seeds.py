"""Several trained models a side, from the same settings with different seeds: would another seed say the same?

Items and seeds are both drawn from many, and every model answers every item, so they are crossed random effects. The
variance of the difference is the items' (for the mean of each side's models) plus each side's between seeds; degrees of
freedom are Satterthwaite's. This is min F' of Clark (1973, https://doi.org/10.1016/S0022-5371(73)80014-3), which counts
what is left over between seed and item on both sides and is therefore cautious; a bootstrap over three to eight seeds
would not be (its variance is too small by (k - 1) / k, and it has few distinct draws). Why seeds belong into a
comparison: Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from etude.comparison.power import POWER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How far models of the same settings lie apart, beside what few items let them."""

    tuned: int
    """Models on that side."""
    base: int
    tuned_deviation: float | None
    """Between models' scores; None for a single model."""
    base_deviation: float | None
    share: float
    """Of the difference's variance, 0 to 1."""

    def sentence(self, factor: float = 1.0, unit: str = "") -> str:
        """`3 and 3 models; between seeds a standard deviation of 1.2 and 0.9 points, 38 % of the variance`."""
        known = [one for one in (self.tuned_deviation, self.base_deviation) if one is not None]
        apart = " and ".join(f"{factor * one:.{1 if unit else 4}f}" for one in known)
        return (
            f"{self.tuned} and {self.base} models; between seeds a standard deviation of {apart}{unit},"
            f" {100 * self.share:.0f} % of the variance"
        )


@dataclass(frozen=True)
class SeededMeans:
    """Mean scores of several models a side on the same items (or groups of items).

    `tuned` [k, n] and `base` [j, n] hold a row for each model, `weights` [n] what each item counts; n ≥ 2, k + j ≥ 3. A
    side with one model is that model and no other: no seed was drawn there.
    """

    tuned: NDArray[np.float64]
    base: NDArray[np.float64]
    weights: NDArray[np.float64]
    higher_is_better: bool = True
    items: int | None = None
    """How many items there are, where columns are groups."""
    largest: float = math.inf
    """The largest difference that there can be."""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def method(self) -> str:
        groups = "" if self.items is None else f" over {len(self.weights):,} groups"
        return f"items and seeds as crossed random effects{groups}"

    @property
    def details(self) -> Mapping[str, int]:
        return self.counts

    @cached_property
    def _gains(self) -> NDArray[np.float64]:
        gains: NDArray[np.float64] = self.tuned.mean(axis=0) - self.base.mean(axis=0)
        return gains if self.higher_is_better else -gains

    @cached_property
    def difference(self) -> float:
        return float((self._gains * self.weights).sum() / self.weights.sum())

    @cached_property
    def _parts(self) -> list[tuple[float, int]]:
        """(variance of the difference, degrees of freedom): items, then each side with several models."""
        n = len(self.weights)
        residuals = self.weights * (self._gains - self.difference) / self.weights.sum()
        parts = [(n / (n - 1) * float((residuals**2).sum()), n - 1)]
        for side in (self.tuned, self.base):
            if len(side) > 1:
                parts.append((float(self._means(side).var(ddof=1)) / len(side), len(side) - 1))
        return parts

    def _means(self, side: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = (side * self.weights).sum(axis=1) / self.weights.sum()
        return means

    @cached_property
    def _error(self) -> tuple[float, float]:
        """Standard error of the difference, and its degrees of freedom."""
        total = sum(variance for variance, _ in self._parts)
        below = sum(variance**2 / freedom for variance, freedom in self._parts)
        return math.sqrt(total), total**2 / below if below > 0 else math.inf

    @property
    def spread(self) -> SeedSpread:
        """What the seeds add."""
        total = sum(variance for variance, _ in self._parts)
        seeds = sum(variance for variance, _ in self._parts[1:])
        return SeedSpread(
            tuned=len(self.tuned),
            base=len(self.base),
            tuned_deviation=float(self._means(self.tuned).std(ddof=1)) if len(self.tuned) > 1 else None,
            base_deviation=float(self._means(self.base).std(ddof=1)) if len(self.base) > 1 else None,
            share=seeds / total if total > 0 else 0.0,
        )

    @cached_property
    def p_value(self) -> float:
        from scipy.special import stdtr

        error, freedom = self._error
        if error == 0:
            return 1.0 if self.difference == 0 else 0.0
        return 2 * float(stdtr(freedom, -abs(self.difference) / error))

    def interval(self, level: float) -> tuple[float, float]:
        from scipy.special import stdtrit

        error, freedom = self._error
        half = float(stdtrit(freedom, (1 + level) / 2)) * error if error else 0.0
        return max(self.difference - half, -self.largest), min(self.difference + half, self.largest)

    def detectable(self, level: float) -> float | None:
        from scipy.special import stdtrit

        error, freedom = self._error
        found = float(stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, POWER)) * error
        return found if 0 < found < self.largest else None

    def rows_for(self, gain: float, level: float) -> float | None:
        """None where the seeds' share of the variance, which more items leave as it is, is already too much."""
        found = self.detectable(level)
        if found is None:
            return None
        allowed = (gain / found) ** 2 - self.spread.share
        items = len(self.weights) if self.items is None else self.items
        return items * (1 - self.spread.share) / allowed if allowed > 0 else None
