"""How far the people behind a set of judgements can be trusted, as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etude.feedback.agreement import Agreement, Alpha, Level, Units, krippendorff_alpha, pairwise
from etude.feedback.annotators import Annotator, annotators, ratings, thumbs, votes
from etude.feedback.judgements import Judgement, choices, grades

WEAK, FAIR = 0.4, 0.667
"""0.667 is Krippendorff's bound for tentative conclusions (Content Analysis, 2004, p. 241); tastes seldom reach it."""


@dataclass(frozen=True)
class Part:
    """One kind of judgement: comparisons, ratings or thumbs."""

    name: str
    judgements: int
    items: int
    shared_items: int
    """Spoken of by several people."""
    alphas: tuple[Alpha, ...]
    """At each level of measurement that fits."""
    agreements: tuple[Agreement, ...]
    """Of every two annotators."""


@dataclass(frozen=True)
class Report:
    """Agreement, and everybody's particularities."""

    parts: tuple[Part, ...]
    annotators: tuple[Annotator, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; an unbounded end of an interval is null."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    def sentences(self) -> list[str]:
        """What stands out, a line each."""
        said = [sentence for part in self.parts for sentence in _of_part(part)]
        return said + [sentence for one in self.annotators for sentence in _of_annotator(one)]


def report(judgements: Sequence[Judgement]) -> Report:
    """Everything that can be said of these judgements; comparisons are not made of ratings here."""
    compared = choices(one for one in judgements if one.kind not in ("rating", "thumb"))
    graded = grades(judgements)
    parts = [
        _part("comparisons", len(compared), votes(compared), ("nominal", "ordinal")),
        _part("ratings", sum(not one.is_thumb for one in graded), ratings(graded), ("ordinal", "interval")),
        _part("thumbs", sum(one.is_thumb for one in graded), thumbs(graded), ("nominal",)),
    ]
    return Report(tuple(part for part in parts if part.judgements), tuple(annotators(compared, graded)))


def _part(name: str, number: int, units: Units, levels: Sequence[Level]) -> Part:
    alphas = [krippendorff_alpha(units, level) for level in levels]
    shared = sum(len(said) > 1 for said in units.values())
    return Part(name, number, len(units), shared, tuple(one for one in alphas if one), tuple(pairwise(units)))


def _of_part(part: Part) -> list[str]:
    if not part.shared_items:
        return [f"{part.name}: no item was judged by two people, so nothing is known of their agreement"]
    if not part.alphas:
        return [f"{part.name}: everybody said the same of everything, which tells nobody apart"]
    alpha = part.alphas[0]
    grade = "weak" if alpha.value < WEAK else "fair" if alpha.value < FAIR else "good"
    low = "unknown" if math.isinf(alpha.low) else f"{alpha.low:.2f} to {alpha.high:.2f}"
    return [f"{part.name}: {grade} agreement, alpha {alpha.value:.2f} ({low}) on {part.shared_items:,} shared items"]


def _of_annotator(one: Annotator) -> list[str]:
    said = []
    for name, measure in one.measures.items():
        if not measure.is_odd or measure.expected is None:
            continue
        if name == "leniency":
            said.append(f"{one.name} grades {measure.value:+.2f} against the others (p = {measure.p_value:.2g})")
        else:
            what = {"first_shown": "takes the answer shown first", "longer": "takes the longer answer",
                    "against_the_others": "differs from most others"}[name]  # fmt: skip
            share = f"in {measure.value:.0%} of {measure.n:,} judgements, {measure.expected:.0%} expected"
            said.append(f"{one.name} {what} {share} (p = {measure.p_value:.2g})")
    return said


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
