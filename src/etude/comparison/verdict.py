"""Better, worse, or not enough evidence: two reports on the same items become one answer.

The one rule: **better** if p < 1 - level and the interval's lower end is above `smallest_gain`; **worse** if
p < 1 - level and its upper end is below zero; else **not enough evidence**. Where p is not below 1 - level the interval
is widened to reach zero, so that interval, p-value and answer never contradict each other.

Several comparisons at once are corrected by Holm's step-down procedure (1979, https://www.jstor.org/stable/4615733):
the chance of even one false "better" or "worse" among all of them stays below 1 - level. The p-values are then the
adjusted ones, and each interval is drawn at the level at which Holm tested it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from etude import durable
from etude.comparison.gap import Gap
from etude.comparison.paired import Evidence, PairedMeans, PairedProportions
from etude.errors import EtudeError, Problems
from etude.evaluation.intervals import RESAMPLES
from etude.evaluation.report import ItemResult, Report, is_share

Answer = Literal["better", "worse", "not enough evidence"]
SHOWN_IDS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tuned model compares with the base on one task.

    `difference`, `low` and `high` are gains: positive is better whatever the metric's direction. `base` and `tuned` are
    the plain scores.
    """

    task: str
    metric: str
    n: int
    base: float
    tuned: float
    difference: float
    low: float
    high: float
    level: float
    """Of the interval; above the level asked for when several comparisons share it."""
    p_value: float
    """Two-sided, for no difference; adjusted by Holm when there are several comparisons."""
    method: str
    answer: Answer
    smallest_gain: float = 0.0
    detectable: float | None = None
    """The gain that a comparison with as many items calls better four times in five; None where that is not known."""
    higher_is_better: bool = True
    details: Mapping[str, int] = field(default_factory=dict)
    """McNemar: items right in both, only_base, only_tuned, neither; bootstrap: tuned_better, base_better, equal."""
    base_subject: str = ""
    tuned_subject: str = ""
    comparisons: int = 1
    """How many comparisons shared the error level."""

    @property
    def better(self) -> bool:
        return self.answer == "better"

    def sentence(self) -> str:
        """The verdict as a person would say it, with its uncertainty."""
        base, tuned = shown_score(self.base, self), shown_score(self.tuned, self)
        among = f", Holm-corrected among {self.comparisons}" if self.comparisons > 1 else ""
        line = (
            f"{self.answer}: {self.metric} on {self.task} went from {base} to {tuned}"
            f" (gain {shown_interval(self)}, {shown_level(self.level)} interval;"
            f" {shown_p(self.p_value)} by {self.method}{among}; n = {self.n:,})"
        )
        return f"{line}{self._why_not()}"

    def _why_not(self) -> str:
        if self.answer != "not enough evidence":
            return ""
        if self.low > 0:
            return f"; a gain, but it may be smaller than the {shown_gain(self.smallest_gain, self)} asked for"
        if self.detectable is None:
            return ""
        return f"; this many items would have shown a gain of {shown_gain(self.detectable, self)} four times in five"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        return cls(**values)


def compare(
    tuned: Report,
    base: Report,
    *,
    level: float = 0.95,
    smallest_gain: float = 0.0,
    metric: str | None = None,
    seed: int = 0,
) -> Verdict:
    """Pair two reports item by item and answer whether `tuned` is better.

    `smallest_gain` is the gain that would matter, in the metric's unit (0.01: one percentage point). `metric` picks
    another item score than the task's primary one. Raises Problems that name all that makes the reports incomparable.
    """
    return compare_all(
        [(tuned, base)],
        level=level,
        smallest_gain=smallest_gain,
        metrics=None if metric is None else [metric],
        seed=seed,
    )[0]


