"""Statistics of two models on the same items. Never touches disk, knows nothing of reports.

Both kinds of evidence combine a test that is exact whatever the sample (flipping the sign of each item's difference,
which for right/wrong scores is McNemar's exact test) with an interval that is accurate away from zero. The reported
p-value is the larger of the test's and the interval's own, so that a difference counts only where both say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from etude.comparison.power import POWER, connor_rows
from etude.evaluation.intervals import RESAMPLES, Bootstrap, bootstrap_ratio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXACT_ITEMS = 12
_SIGNS_AT_ONCE = 1 << 22
_FAR = 1e6


@dataclass(frozen=True)
class PairedProportions:
    """Right or wrong twice: exact McNemar test with Tango's score interval."""

    both: int
    only_base: int
    only_tuned: int
    neither: int
    method = "exact McNemar"

    @property
    def n(self) -> int:
        return self.both + self.only_base + self.only_tuned + self.neither

    @property
    def difference(self) -> float:
        return (self.only_tuned - self.only_base) / self.n

    @property
    def details(self) -> Mapping[str, int]:
        return {
            "both": self.both,
            "only_base": self.only_base,
            "only_tuned": self.only_tuned,
            "neither": self.neither,
        }

    @cached_property
    def p_value(self) -> float:
        """McNemar's exact p (1947, https://doi.org/10.1007/BF02295996); where it is below about 0.001 the score
        test's, which Tango's interval inverts, can be larger and then stands."""
        discordant = self.only_base + self.only_tuned
        if not discordant:
            return 1.0
        score = math.erfc(abs(self.only_tuned - self.only_base) / math.sqrt(2 * discordant))
        return max(exact_mcnemar(self.only_base, self.only_tuned), score)

    def interval(self, level: float) -> tuple[float, float]:
        """Tango's score interval (1998, https://pubmed.ncbi.nlm.nih.gov/9595618/)."""
        from scipy.special import ndtri

        z = float(ndtri((1 + level) / 2))
        low = _tango_limit(self.only_tuned, self.only_base, self.n, z)
        high = -_tango_limit(self.only_base, self.only_tuned, self.n, z)
        return low, high

    def detectable(self, level: float) -> float | None:
        """By Connor's sample-size formula at the discordance seen."""
        low, high = 0.0, 1.0
        if self.rows_for(high, level) > self.n:
            return 1.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if self.rows_for(middle, level) <= self.n else (middle, high)
        return high

    def rows_for(self, gain: float, level: float) -> float:
        seen = (self.only_base + self.only_tuned + 1) / (self.n + 2)
        return connor_rows(gain, discordance=seen, level=level)


def exact_mcnemar(only_base: int, only_tuned: int) -> float:
    """Two-sided binomial p-value of the discordant items, each side as likely as the other."""
    from scipy.special import bdtr

    discordant = only_base + only_tuned
    return min(1.0, 2 * float(bdtr(min(only_base, only_tuned), discordant, 0.5))) if discordant else 1.0


def _tango_limit(gained: int, lost: int, n: int, z: float) -> float:
    """Lower limit: the smallest gain that the score test at `z` does not reject."""
    from scipy.optimize import brentq

    def beyond(gain: float) -> float:
        return min(_tango_score(gained, lost, n, gain), _FAR) - z

    seen = (gained - lost) / n
    return float(brentq(beyond, -1.0, seen, xtol=1e-12)) if beyond(-1.0) > 0 > beyond(seen) else seen


def _tango_score(gained: int, lost: int, n: int, gain: float) -> float:
    """Standardised distance of the observed gain from `gain`, the nuisance share at its constrained maximum."""
    linear = (2 * n - gained + lost) * gain - gained - lost
    root = math.sqrt(max(linear * linear + 8 * n * lost * gain * (1 - gain), 0.0))
    losing = max((root - linear) / (4 * n), -gain, 0.0)
    variance = n * (2 * losing + gain * (1 - gain))
    distance = gained - lost - n * gain
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


@dataclass(frozen=True)
class PairedMeans:
    """Scores of any kind twice: paired bootstrap interval with a sign-flip test.

    `gains` are the items' differences, `weights` what each item counts (perplexity: its tokens), both of shape n ≥ 2.
    Where items come in groups each group is one pair, with the mean gain and the summed weight of its items: whole
    groups are resampled and change sign.
    """

    gains: NDArray[np.float64]
    weights: NDArray[np.float64]
    items: int | None = None
    """How many items the pairs hold, where they are groups."""
    largest: float = 1.0
    """The largest difference that an item could show; it bounds the interval where no item shows any."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """`details` of the items, where the pairs are groups."""
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def method(self) -> str:
        return "paired bootstrap" if self.items is None else f"paired bootstrap over {len(self.gains):,} groups"

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return bootstrap_ratio(self.gains * self.weights, self.weights, resamples=self.resamples, seed=self.seed)

    @property
    def difference(self) -> float:
        return self._bootstrap.estimate

    @property
    def details(self) -> Mapping[str, int]:
        return self.counts or gain_counts(self.gains)

    @cached_property
    def p_value(self) -> float:
        flipped = sign_flip(self.gains * self.weights, flips=self.resamples, seed=self.seed)
        return max(flipped, self._bootstrap.p_value())

    def interval(self, level: float) -> tuple[float, float]:
        """The bootstrap's. Where no pair differs: how much the mean could be if the pairs that differ were missed."""
        if not self.gains.any():
            missed = (1 - level) / 2
            most = self.largest * (1 - missed ** (1 / len(self.gains)))
            return -most, most
        return self._bootstrap.interval(level)

    def detectable(self, level: float) -> float | None:
        from scipy.special import stdtrit

        n = len(self.gains)
        residuals = self.weights * (self.gains - self.difference)
        error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / float(self.weights.sum())
        if error == 0:
            return None
        return float(stdtrit(n - 1, (1 + level) / 2) + stdtrit(n - 1, POWER)) * error

    def rows_for(self, gain: float, level: float) -> float | None:
        found = self.detectable(level)
        items = len(self.gains) if self.items is None else self.items
        return None if found is None else items * (found / gain) ** 2


def gain_counts(gains: NDArray[np.float64]) -> dict[str, int]:
    """On how many items each side is ahead."""
    up, down = int((gains > 0).sum()), int((gains < 0).sum())
    return {"tuned_better": up, "base_better": down, "equal": len(gains) - up - down}


def sign_flip(differences: NDArray[np.float64], *, flips: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value of the sum when each difference could as well have had the other sign.

    Fisher's randomisation test for pairs: all sign patterns up to 12 differences, random ones beyond.
    """
    import numpy as np

    values = differences[differences != 0]
    observed = abs(values.sum()) * (1 - 1e-12)
    if not len(values):
        return 1.0
    if len(values) <= _EXACT_ITEMS:
        patterns = np.arange(1 << len(values))[:, None] >> np.arange(len(values)) & 1
        return float((np.abs((2.0 * patterns - 1) @ values) >= observed).mean())
    generator = np.random.default_rng(seed)
    step = max(1, _SIGNS_AT_ONCE // len(values))
    reached = 0
    for start in range(0, flips, step):
        signs = generator.integers(0, 2, size=(min(step, flips - start), len(values)), dtype=np.int8)
        reached += int((np.abs((2.0 * signs - 1) @ values) >= observed).sum())
    return (1 + reached) / (1 + flips)
