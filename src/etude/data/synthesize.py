"""New rows that a model writes from seed rows or documents, each one checked; or its answers to given prompts, or pairs
of its best and worst ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from etude.errors import DataError

if TYPE_CHECKING:
    from etude.data.inputs import Row
    from etude.data.work import Ledger, Rows

ATTEMPTS_A_ROW = 4
FOR_PAIRS = frozenset(("kind", "rows", "best_of", "judge_template", "seed"))
"""Settings that count where pairs are made."""
FOR_ANSWERS = frozenset(("kind", "rows", "answers", "seed"))
"""Settings that count where given prompts are answered."""


@dataclass(frozen=True, kw_only=True)
class Synthesize:
    """Rows that a model writes like the given ones or from documents; what fails a check is kept with its reason."""

    kind: Literal["synthesize"] = "synthesize"
    rows: int = 100
    """Rows to make, at most."""
    attempts: int | None = None
    """Examples to ask for, at most; 4 for each row where nothing is said."""
    shots: int = 3
    """Seed rows shown for each new one."""
    passage_characters: int = 4_000
    """Longest passage of a document that is shown."""
    template: str | None = None
    """File with a prompt of your own; {examples} or, for documents, {passage} stands where they belong."""
    schema: str | None = None
    """File with a JSON schema that answers must satisfy."""
    answer_pattern: str | None = None
    """Regular expression that the whole answer must match."""
    known_answers: bool = False
    """Only answers that a seed has: for labels."""
    least_characters: int = 2
    """Shortest prompt and answer."""
    most_characters: int = 8_000
    """Longest prompt and answer."""
    threshold: float = 0.8
    """How alike a new prompt may not be to a seed's, another new one's or an evaluation's: Jaccard index of their sets
    of 5 characters in a row."""
    against: tuple[str, ...] = ()
    """Evaluation sets: a row that gives one of their items away is dropped."""
    agree: int = 0
    """Answer each new prompt so many times; more than half must equal the row's answer. 0: not asked."""
    least_score: int | None = None
    """What a judge must give, from 1 to 5; 4 where nothing is said."""
    judge_template: str | None = None
    """File with a judge's prompt of your own; {prompt} and {completion} stand where they belong."""
    best_of: int = 0
    """Make pairs instead: so many answers to each given prompt, the best and the worst become chosen and rejected."""
    answers: bool = False
    """Answer each given prompt instead: the rows with the model's answers in place of their own, to imitate."""
    seed: int = 0
    """What the choice of seeds is drawn from; another one asks for other rows."""

    @property
    def most_attempts(self) -> int:
        """Examples to ask for, at most."""
        return ATTEMPTS_A_ROW * self.rows if self.attempts is None else self.attempts

    @property
    def enough(self) -> int:
        """What a judge must give."""
        from etude.data.synthesis.judging import ENOUGH

        return ENOUGH if self.least_score is None else self.least_score

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        for name in ("rows", "attempts", "shots", "passage_characters", "least_characters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                found.append((name, f"must be at least 1, got {value}"))
        if self.most_characters < self.least_characters:
            found.append(("most_characters", f"must be at least {self.least_characters}, got {self.most_characters}"))
        if not 0.3 <= self.threshold < 1:
            found.append(("threshold", f"must be from 0.3 up to but below 1, got {self.threshold:g}"))
        if self.least_score is not None and not 1 <= self.least_score <= 5:
            found.append(("least_score", f"must be from 1 to 5, got {self.least_score}"))
        if self.agree < 0:
            found.append(("agree", f"must not be below 0, got {self.agree}"))
        if self.best_of not in (0, *range(2, 65)):
            found.append(("best_of", f"must be 0 or from 2 to 64, got {self.best_of}"))
        if self.answer_pattern is not None:
            try:
                re.compile(self.answer_pattern)
            except re.error as error:
                found.append(("answer_pattern", f"is not a regular expression: {error}"))
        return [*found, *self._ignored()]

    def _ignored(self) -> list[tuple[str, str]]:
        if not self.best_of and not self.answers:
            return []
        mode, count = ("answers", FOR_ANSWERS) if self.answers else ("best_of", FOR_PAIRS)
        says = f"counts for new rows only; {mode} is for the given prompts"
        changed = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        return [(name, says) for name in changed if name not in count]

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The made rows; the given ones are not among them."""
        from etude.data.synthesis.answering import answered
        from etude.data.synthesis.making import made_rows
        from etude.data.synthesis.pairs import best_and_worst

        if rows.asked is None:
            raise DataError("needs a model that writes", where="synthesize", remedy="name one with --model")
        make = answered if self.answers else best_and_worst if self.best_of else made_rows
        return make(rows, ledger, self, rows.asked)
