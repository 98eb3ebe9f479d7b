"""Answers that are numbers, however they are written: GSM8K and its kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Problem, Scored

_NUMBER = r"[-−+]?\s?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?"
_FOUND = re.compile(rf"(?<![\w.])(?=[-−+$€£.\d]){_NUMBER}(?:\s?/\s?\d+(?![\d/]))?")
_MARKS = (re.compile(r"####\s*(.+)"), re.compile(r"\\boxed\{([^{}]+)\}"), re.compile(r"(?i)\banswer\s*(?:is|:|=)(.+)"))
"""Where an answer says that its result comes, the surest first."""


@dataclass(frozen=True, kw_only=True)
class Number(Metric):
    """1 if the answer's last number is the reference's.

    Behind `####`, in `\\boxed{}` or after "answer is", where an answer has one of these.

    Thousands' commas, currency signs, trailing zeros and fractions do not matter; units are not read.
    """

    tolerance: float = 0.0
    """Largest distance that still counts as right."""

    primary: ClassVar[str] = "number"

    def problems(self) -> list[tuple[str, str]]:
        return [] if self.tolerance >= 0 else [("tolerance", f"must be at least 0, got {self.tolerance:g}")]

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, f"there is no number in the reference {reference[-60:]!r}")
            for place, reference in enumerate(references)
            if last_number(reference) is None
        ]

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `found`, the number that was understood, or None."""
        wanted, found = last_number(reference), last_number(answer)
        assert wanted is not None  # unusable() has seen to it
        right = found is not None and abs(found - wanted) <= Decimal(str(self.tolerance))
        scores = {self.primary: float(right), "has_number": float(found is not None)}
        return Scored(scores, {"found": None if found is None else f"{found:f}"})


def last_number(text: str) -> Decimal | None:
    """The number that a text comes to, or None."""
    for mark in _MARKS:
        for marked in reversed(mark.findall(text)):
            if numbers := _numbers(marked):
                return numbers[0]
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def _numbers(text: str) -> list[Decimal]:
    return [number for match in _FOUND.finditer(text) if (number := _value(match.group())) is not None]


def _value(written: str) -> Decimal | None:
    above, _, below = re.sub(r"[\s$€£,]", "", written.replace("−", "-")).partition("/")
    try:
        number = Decimal(above) / Decimal(below or 1)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return number if number.is_finite() else None