def compare_all(
    pairs: Sequence[tuple[Report, Report]],
    *,
    level: float = 0.95,
    smallest_gain: float = 0.0,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Verdict, ...]:
    """A verdict for each (tuned, base) pair, Holm-corrected from two on; `metrics` names the score of each pair."""
    if not 0.5 <= level <= 0.9999:
        raise EtudeError(f"must be from 0.5 to 0.9999, got {level:g}", where="level")
    if not smallest_gain >= 0:
        raise EtudeError(f"must be at least 0, got {smallest_gain:g}", where="smallest_gain")
    chosen = [tuned.metric for tuned, _ in pairs] if metrics is None else list(metrics)
    alpha = 1 - level
    # Small shares of the error need more resamples to be told apart.
    resamples = max(RESAMPLES, math.ceil(50 * len(pairs) / alpha))
    found = [
        _evidence(tuned, base, metric, resamples, seed) for (tuned, base), metric in zip(pairs, chosen, strict=True)
    ]
    adjusted, alphas = holm([evidence.p_value for evidence in found], alpha)
    return tuple(
        _verdict(
            pair, metric, evidence, p_value=p_value, alpha=own, smallest_gain=smallest_gain, comparisons=len(pairs)
        )
        for pair, metric, evidence, p_value, own in zip(pairs, chosen, found, adjusted, alphas, strict=True)
    )


