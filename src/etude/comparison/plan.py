"""What a comparison will be able to see, said before it is made: from numbers, a base report, or two reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etude.comparison.power import (
    POWER,
    design_effect,
    gain_for,
    independent_discordance,
    means_power,
    proportions_power,
    rows_for,
)
from etude.errors import EtudeError
from etude.evaluation.intervals import clusters
from etude.evaluation.report import Report, is_share


@dataclass(frozen=True, slots=True)
class Assumed:
    """How items' scores are taken to differ between two models."""

    discordance: float | None = None
    """Right or wrong: share of items that exactly one model gets right; None: as if they erred independently."""
    base: float | None = None
    """Right or wrong: the base's score."""
    deviation: float | None = None
    """Other scores: standard deviation of items' gains."""
    design_effect: float = 1.0
    """By how much groups widen the variance of the mean."""
    says: str = ""
    """Where this comes from, in words."""

    def power(self, items: int, gain: float, level: float) -> float:
        """Chance that so many items show a true gain."""
        worth = max(2, int(items / self.design_effect))
        if self.deviation is not None:
            return means_power(worth, deviation=self.deviation, gain=gain, level=level)
        return proportions_power(worth, discordance=self.differing(gain), gain=gain, level=level)

    def differing(self, gain: float) -> float:
        """Share of items that exactly one model gets right, if the second gains so much."""
        if self.discordance is not None:
            return max(self.discordance, gain)
        assert self.base is not None
        return independent_discordance(self.base, gain)

    @property
    def most(self) -> float:
        """The largest gain that there can be."""
        if self.deviation is not None:
            return 100 * self.deviation
        return 1.0 if self.base is None else 1 - self.base


@dataclass(frozen=True, slots=True)
class Plan:
    """What so many items show."""

    items: int
    level: float
    assumed: Assumed
    detectable: float | None
    """The smallest gain shown four times in five; None where not even the largest is."""
    rows: tuple[tuple[float, float, int | None], ...]
    """For each gain asked about: (gain, its chance with these items, items that show it four times in five)."""


def plan(assumed: Assumed, *, items: int, gains: Sequence[float], level: float = 0.95) -> Plan:
    """Power for each gain, and the smallest gain that the items can show.

    Raises:
        EtudeError: no items, or a gain that cannot be.
    """
    if items < 2:
        raise EtudeError(f"must be at least 2, got {items}", where="items")
    for gain in gains:
        if not 0 < gain <= assumed.most:
            raise EtudeError(f"must be above 0 and at most {assumed.most:g}, got {gain:g}", where="gain")

    def chance(gain: float) -> Callable[[int], float]:
        return lambda n: assumed.power(n, gain, level)

    return Plan(
        items=items,
        level=level,
        assumed=assumed,
        detectable=gain_for(lambda gain: assumed.power(items, gain, level), assumed.most),
        rows=tuple((gain, assumed.power(items, gain, level), rows_for(chance(gain), POWER)) for gain in gains),
    )


def assumed_from(base: Report, tuned: Report | None = None, *, discordance: float | None = None) -> Assumed:
    """What reports that are there tell of a comparison to come; with two of them how their items differ.

    Raises:
        EtudeError: a base report alone of scores that are not right or wrong, whose gains nobody can know.
    """
    import numpy as np

    scores = np.asarray([item.scores[base.metric] for item in base.items])
    number = clusters([item.group for item in base.items], len(base.items))
    grouped = "" if number is None else f", in {int(number.max()) + 1:,} groups"
    binary = base.higher_is_better and bool(np.isin(scores, (0, 1)).all())
    if tuned is not None:
        by_id = {item.id: item.scores[tuned.metric] for item in tuned.items}
        try:
            gains = np.asarray([by_id[item.id] for item in base.items]) - scores
        except KeyError:
            raise EtudeError("the two reports are of other items", where=f"task {base.task!r}") from None
        effect = design_effect(gains, number)
        if binary and bool(np.isin(gains, (-1, 0, 1)).all()):
            share = float((gains != 0).mean()) if discordance is None else discordance
            return Assumed(max(share, 1 / len(gains)), float(scores.mean()), None, effect, f"two reports{grouped}")
        return Assumed(deviation=float(gains.std(ddof=1)), design_effect=effect, says=f"two reports{grouped}")
    if not binary:
        raise EtudeError(
            f"the base's report alone does not tell how gains of {base.metric} vary between items",
            where=f"task {base.task!r}", remedy="give a report of another model too, or --deviation",
        )  # fmt: skip
    effect = design_effect(scores, number)
    return Assumed(discordance, float(scores.mean()), None, effect, f"the base's report{grouped}")


def foreseen_gain(base: Report) -> str | None:
    """The gain that a comparison with this base will show four times in five, in a line; None where nobody can know."""
    import numpy as np

    if len(base.items) < 2 or not is_share(base.metric, higher_is_better=base.higher_is_better):
        return None
    scores = np.asarray([item.scores[base.metric] for item in base.items])
    known = scores[~np.isnan(scores)]
    if len(known) == len(scores) and bool(np.isin(scores, (0, 1)).all()):
        return detectable_line(base.task, len(scores), assumed_from(base))
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    assumed = Assumed(deviation=math.sqrt(2) * spread, says="as if the models' scores were independent")
    return detectable_line(base.task, len(known), assumed) if spread else None


def detectable_line(task: str, items: int, assumed: Assumed, level: float = 0.95) -> str:
    """What so many items of a task can show, said before they are compared."""
    found = plan(assumed, items=items, gains=(), level=level).detectable
    shown = "no gain at all" if found is None else f"a gain of {100 * found:.1f} points"
    return f"{task}: {items:,} items show {shown} four times in five ({assumed.says})"


def worst_case() -> Assumed:
    """Before anything is known of a share: a base at half, mistakes that have nothing to do with each other."""
    return Assumed(base=0.5, says="at worst: a base score of 50 %, mistakes independent of each other")
