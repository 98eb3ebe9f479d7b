"""Exact match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Scored


@dataclass(frozen=True, kw_only=True)
class ExactMatch(Metric):
    """1 if the answer is the reference, character for character, surrounding white space apart."""

    primary: ClassVar[str] = "exact_match"

    def score(self, answer: str, reference: str) -> Scored:
        return Scored({self.primary: float(answer.strip() == reference.strip())})
