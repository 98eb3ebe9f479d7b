"""Reports of one task become evidence: items matched by id, groups kept together, missing scores counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.comparison.judgement import Evidence
from etude.comparison.one_seed import Widened
from etude.comparison.paired import PairedMeans, PairedProportions, gain_counts
from etude.comparison.seeds import SeededMeans, SeedSpread
from etude.errors import EtudeError, Problems
from etude.evaluation.intervals import by_cluster, clusters
from etude.evaluation.report import ItemResult, Report, is_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_IDS = 3
MOST_MISSING = 0.05
"""Items without a score, above which what is left is no longer taken for the whole."""

Side = Report | Sequence[Report]
"""One model, or several trained alike from different seeds."""


@dataclass(frozen=True)
class Paired:
    """Both sides on the items that both have scores for."""

    evidence: Evidence
    tuned: float
    """Mean score over those items (and models)."""
    base: float
    n: int
    groups: int | None
    """How many groups the items make, where any has several."""
    left_out: int
    spread: SeedSpread | None


def models(side: Side) -> list[Report]:
    """The reports of a side."""
    return [side] if isinstance(side, Report) else list(side)


def pair(
    tuned: Side, base: Side, metric: str, *, resamples: int, seed: int = 0, seed_deviation: float | None = None
) -> Paired:
    """The evidence that fits: exact McNemar for right or wrong, else bootstrap and sign flips; over groups; over seeds.

    `seed_deviation` widens what single models say to what their settings would: how far seeds lie apart, as is known.

    Raises:
        Problems: everything that makes the reports incomparable, or too many items without a score.
        EtudeError: fewer than two items (or groups) for scores that are not just right or wrong.
    """
    import numpy as np

    tuned, base = models(tuned), models(base)
    first = tuned[0]
    indexed = [{item.id: item for item in report.items} for report in (*tuned, *base)]
    _refuse_unlike([*tuned, *base], indexed, len(tuned), metric)
    ids = [key for key, item in indexed[0].items() if metric in item.scores]
    scores = np.asarray([[items[key].scores[metric] for key in ids] for items in indexed])
    known = ~np.isnan(scores).any(axis=0)
    _refuse_gaps(first, int((~known).sum()), len(ids))
    kept = [indexed[0][key] for key, there in zip(ids, known, strict=True) if there]
    groups = _groups(first.task, indexed, [item.id for item in kept])
    table = Table(
        scores=scores[:, known],
        weights=np.asarray([item.weight for item in kept]),
        number=clusters(groups, len(kept)),
        tuned=len(tuned),
        higher_is_better=first.higher_is_better,
        largest=1.0 if is_share(metric, higher_is_better=first.higher_is_better) else None,
    )
    evidence = table.evidence(first.task, resamples=resamples, seed=seed)
    if seed_deviation is not None:
        if isinstance(evidence, SeededMeans):
            raise EtudeError(
                "several models a side show how far seeds lie apart themselves", where="seed_deviation",
                remedy="leave it out, or compare single models",
            )  # fmt: skip
        evidence = Widened(evidence, seed_deviation)
    return Paired(
        evidence=evidence,
        tuned=table.mean(table.scores[: len(tuned)]),
        base=table.mean(table.scores[len(tuned) :]),
        n=len(kept),
        groups=None if table.number is None else int(table.number.max()) + 1,
        left_out=len(ids) - len(kept),
        spread=evidence.spread if isinstance(evidence, SeededMeans) else None,
    )


@dataclass(frozen=True)
class Table:
    """Scores [models, items] of both sides, the `tuned` models first. Knows no reports: live traffic fits too."""

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    number: NDArray[np.int64] | None
    """The items' groups by number, where any has several items."""
    tuned: int
    higher_is_better: bool = True
    largest: float | None = 1.0
    """Of a score's differences; None: what is seen."""

    def evidence(self, name: str, *, resamples: int, seed: int = 0) -> Evidence:
        """What the table says; EtudeError where it is too small to say anything."""
        single = len(self.scores) == 2
        if single and self.number is None and self._is_binary and (self.weights == 1).all():
            return PairedProportions(**self._right_or_wrong)
        weights = by_cluster(self.weights, self.number)
        if len(weights) < 2:
            what = "one item" if self.number is None else "items of one group"
            raise EtudeError(f"{what} cannot show a difference", where=f"task {name!r}", remedy="evaluate more items")
        means = [by_cluster(row * self.weights, self.number) / weights for row in self.scores]
        items = None if self.number is None else self.scores.shape[1]
        if single:
            gains = (means[0] - means[1]) * (1 if self.higher_is_better else -1)
            largest = self.largest or float(self.scores.max() - self.scores.min()) or 1.0
            return PairedMeans(
                gains, weights, items=items, largest=largest, counts=self._counts, resamples=resamples, seed=seed
            )
        return SeededMeans(
            _stacked(means[: self.tuned]),
            _stacked(means[self.tuned :]),
            weights,
            higher_is_better=self.higher_is_better,
            items=items,
            counts=self._counts,
            largest=self.largest or math.inf,
        )

    def mean(self, rows: NDArray[np.float64]) -> float:
        """Over models and items."""
        return math.fsum(float(value) for value in rows.mean(axis=0) * self.weights) / math.fsum(self.weights.tolist())

    @property
    def _is_binary(self) -> bool:
        return self.higher_is_better and bool(((self.scores == 0) | (self.scores == 1)).all())

    @property
    def _right_or_wrong(self) -> dict[str, int]:
        mine, its = self.scores[0] == 1, self.scores[1] == 1
        return {
            "both": int((mine & its).sum()),
            "only_base": int((~mine & its).sum()),
            "only_tuned": int((mine & ~its).sum()),
            "neither": int((~mine & ~its).sum()),
        }

    @property
    def _counts(self) -> Mapping[str, int]:
        if len(self.scores) == 2 and self._is_binary:
            return self._right_or_wrong
        gains = self.scores[: self.tuned].mean(axis=0) - self.scores[self.tuned :].mean(axis=0)
        return gain_counts(gains if self.higher_is_better else -gains)


