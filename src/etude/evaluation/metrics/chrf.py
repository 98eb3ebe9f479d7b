"""chrF (Popović 2015, https://aclanthology.org/W15-3049/), by the sacrebleu library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from etude.errors import EtudeError
from etude.evaluation.metrics.base import Answered, Metric, Problem, Scored

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF


@dataclass(frozen=True, kw_only=True)
class Chrf(Metric):
    """F-score of character n-grams, from 0 to 1, for each item; the report's figure is the mean over items."""

    word_order: int = 0
    """2: chrF++, which counts word n-grams too."""

    primary: ClassVar[str] = "chrf"

    def problems(self) -> list[tuple[str, str]]:
        return [] if 0 <= self.word_order <= 4 else [("word_order", f"must be from 0 to 4, got {self.word_order}")]

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [(place, "the reference is empty") for place, one in enumerate(references) if not one.strip()]

    @cached_property
    def _scorer(self) -> CHRF:
        try:
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as error:
            raise EtudeError("chrf needs sacrebleu", remedy='pip install "etude[evaluation]"') from error
        return CHRF(word_order=self.word_order)

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """Each answer against its reference."""
        return [
            Scored({self.primary: self._scorer.sentence_score(one.answer, [one.reference]).score / 100})
            for one in answered
        ]
