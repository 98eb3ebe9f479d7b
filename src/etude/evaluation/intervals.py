"""How far a number measured on a sample of items can be from its true value: Wilson's interval and the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000
_DRAWS_AT_ONCE = 1 << 22


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share (1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


@dataclass(frozen=True)
class Bootstrap:
    """A statistic, and the same statistic on resampled items."""

    estimate: float
    resampled: NDArray[np.float64]
    """Sorted."""
    bias: float
    """z0: how far the estimate is from the resampled median, in standard normal units."""
    acceleration: float
    n: int

    def interval(self, level: float) -> tuple[float, float]:
        """BCa (Efron 1987, https://doi.org/10.1080/01621459.1987.10478410), its level expanded for small samples.

        The expansion, Student's t and a factor sqrt(n / (n - 1)), mends the narrowness that makes plain bootstrap
        intervals miss too often below 100 items (Hesterberg 2014, https://arxiv.org/abs/1411.5279, §4.3).
        """
        from scipy.special import stdtrit

        z = float(stdtrit(self.n - 1, (1 + level) / 2)) * math.sqrt(self.n / (self.n - 1))
        count = len(self.resampled)
        low = math.ceil(self._share(-z) * count) - 1
        high = count - math.ceil((1 - self._share(z)) * count)
        return float(self.resampled[max(low, 0)]), float(self.resampled[min(high, count - 1)])

    def _share(self, z: float) -> float:
        """Which quantile of the resampled statistic stands for `z`."""
        from scipy.special import ndtr

        shifted = self.bias + z
        stretch = 1 - self.acceleration * shifted
        if stretch <= 0:
            return 1.0 if shifted > 0 else 0.0
        return float(ndtr(self.bias + shifted / stretch))

    def p_value(self) -> float:
        """Two-sided, for a true value of zero: the smallest 1 - level whose interval leaves zero out, or 1."""

        def excludes_zero(p: float) -> bool:
            low, high = self.interval(1 - p)
            return low > 0 or high < 0

        included, excluded = 1e-12, 1.0
        if excludes_zero(included):
            return included
        if not excludes_zero(1 - 1e-9):
            return 1.0
        for _ in range(60):
            middle = math.sqrt(included * excluded)
            included, excluded = (included, middle) if excludes_zero(middle) else (middle, excluded)
        return excluded


def bootstrap_ratio(
    numerators: Sequence[float] | NDArray[np.float64],
    denominators: Sequence[float] | NDArray[np.float64] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap of sum(numerators) / sum(denominators) over items; without denominators, of the mean.

    Needs at least two items and positive denominators.
    """
    import numpy as np
    from scipy.special import ndtri

    above = np.asarray(numerators, dtype=np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(denominators, dtype=np.float64)
    assert len(above) == len(below) >= 2
    estimate = float(above.sum() / below.sum())
    resampled = np.sort(resampled_ratios(above, below, resamples=resamples, seed=seed))
    left_out = (above.sum() - above) / (below.sum() - below)
    influence = left_out.mean() - left_out
    spread = float((influence**2).sum()) ** 1.5
    acceleration = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0
    slack = 1e-12 * max(1.0, abs(estimate))
    lower = np.count_nonzero(resampled < estimate - slack)
    equal = np.count_nonzero(np.abs(resampled - estimate) <= slack)
    share = min(max((lower + equal / 2) / resamples, 0.5 / resamples), 1 - 0.5 / resamples)
    return Bootstrap(estimate, resampled, float(ndtri(share)), acceleration, len(above))


def resampled_ratios(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """sum(numerators) / sum(denominators) of `resamples` draws of all items with replacement."""
    import numpy as np

    generator = np.random.default_rng(seed)
    count = len(numerators)
    constant = bool((denominators == denominators[0]).all())
    found = np.empty(resamples)
    step = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = generator.integers(0, count, size=(min(step, resamples - start), count), dtype=np.int32)
        below = count * denominators[0] if constant else denominators[drawn].sum(axis=1)
        found[start : start + len(drawn)] = numerators[drawn].sum(axis=1) / below
    return found


def mean_interval(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    groups: Sequence[str | None] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Wilson's interval where every value is 0 or 1, else the bootstrap's, which is unbounded for a single item.

    Where several items share a group, whole groups are resampled. Missing values (NaN) are left out.
    """
    import numpy as np

    known = ~np.isnan(values)
    scores = np.asarray(values, dtype=np.float64)[known]
    counts = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)[known]
    names = None if groups is None else [group for group, keep in zip(groups, known, strict=True) if keep]
    number = clusters(names, len(scores))
    if number is None and weights is None and len(scores) and bool(np.isin(scores, (0, 1)).all()):
        return wilson(float(scores.sum()), len(scores), level)
    sums, below = by_cluster(scores * counts, number), by_cluster(counts, number)
    return bootstrap_ratio(sums, below, seed=seed).interval(level) if len(sums) > 1 else (-math.inf, math.inf)


def clusters(groups: Sequence[str | None] | None, count: int) -> NDArray[np.int64] | None:
    """The number of each item's cluster, an item without a group being its own; None where every item stands alone."""
    import numpy as np

    if groups is None:
        return None
    numbers: dict[object, int] = {}
    found = [numbers.setdefault(place if group is None else group, len(numbers)) for place, group in enumerate(groups)]
    return None if len(numbers) == count else np.asarray(found, dtype=np.int64)


def by_cluster(values: NDArray[np.float64], number: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """The sum of each cluster; without clusters the values themselves."""
    import numpy as np

    return values if number is None else np.bincount(number, weights=values).astype(np.float64)