def holm(p_values: Sequence[float], alpha: float) -> tuple[list[float], list[float]]:
    """Adjusted p-values, and the error level at which each was tested (the first failure's for all after it).

    An adjusted p-value is below `alpha` exactly where the plain one is below its own level.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, alphas = [0.0] * len(order), [0.0] * len(order)
    highest, failed_at = 0.0, None
    for rank, place in enumerate(order):
        left = len(order) - rank
        highest = max(highest, min(1.0, left * p_values[place]))
        if failed_at is None and highest >= alpha:
            failed_at = alpha / left
        adjusted[place] = highest
        alphas[place] = failed_at if failed_at is not None else alpha / left
    return adjusted, alphas


def _verdict(
    pair: tuple[Report, Report],
    metric: str,
    evidence: Evidence,
    *,
    p_value: float,
    alpha: float,
    smallest_gain: float,
    comparisons: int,
) -> Verdict:
    tuned, base = pair
    low, high = evidence.interval(1 - alpha)
    if evidence.p_value >= alpha:
        low, high = min(low, 0.0), max(high, 0.0)
    detectable = evidence.detectable(1 - alpha)
    return Verdict(
        task=tuned.task,
        metric=metric,
        n=len(tuned.items),
        base=_mean(base, metric),
        tuned=_mean(tuned, metric),
        difference=evidence.difference,
        low=low,
        high=high,
        level=1 - alpha,
        p_value=p_value,
        method=evidence.method,
        answer="better" if low > smallest_gain else "worse" if high < 0 else "not enough evidence",
        smallest_gain=smallest_gain,
        detectable=None if detectable is None else detectable + smallest_gain,
        higher_is_better=tuned.higher_is_better,
        details=dict(evidence.details),
        base_subject=base.subject,
        tuned_subject=tuned.subject,
        comparisons=comparisons,
    )


def _mean(report: Report, metric: str) -> float:
    total = math.fsum(item.scores[metric] * item.weight for item in report.items)
    return total / math.fsum(item.weight for item in report.items)


def _evidence(tuned: Report, base: Report, metric: str, resamples: int, seed: int) -> Evidence:
    import numpy as np

    pairs = _pair(tuned, base, metric)
    first = [mine.scores[metric] for mine, _ in pairs]
    second = [theirs.scores[metric] for _, theirs in pairs]
    plain = all(mine.weight == 1 for mine, _ in pairs)
    if plain and tuned.higher_is_better and set(first) | set(second) <= {0.0, 1.0}:
        counts = [(mine, theirs) for mine, theirs in zip(first, second, strict=True)]
        return PairedProportions(
            both=counts.count((1.0, 1.0)),
            only_base=counts.count((0.0, 1.0)),
            only_tuned=counts.count((1.0, 0.0)),
            neither=counts.count((0.0, 0.0)),
        )
    if len(pairs) < 2:
        raise EtudeError(
            "one item cannot show a difference", where=f"task {tuned.task!r}", remedy="evaluate more items"
        )
    gains = np.asarray(first) - np.asarray(second)
    weights = np.asarray([mine.weight for mine, _ in pairs])
    return PairedMeans(gains if tuned.higher_is_better else -gains, weights, resamples=resamples, seed=seed)


def _pair(tuned: Report, base: Report, metric: str) -> list[tuple[ItemResult, ItemResult]]:
    """The items of both reports, matched by id; Problems that name everything that does not match."""
    problems = _differences(tuned, base)
    theirs = {item.id: item for item in base.items}
    mine = {item.id: item for item in tuned.items}
    for name, report, ids in (("tuned", tuned, mine), ("base", base, theirs)):
        if len(ids) < len(report.items):
            problems.append(
                f"ids: {len(report.items) - len(ids)} items of the {name} report share their id with another"
            )
        if any(metric not in item.scores for item in report.items):
            problems.append(f"metric: the {name} report's items have no {metric!r}; they have {_score_names(report)}")
    problems += _unpaired(mine, theirs)
    if not problems and any(item.weight != theirs[item.id].weight for item in tuned.items):
        problems.append("tokens: the same texts have other token counts, so nats per token do not compare")
    if problems:
        raise Problems(f"the reports of {tuned.subject!r} and {base.subject!r} cannot be compared", problems)
    return [(item, theirs[item.id]) for item in tuned.items]


def _differences(tuned: Report, base: Report) -> list[str]:
    problems = [
        f"{name}: {getattr(tuned, name)!r} against {getattr(base, name)!r}"
        for name in ("task", "metric", "data_sha256", "higher_is_better")
        if getattr(tuned, name) != getattr(base, name)
    ]
    first, second = dict(tuned.settings), dict(base.settings)
    problems += [
        f"setting {name}: {first.get(name)!r} against {second.get(name)!r}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]
    return problems if tuned.items and base.items else [*problems, "items: a report without items"]


def _unpaired(mine: Mapping[str, ItemResult], theirs: Mapping[str, ItemResult]) -> list[str]:
    problems = []
    for name, alone in (
        ("tuned", [key for key in mine if key not in theirs]),
        ("base", [key for key in theirs if key not in mine]),
    ):
        if alone:
            shown = ", ".join(alone[:SHOWN_IDS]) + (", …" if len(alone) > SHOWN_IDS else "")
            problems.append(f"ids: {len(alone)} items only in the {name} report ({shown})")
    return problems


def _score_names(report: Report) -> str:
    return ", ".join(report.items[0].scores) if report.items else "none"


def shown_score(value: float, verdict: Verdict) -> str:
    """91.5 % for shares, 1.234 for nats and rewards."""
    return f"{100 * value:.1f} %" if _in_percent(verdict) else f"{value:.4f}"


def shown_gain(value: float, verdict: Verdict) -> str:
    """+3.2 points for shares, +0.0123 for nats."""
    return f"{_not_minus_zero(100 * value):+.1f} points" if _in_percent(verdict) else f"{value:+.4f}"


def _in_percent(verdict: Verdict) -> bool:
    return is_share(verdict.metric, higher_is_better=verdict.higher_is_better)


def _not_minus_zero(value: float) -> float:
    return round(value, 1) + 0.0


def shown_interval(verdict: Verdict) -> str:
    """+12.0 points [+8.1, +15.9]."""
    low, high = (shown_gain(end, verdict).removesuffix(" points") for end in (verdict.low, verdict.high))
    return f"{shown_gain(verdict.difference, verdict)} [{low}, {high}]"


def shown_level(level: float) -> str:
    """95 %."""
    return f"{100 * level:.4g} %"


def shown_p(p_value: float) -> str:
    """p = 0.031, or p < 0.0001 below that."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def save_verdicts(path: str | Path, verdicts: Sequence[Verdict], gap: Gap | None = None) -> None:
    """Write `verdict.json`: {"verdicts": [...], "gap": {...} or null}."""
    held = {"verdicts": [verdict.as_dict() for verdict in verdicts], "gap": None if gap is None else gap.as_dict()}
    durable.write_json(Path(path), held)


def load_verdicts(path: str | Path) -> tuple[tuple[Verdict, ...], Gap | None]:
    """Read `verdict.json`; EtudeError when it is missing or damaged."""
    file = Path(path)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        gap = None if held["gap"] is None else Gap.from_dict(held["gap"])
        return tuple(Verdict.from_dict(values) for values in held["verdicts"]), gap
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EtudeError(f"is not a whole verdict file ({error})", where=str(file)) from error
