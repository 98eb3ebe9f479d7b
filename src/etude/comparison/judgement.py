"""Evidence becomes an answer: better, worse, equivalent, or not enough evidence. Pure: no reports, no disk.

The one rule, on the interval at the level at which a comparison was tested: **better** if it lies above the gain that
matters, **worse** if it lies below zero, **equivalent** if it lies within the gain that matters on either side, else
**not enough evidence**. Where the test's p-value is not below 1 - level the interval is widened to reach zero, so that
interval, p-value and answer never contradict each other. Asking the two-sided interval for equivalence is stricter than
two one-sided tests at that level (Schuirmann 1987, https://doi.org/10.1007/BF01068419).

Several comparisons share one level: the chance of even one false answer among them stays below 1 - level. See
`step_down`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Answer = Literal["better", "worse", "equivalent", "not enough evidence"]
UNDECIDED: Literal["not enough evidence"] = "not enough evidence"


class Evidence(Protocol):
    """What differences say, offline or online; whoever asks chooses the level."""

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

    def rows_for(self, gain: float, level: float) -> float | None:
        """Items after which that true gain is found in 80 % of comparisons; None where items alone cannot do it."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """One comparison's answer with the interval that it rests on."""

    answer: Answer
    low: float
    high: float
    level: float
    """Of the interval; above the level asked for when several comparisons share it."""
    p_value: float
    """For no difference (with a margin: for anything from none to it); adjusted where several share a level."""
    detectable: float | None
    """The gain that a comparison with as many items calls better four times in five."""
    rows_enough: int | None
    """Undecided: how many items would decide it four times in five, if what was seen is what there is."""


def judge(evidence: Sequence[Evidence], *, level: float, margin: float = 0.0) -> tuple[Judgement, ...]:
    """An answer for each comparison, the level holding for all of them together; `margin` is the gain that matters."""
    hypotheses = [_p_values(one, margin) for one in evidence]
    tested = step_down(hypotheses, 1 - level)
    return tuple(_judgement(one, place, margin) for one, place in zip(evidence, tested, strict=True))


def bounds(evidence: Evidence, alpha: float) -> tuple[float, float]:
    """The interval at level 1 - alpha, reaching zero where the test does not reject zero at alpha."""
    low, high = evidence.interval(1 - alpha)
    return (low, high) if evidence.p_value < alpha else (min(low, 0.0), max(high, 0.0))


def smallest_alpha(bounds_at: Callable[[float], tuple[float, float]], claim: Callable[[float, float], bool]) -> float:
    """The smallest alpha at which `claim` holds of the bounds there: the claim's p-value; 1 if there is none."""
    high, low = 1 - 1e-9, 1e-12
    if not claim(*bounds_at(high)):
        return 1.0
    if claim(*bounds_at(low)):
        return low
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if claim(*bounds_at(middle)) else (middle, high)
    return high


def _p_values(evidence: Evidence, margin: float) -> tuple[float, ...]:
    """Of the hypotheses that an answer refutes; with a margin there are two, of which at most one is true."""
    if not margin:
        return (evidence.p_value,)

    def at(alpha: float) -> tuple[float, float]:
        return bounds(evidence, alpha)

    differs = smallest_alpha(at, lambda low, high: low > margin or high < 0)
    return differs, smallest_alpha(at, lambda low, high: -margin < low and high < margin)


@dataclass(frozen=True, slots=True)
class Tested:
    """A comparison after the step-down procedure."""

    adjusted: float
    """p-value of its first hypothesis."""
    alpha: float
    """At which its interval is drawn."""
    rejected: tuple[bool, ...]


def step_down(hypotheses: Sequence[Sequence[float]], alpha: float) -> list[Tested]:
    """Holm's step-down procedure, with the p-values of each comparison's hypotheses.

    From the smallest p-value on, each is held against alpha over the number of comparisons that are still open (Holm
    1979, https://www.jstor.org/stable/4615733). A comparison may have several hypotheses of which at most one can be
    true: it counts once while any of them is open (Shaffer 1986, https://doi.org/10.1080/01621459.1986.10478341).
    """
    order = sorted((p, place, which) for place, few in enumerate(hypotheses) for which, p in enumerate(few))
    open_ones = [len(few) for few in hypotheses]
    rejected = [[False] * len(few) for few in hypotheses]
    adjusted, alphas = [1.0] * len(hypotheses), [0.0] * len(hypotheses)
    highest, failed_at = 0.0, None
    for p, place, which in order:
        share = alpha / sum(count > 0 for count in open_ones)
        highest = max(highest, min(1.0, p * sum(count > 0 for count in open_ones)))
        if failed_at is None and highest >= alpha:
            failed_at = share
        open_ones[place] -= 1
        if which == 0:
            adjusted[place] = highest
        if failed_at is None:
            rejected[place][which] = True
            alphas[place] = share if which == 0 or not rejected[place][0] else alphas[place]
        elif not any(rejected[place]):
            alphas[place] = failed_at
    return [Tested(one, own, tuple(done)) for one, own, done in zip(adjusted, alphas, rejected, strict=True)]


def _judgement(evidence: Evidence, tested: Tested, margin: float) -> Judgement:
    low, high = bounds(evidence, tested.alpha)
    answer: Answer = UNDECIDED
    if tested.rejected[0]:
        answer = "better" if low > margin else "worse"
    elif any(tested.rejected):
        answer = "equivalent"
    level = 1 - tested.alpha
    detectable = evidence.detectable(level)
    return Judgement(
        answer=answer,
        low=low,
        high=high,
        level=level,
        p_value=tested.adjusted,
        detectable=None if detectable is None else detectable + margin,
        rows_enough=rows_enough(evidence, level, margin) if answer == UNDECIDED else None,
    )


def rows_enough(evidence: Evidence, level: float, margin: float) -> int | None:
    """Items that decide, four times in five, whichever answer the difference that was seen would be if it is true."""
    seen = evidence.difference
    distance = seen - margin if seen > margin else -seen if seen < 0 else margin - seen
    rows = evidence.rows_for(distance, level) if distance > 0 else None
    return None if rows is None or not math.isfinite(rows) else math.ceil(rows)
