"""What the harness asks of a metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from etude.records import Document

Asks = Literal["answers", "texts", "pairs", "choices"]
"""What a model does for a metric: answer prompts, say how likely texts are, or which of two or several answers is."""
Problem = tuple[int | None, str]
"""Index of the reference that cannot be used (None: all of them) and what is wrong."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One item that was answered."""

    prompt: str
    answer: str
    reference: str
    """Empty where the row has none; where a metric `reads` columns of its own, those as a JSON object."""
    documents: tuple[Document, ...] = ()
    """What the prompt gives to answer from."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One item's scores, and what is worth keeping beside them (the label understood, each field's fate)."""

    scores: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """All items together: numbers, and JSON-able tables for the pages."""

    scores: Mapping[str, float]
    tables: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals of scores that are no means of item scores, where there are items enough."""


class Kind:
    """What a task's `metric` names: a frozen dataclass whose fields are settings of the task file.

    Here is what holds for most kinds.
    """

    asks: ClassVar[Asks]
    reads: ClassVar[tuple[str, ...]] = ()
    """Columns of a row that together are its reference, as a JSON object; none: the row's answer is the reference."""
    reads_documents: ClassVar[bool] = False
    """Whether a row's documents, where it has them, are what its answer is held against, in place of a reference."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        return []

    def settings(self) -> dict[str, Any]:
        """What reports say of it, JSON-able; files by what is in them, so that moved ones compare."""
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]  # each is one

    def beside(self, folder: Path) -> Self:
        """With local paths taken from the folder of the task file."""
        return self


class Metric(Kind):
    """A kind that judges answers; most need a `primary` and `score`."""

    asks: ClassVar[Asks] = "answers"
    primary: ClassVar[str]
    """A key of every item's scores: reports lead with it, and comparisons pair it."""

    @property
    def needs_reference(self) -> bool:
        return True

    def fitted(self, references: Sequence[str]) -> Self:
        """With what it takes from all rows of the data, those beyond a limit included."""
        return self

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        """What makes references unusable for this metric; empty when all can be used."""
        return []

    def score(self, answer: str, reference: str) -> Scored:
        """One item, where neither its prompt nor the other items count."""
        raise NotImplementedError

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """Every item, in their order."""
        return [self.score(one.answer, one.reference) for one in answered]

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """What the items' scores come to."""
        return Summary(means(scored))


def means(scored: Sequence[Scored]) -> dict[str, float]:
    """The mean of every score over the items; those without one (NaN) are left out and counted as `missing`."""
    found, missing = {}, 0
    for name in common_scores([item.scores for item in scored]):
        known = [item.scores[name] for item in scored if not math.isnan(item.scores[name])]
        missing = max(missing, len(scored) - len(known))
        found[name] = sum(known) / len(known) if known else math.nan
    return {**found, "missing": float(missing)} if missing else found


def common_scores(scores: Sequence[Mapping[str, float]]) -> list[str]:
    """The scores that every item has; some may be of a part of the items alone."""
    return [name for name in scores[0] if all(name in one for one in scores)]


def plain_settings(options: Any) -> Any:
    """A dataclass of settings as JSON has it."""
    return json.loads(json.dumps(asdict(options)))


def file_identity(path: Path) -> str:
    """A file's name and the beginning of its sha256; "not there" instead where it cannot be read."""
    try:
        return f"{path.name} {sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError:
        return f"{path.name} not there"
