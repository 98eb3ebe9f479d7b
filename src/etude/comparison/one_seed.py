"""Two single runs say which *model* is better; what another seed would have given is not in their reports.

How far seeds lie apart can be told by the user, from earlier runs of such settings: each side's mean then has that
variance too. Both parts are joined by squares of distances (MOVER: Zou and Donner 2008,
https://doi.org/10.1002/sim.3095), which keeps the interval of the items as lopsided as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from etude.comparison.judgement import Evidence, bounds, smallest_alpha
from etude.comparison.power import POWER

ONE_SEED = (
    "one training seed a side: this says which of these two models is better, not which settings; seeds alone make "
    "such a difference in about one of ten comparisons, so settings need --seeds and --base-seeds, or --seed-deviation"
)
"""Said of verdicts on two single runs; how often: bench/RESULTS.md, 9 % on 3,080 items and 17 % on 300."""


@dataclass(frozen=True)
class Widened:
    """Evidence on two single models, taken for evidence on their settings."""

    items: Evidence
    deviation: float
    """Of a model's true score between seeds, the same on both sides; above 0."""

    @property
    def method(self) -> str:
        return f"{self.items.method} and a seed deviation of {self.deviation:g} a side, as given"

    @property
    def difference(self) -> float:
        return self.items.difference

    @property
    def details(self) -> Mapping[str, int]:
        return self.items.details

    @cached_property
    def p_value(self) -> float:
        """The smallest 1 - level whose interval leaves zero out."""
        return smallest_alpha(lambda alpha: self.interval(1 - alpha), lambda low, high: low > 0 or high < 0)

    def interval(self, level: float) -> tuple[float, float]:
        """The items' interval, each end as much farther away as the seeds can have moved it."""
        low, high = bounds(self.items, 1 - level)
        seeds = self._normal(level) * math.sqrt(2) * self.deviation
        return (
            self.difference - math.hypot(self.difference - low, seeds),
            self.difference + math.hypot(high - self.difference, seeds),
        )

    def detectable(self, level: float) -> float | None:
        found = self.items.detectable(level)
        return None if found is None else math.hypot(found, self._floor(level))

    def rows_for(self, gain: float, level: float) -> float | None:
        """None below what seeds alone can make: no number of items shows that."""
        floor = self._floor(level)
        return None if gain <= floor else self.items.rows_for(math.sqrt(gain**2 - floor**2), level)

    def _floor(self, level: float) -> float:
        """The gain that endless items would show four times in five."""
        from scipy.special import ndtri

        return (self._normal(level) + float(ndtri(POWER))) * math.sqrt(2) * self.deviation

    @staticmethod
    def _normal(level: float) -> float:
        from scipy.special import ndtri

        return float(ndtri((1 + level) / 2))
