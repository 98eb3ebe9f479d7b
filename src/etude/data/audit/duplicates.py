"""Rows that say the same, and rows that contradict each other: what `etude data clean` finds, said before it acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.remedies import Remedies
from etude.data.copies import NONE, CopyFinder, Found
from etude.data.inputs import OnProgress
from etude.data.sides import sides
from etude.records import Origin

FEW = 0.02
"""The share of copies up to which they are only worth knowing."""


@dataclass(frozen=True)
class DuplicateCounts:
    """How many rows are copies of one that comes before them."""

    exact: int
    near: int
    across_files: int
    """Of both, those whose original is in another file."""
    contradicting: int


@dataclass
class Duplicates:
    """Takes every row; near copies count from `near` on."""

    near: float
    _finder: CopyFinder = field(init=False)
    _equal_pairs: Spotted = field(default_factory=Spotted)

    def __post_init__(self) -> None:
        self._finder = CopyFinder(self.near)

    def take(self, one: Example) -> None:
        """One more row."""
        self._finder.take(sides(one.record), one.origin)
        if one.rejected is not None and _same(one.answer, one.rejected):
            self._equal_pairs.add(one.origin, f"both answers: {one.answer}")

    def finish(
        self,
        remedies: Remedies,
        questions: Mapping[Origin, str],
        *,
        are_labels: bool,
        on_progress: OnProgress | None = None,
    ) -> tuple[DuplicateCounts, list[Finding]]:
        """Copies and contradictions; `questions` are the inputs of those rows that are still at hand."""
        found = self._finder.finish(on_progress)
        exact, near, across = Spotted(), Spotted(), Spotted()
        for row in np.flatnonzero(found.copy_of != NONE).tolist():
            origin, other = found.origins[row], found.origins[int(found.copy_of[row])]
            alike = float(found.alike[row])
            shown = f"as {other}: {_both(questions, origin, other) if alike < 1 else questions.get(origin, '')}"
            spotted = across if origin.path != other.path else exact if alike == 1 else near
            spotted.add(origin, shown.rstrip(": "))
        against = _contradictions(found, questions)
        counts = DuplicateCounts(
            int(((found.copy_of != NONE) & (found.alike == 1)).sum()),
            int(((found.copy_of != NONE) & (found.alike < 1)).sum()),
            across.count, against.count,
        )  # fmt: skip
        few = FEW * len(found.copy_of)
        return counts, [
            *_copies(exact, near, across, few, remedies),
            *_contradicting(against, remedies, are_labels=are_labels),
            *self._equal_pairs.finding(
                "equal-pair", "error", "{rows} prefer an answer to itself",
                advice="There is nothing to learn from two equal answers.", command=remedies.drop("equal-pair"),
            ),
        ]  # fmt: skip


def _copies(exact: Spotted, near: Spotted, across: Spotted, few: float, remedies: Remedies) -> list[Finding]:
    return [
        *exact.finding(
            "exact-copies", "warning" if exact.count > few else "note", "{rows} are copies of earlier ones",
            advice="Equal but for case and spaces. They are learned twice, and a held-out score looks better than "
            "it is unless all fall on one side.", command=remedies.clean("--copies", "exact"),
        ),
        *near.finding(
            "near-copies", "warning" if near.count > few else "note", "{rows} are near copies of earlier ones",
            advice="They add little, and weigh one case more than the others.", command=remedies.clean(),
        ),
        *across.finding(
            "copies-across-files", "error", "{rows} are copies or near copies of rows in another of the files",
            advice="If one file is trained on and the other measures, the score is worth nothing until one is gone.",
            command=remedies.clean(),
        ),
    ]  # fmt: skip


def _contradicting(against: Spotted, remedies: Remedies, *, are_labels: bool) -> list[Finding]:
    if are_labels:
        return against.finding(
            "contradictions", "warning", "{rows} contradict the label of another with (nearly) the same input",
            advice="At most one of two can be right. Decide which, or leave all of them out.",
            command=remedies.clean("--conflicts", "drop"),
        )  # fmt: skip
    return against.finding(
        "several-answers", "note", "{rows} ask (nearly) what another row answers differently",
        advice="Fine where many answers are right; where one is, the model learns to waver.",
    )  # fmt: skip


def _contradictions(found: Found, questions: Mapping[Origin, str]) -> Spotted:
    spotted = Spotted()
    for row in np.flatnonzero(found.conflict_with != NONE).tolist():
        origin, other = found.origins[row], found.origins[int(found.conflict_with[row])]
        spotted.add(origin, f"against {other}: {_both(questions, origin, other)}".rstrip(": "))
    return spotted


def _both(questions: Mapping[Origin, str], one: Origin, other: Origin) -> str:
    """Both inputs, if they are at hand and differ."""
    first, second = questions.get(one, ""), questions.get(other, "")
    return first if not second or _same(first, second) else f"{first} / {second}"


def _same(one: str, other: str) -> bool:
    return one.casefold().split() == other.casefold().split()
