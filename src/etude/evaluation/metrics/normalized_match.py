"""Match after normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Problem, Scored
from etude.evaluation.metrics.words import normalize


@dataclass(frozen=True, kw_only=True)
class NormalizedMatch(Metric):
    """1 if answer and reference are equal after `normalize`."""

    primary: ClassVar[str] = "normalized_match"

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, f"nothing is left of the reference {reference!r} once normalised; use exact_match")
            for place, reference in enumerate(references)
            if not normalize(reference)
        ]

    def score(self, answer: str, reference: str) -> Scored:
        return Scored({self.primary: float(normalize(answer) == normalize(reference))})
