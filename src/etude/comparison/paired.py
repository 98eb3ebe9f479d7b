"""Statistics of two models on the same items. Never touches disk, knows nothing of reports.

Both kinds of evidence combine a test that is exact whatever the sample (flipping the sign of each item's difference,
which for right/wrong scores is McNemar's exact test) with an interval that is accurate away from zero. The reported
p-value is the larger of the test's and the interval's own, so that a difference counts only where both say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from etude.evaluation.intervals import RESAMPLES, Bootstrap, bootstrap_ratio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.8
_EXACT_ITEMS = 12
_SIGNS_AT_ONCE = 1 << 22


class Evidence(Protocol):
    """What the paired differences say; whoever asks chooses the level."""

    @property
    def method(self) -> str: ...

    @property
    def difference(self) -> float:
        """Mean gain of the second model over the first."""
        ...

    @property
    def p_value(self) -> float:
        """Two-sided, for no difference; below 1 - level only where the interval at that level leaves zero out."""
        ...

    @property
    def details(self) -> Mapping[str, int]: ...

    def interval(self, level: float) -> tuple[float, float]: ...

    def detectable(self, level: float) -> float | None:
        """Smallest true gain found in 80 % of such comparisons; None where the differences do not tell."""
        ...


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
        """By Connor's sample-size formula at the discordance seen (1987, https://doi.org/10.2307/2531961)."""
        from scipy.special import ndtri

        z_level, z_power = float(ndtri((1 + level) / 2)), float(ndtri(POWER))
        seen = (self.only_base + self.only_tuned + 1) / (self.n + 2)

        def found(gain: float) -> bool:
            discordance = max(seen, gain)
            needed = z_level * math.sqrt(discordance) + z_power * math.sqrt(max(discordance - gain * gain, 0.0))
            return gain * math.sqrt(self.n) >= needed

        low, high = 0.0, 1.0
        if not found(high):
            return 1.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if found(middle) else (middle, high)
        return high


def exact_mcnemar(only_base: int, only_tuned: int) -> float:
    """Two-sided binomial p-value of the discordant items, each side as likely as the other."""
    from scipy.special import bdtr

    discordant = only_base + only_tuned
    return min(1.0, 2 * float(bdtr(min(only_base, only_tuned), discordant, 0.5))) if discordant else 1.0


def _tango_limit(gained: int, lost: int, n: int, z: float) -> float:
    """Lower limit: the smallest gain that the score test at `z` does not reject."""
    low, high = -1.0, (gained - lost) / n
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _tango_score(gained, lost, n, middle) > z else (low, middle)
    return low


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
    """

    gains: NDArray[np.float64]
    weights: NDArray[np.float64]
    resamples: int = RESAMPLES
    seed: int = 0
    method = "paired bootstrap"

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return bootstrap_ratio(self.gains * self.weights, self.weights, resamples=self.resamples, seed=self.seed)

    @property
    def difference(self) -> float:
        return self._bootstrap.estimate

    @property
    def details(self) -> Mapping[str, int]:
        up, down = int((self.gains > 0).sum()), int((self.gains < 0).sum())
        return {"tuned_better": up, "base_better": down, "equal": len(self.gains) - up - down}

    @cached_property
    def p_value(self) -> float:
        flipped = sign_flip(self.gains * self.weights, flips=self.resamples, seed=self.seed)
        return max(flipped, self._bootstrap.p_value())

    def interval(self, level: float) -> tuple[float, float]:
        return self._bootstrap.interval(level)

    def detectable(self, level: float) -> float | None:
        from scipy.special import stdtrit

        n = len(self.gains)
        residuals = self.weights * (self.gains - self.difference)
        error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / float(self.weights.sum())
        if error == 0:
            return None
        return float(stdtrit(n - 1, (1 + level) / 2) + stdtrit(n - 1, POWER)) * error


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
