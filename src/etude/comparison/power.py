"""How much a comparison can see: power, the smallest gain found, and how many items are enough. Before evaluating.

Everything is for a two-sided comparison at `level` that must come out in the right direction. Items are independent;
where they come in groups, `design_effect` says how many independent ones they are worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.8
MOST_ITEMS = 10_000_000
_EXACT_UP_TO = 20_000
_TAIL = 8.0
"""Standard deviations of the number of discordant items that are summed over."""


def proportions_power(n: int, *, discordance: float, gain: float, level: float = 0.95) -> float:
    """Chance that the exact McNemar test on `n` items calls a true gain better.

    `discordance` is the share of items that exactly one model gets right, at least `gain`. Sums over the number of
    discordant items; beyond 20,000 items Connor's approximation takes over.
    """
    import numpy as np
    from scipy.stats import binom

    assert 0 < gain <= discordance <= 1
    if n > _EXACT_UP_TO:
        return _connor_power(n, discordance, gain, level)
    middle, spread = n * discordance, math.sqrt(n * discordance * (1 - discordance))
    counts = np.arange(max(1, math.floor(middle - _TAIL * spread)), min(n, math.ceil(middle + _TAIL * spread)) + 1)
    most_lost = _critical(counts, 1 - level)
    lost = binom.cdf(most_lost, counts, (discordance - gain) / (2 * discordance))
    return float((binom.pmf(counts, n, discordance) * np.where(most_lost >= 0, lost, 0.0)).sum())


def _critical(discordant: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """The most items lost, of so many discordant ones, at which the exact test still rejects; -1: never."""
    import numpy as np
    from scipy.stats import binom

    at = binom.ppf(alpha / 2, discordant, 0.5)
    found: NDArray[np.float64] = np.where(2 * binom.cdf(at, discordant, 0.5) < alpha, at, at - 1)
    return found


def _connor_power(n: int, discordance: float, gain: float, level: float) -> float:
    """Connor (1987, https://doi.org/10.2307/2531961)."""
    from scipy.special import ndtr, ndtri

    left = gain * math.sqrt(n) - float(ndtri((1 + level) / 2)) * math.sqrt(discordance)
    spread = math.sqrt(max(discordance - gain * gain, 1e-300))
    return float(ndtr(left / spread))


def connor_rows(gain: float, *, discordance: float, level: float = 0.95, power: float = POWER) -> float:
    """Items after which a gain is found with that power, by Connor's formula; no test is needed to have been made."""
    from scipy.special import ndtri

    discordance = max(discordance, gain)
    needed = float(ndtri((1 + level) / 2)) * math.sqrt(discordance)
    needed += float(ndtri(power)) * math.sqrt(max(discordance - gain * gain, 0.0))
    return (needed / gain) ** 2


def means_power(n: int, *, deviation: float, gain: float, level: float = 0.95) -> float:
    """Chance that a paired t-test finds a true mean gain; `deviation` is the standard deviation of items' gains."""
    from scipy.special import nctdtr, stdtrit

    if n < 2:
        return 0.0
    limit = float(stdtrit(n - 1, (1 + level) / 2))
    return float(1 - nctdtr(n - 1, gain * math.sqrt(n) / deviation, limit))


def rows_for(power_at: Callable[[int], float], power: float = POWER) -> int | None:
    """The fewest items with that power; None where 10 million are not enough. `power_at` must rise with the items."""
    high = 2
    while power_at(high) < power:
        high *= 2
        if high > MOST_ITEMS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def gain_for(power_of: Callable[[float], float], most: float, power: float = POWER) -> float | None:
    """The smallest gain up to `most` that is found with that power; None where even `most` is not."""
    if power_of(most) < power:
        return None
    low, high = 0.0, most
    while high - low > 1e-6 * most:
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def independent_discordance(base: float, gain: float) -> float:
    """Share of items that exactly one model gets right if their mistakes had nothing to do with each other.

    Models with a common base err alike, so the true share is as a rule smaller: a cautious plan.
    """
    tuned = min(1.0, base + gain)
    return max(base * (1 - tuned) + tuned * (1 - base), gain)


def design_effect(values: NDArray[np.float64], number: NDArray[np.int64] | None) -> float:
    """By how much clusters widen the variance of a mean (Kish 1965): items / design effect are worth as many
    independent ones. `values` per item, `number` their clusters; 1 without clusters, never below 1."""
    import numpy as np

    if number is None:
        return 1.0
    residuals = values - values.mean()
    plain = float((residuals**2).sum())
    sums = np.bincount(number, weights=residuals)
    return max(1.0, float((sums**2).sum()) / plain) if plain > 0 else 1.0
