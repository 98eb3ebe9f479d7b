"""ROUGE-L (Lin 2004, https://aclanthology.org/W04-1013/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Problem, Scored
from etude.evaluation.metrics.words import longest_common_subsequence, words


@dataclass(frozen=True, kw_only=True)
class RougeL(Metric):
    """F-measure of the longest common subsequence of words."""

    primary: ClassVar[str] = "rouge_l"

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, f"the reference {reference!r} has no words")
            for place, reference in enumerate(references)
            if not words(reference)
        ]

    def score(self, answer: str, reference: str) -> Scored:
        answered, wanted = words(answer), words(reference)
        common = longest_common_subsequence(wanted, answered)
        total = len(answered) + len(wanted)
        return Scored({self.primary: 2 * common / total if total else 0.0})
