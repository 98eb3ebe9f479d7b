"""The trade-off between what a task gained and what else was forgotten, for several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.comparison.retention import Drift
from etude.errors import EtudeError
from etude.evaluation.intervals import RESAMPLES, resampled_ratios
from etude.evaluation.report import Report, is_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95
Pair = tuple[Report, Report]
"""(after, before) of one task."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One run: what its task gained (more is better), and what was lost beside it (less is better)."""

    name: str
    gain: Estimate
    lost: Estimate


def mean_gain(pairs: Sequence[Pair], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of several tasks' paired gains, every task counting the same; items are resampled within each task.

    Raises:
        EtudeError: there is nothing to average, or shares and nats would be.
    """
    import numpy as np

    units = {is_share(tuned.metric, higher_is_better=tuned.higher_is_better) for tuned, _ in pairs}
    if len(units) != 1:
        what = "there is nothing to average" if not units else "shares and other scores cannot be averaged"
        raise EtudeError(what, remedy="name one task or probe")
    values, draws = [], []
    for place, (tuned, base) in enumerate(pairs):
        gains, weights = _gains(tuned, base)
        values.append(float((gains * weights).sum() / weights.sum()))
        draws.append(resampled_ratios(gains * weights, weights, resamples=resamples, seed=seed + place))
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(sum(values) / len(values), float(low), float(high))


def _gains(tuned: Report, base: Report) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    theirs = {item.id: item for item in base.items}
    if theirs.keys() != {item.id for item in tuned.items}:
        raise EtudeError("before and after were measured on other items", where=f"task {tuned.task!r}")
    sign = 1 if tuned.higher_is_better else -1
    gains = [sign * (item.scores[tuned.metric] - theirs[item.id].scores[tuned.metric]) for item in tuned.items]
    return np.asarray(gains), np.asarray([item.weight for item in tuned.items])


def lost_of(pairs: Sequence[Pair]) -> Estimate:
    """What was forgotten: the mean gain turned round."""
    gain = mean_gain(pairs)
    return Estimate(0.0 - gain.value, 0.0 - gain.high, 0.0 - gain.low)


def moved(drift: Drift) -> Estimate:
    """The distance from the base as what was lost."""
    return Estimate(drift.nats, drift.low, drift.high)


def undominated(points: Sequence[Point]) -> list[Point]:
    """The frontier: runs for which no other gained as much and lost less, or gained more and lost no more."""

    def beats(one: Point, other: Point) -> bool:
        at_least = one.gain.value >= other.gain.value and one.lost.value <= other.lost.value
        return at_least and (one.gain.value > other.gain.value or one.lost.value < other.lost.value)

    best = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(best, key=lambda point: point.lost.value)