def _stacked(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A row for each model."""
    import numpy as np

    return np.stack(rows)


Items = Mapping[str, ItemResult]
"""A report's items by id."""


def _refuse_unlike(reports: Sequence[Report], indexed: Sequence[Items], num_tuned: int, metric: str) -> None:
    """Problems that name everything that does not match."""
    names = [f"{'tuned' if place < num_tuned else 'base'} report" for place in range(len(reports))]
    first, mine = reports[0], indexed[0]
    problems: list[str] = []
    for name, report, items in zip(names, reports, indexed, strict=True):
        doubled = len(report.items) - len(items)
        if doubled:
            problems.append(f"ids: {doubled} items of the {name} share their id with another")
        if not any(metric in item.scores for item in report.items):
            problems.append(f"metric: the {name}'s items have no {metric!r}; they have {_score_names(report)}")
        elif odd := sum(
            (metric in item.scores) != (metric in mine[key].scores) for key, item in items.items() if key in mine
        ):
            problems.append(f"metric: {odd} items have {metric!r} in only one of the {names[0]} and the {name}")
        if report is not first:
            problems += _differences(first, report) + _unpaired(names[0], mine, name, items)
    if not all(report.items for report in reports):
        problems.append("items: a report without items")
    if not problems and any(items[key].weight != item.weight for items in indexed for key, item in mine.items()):
        problems.append("tokens: the same texts have other token counts, so nats per token do not compare")
    if problems:
        subjects = " and ".join(dict.fromkeys(repr(report.subject) for report in reports))
        raise Problems(f"the reports of {subjects} cannot be compared", list(dict.fromkeys(problems)))


def _differences(first: Report, other: Report) -> list[str]:
    problems = [
        f"{name}: {getattr(first, name)!r} against {getattr(other, name)!r}"
        for name in ("task", "metric", "data_sha256", "higher_is_better")
        if getattr(first, name) != getattr(other, name)
    ]
    mine, its = dict(first.settings), dict(other.settings)
    return problems + [
        f"setting {name}: {mine.get(name)!r} against {its.get(name)!r}"
        for name in sorted(mine.keys() | its.keys())
        if mine.get(name) != its.get(name)
    ]


def _unpaired(name: str, mine: Items, other_name: str, its: Items) -> list[str]:
    problems = []
    for whose, alone in (
        (name, [key for key in mine if key not in its]),
        (other_name, [key for key in its if key not in mine]),
    ):
        if alone:
            shown = ", ".join(alone[:SHOWN_IDS]) + (", …" if len(alone) > SHOWN_IDS else "")
            problems.append(f"ids: {len(alone)} items only in the {whose} ({shown})")
    return problems


def _score_names(report: Report) -> str:
    return ", ".join(report.items[0].scores) if report.items else "none"


def _refuse_gaps(report: Report, missing: int, total: int) -> None:
    if missing > MOST_MISSING * total:
        raise EtudeError(
            f"{missing:,} of {total:,} items have no score on one side or the other, over {100 * MOST_MISSING:.0f} %",
            where=f"task {report.task!r}",
            remedy="what is left may differ from what is missing; mend the scoring and measure again",
        )


def _groups(task: str, indexed: Sequence[Items], ids: Sequence[str]) -> list[str | None]:
    """Each item's group, from whichever report says it; reports of before items had groups say nothing.

    Raises:
        Problems: two reports put an item into different groups.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for items in indexed:
        for key, item in items.items():
            if item.group is not None and found.setdefault(key, item.group) != item.group:
                problems.append(f"group: {key} is in {found[key]!r} and in {item.group!r}")
    if problems:
        raise Problems(f"the reports of task {task!r} cannot be compared", problems[:SHOWN_IDS])
    return [found.get(key) for key in ids]
