"""What an explanation says, and its file: JSON from which synthesis and iteration start.

The file is `{"etude_explanation": 1, …}` with the fields of Explanation, as they stand here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etude import durable
from etude.errors import EtudeError
from etude.records import Origin

MARK = "etude_explanation"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Near:
    """A training row that is like some items."""

    file: str
    line: int
    asked: str
    answer: str
    alike: float
    """Cosine with the item that it is most like."""
    items: int
    """Of how many of the slice's items it is among the nearest."""

    @property
    def origin(self) -> Origin:
        return Origin(self.file, self.line)


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed."""

    id: str
    asked: str
    wanted: str
    answered: str
    mistakes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Items with something in common that was known before they were scored."""

    name: str
    """`attribute=value`; commands take it."""
    attribute: str
    value: str
    items: int
    failed: int
    mean: float
    interval: tuple[float, float]
    rest: float
    """Mean of all other items."""
    difference: float
    """By how much the slice is worse than the rest."""
    difference_interval: tuple[float, float]
    p_value: float
    """Holm-corrected for all slices that were looked at."""
    is_worse: bool
    excess: float
    """Failures that the slice has beyond the rest's share of them."""
    same_as: str | None = None
    """A surer slice that is mostly the same items."""
    mistakes: tuple[tuple[str, int], ...] = ()
    """Kinds of mistake with their failures, the commonest first."""
    confusions: tuple[tuple[str, int], ...] = ()
    """Labels that were answered instead."""
    failures: tuple[Failure, ...] = ()
    """Some of them."""
    item_ids: tuple[str, ...] = ()
    """All of its items."""
    nearest: tuple[Near, ...] = ()
    """Training rows most like it, seeds for new ones; of a label, rows that have it as their answer."""
    training_rows: int | None = None
    """Of a label: how many training rows have it as their answer."""
    usual_rows: float | None = None
    """And the median over all labels."""
    alike: float | None = None
    """Mean cosine of its failures with the training row most like each."""
    suggestion: str = ""

    @property
    def has_rows_of_its_label(self) -> bool:
        """Whether it is a label's, and `nearest` are training rows with that label."""
        label = self.value.strip().casefold()
        return bool(self.training_rows) and all(one.answer.strip().casefold() == label for one in self.nearest)

    @property
    def seeds(self) -> tuple[Origin, ...]:
        """Where the training rows stand from which new ones can be made."""
        return tuple(one.origin for one in self.nearest)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Failures that are alike, found by looking at them: a description, not a proof."""

    words: tuple[str, ...]
    size: int
    mistakes: tuple[tuple[str, int], ...]
    failures: tuple[Failure, ...]
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Explanation:
    """Where a model fails on a task."""

    task: str
    subject: str
    metric: str
    higher_is_better: bool
    report: str
    """The report's file."""
    report_sha256: str
    train: str | None
    """The training rows' source; None where there is none."""
    reading: Mapping[str, Any]
    """How its rows are read: `format` and `columns`."""
    num_training_rows: int
    items: int
    unscored: int
    failed: int
    threshold: str
    """What counts as a failure, in words."""
    score: float
    interval: tuple[float, float] | None
    mistakes: tuple[tuple[str, int], ...]
    slices: tuple[Slice, ...]
    """All that were looked at, the surest first."""
    clusters: tuple[Cluster, ...]
    false_alarms: float
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> tuple[Slice, ...]:
        """The slices that are worse by more than chance, the most failures to win first; twins left out."""
        found = [one for one in self.slices if one.is_worse and one.same_as is None]
        return tuple(sorted(found, key=lambda one: -one.excess))

    def named(self, name: str) -> Slice:
        """The slice of that name. Raises EtudeError with the known ones."""
        for one in self.slices:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in (self.worse or self.slices)[:8])
        raise EtudeError(f"has no slice {name!r}", where=self.report, remedy=f"it has {known}")

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        durable.write_text(path, json.dumps({MARK: FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n")


def load_explanation(path: Path) -> Explanation:
    """Reads the file. Raises EtudeError where it is none, damaged, or of another version."""
    from pydantic import TypeAdapter, ValidationError

    remedy = "`etude report explain RUN` writes one"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EtudeError("no such file", where=str(path), remedy=remedy) from None
    except (OSError, ValueError) as error:
        raise EtudeError(f"cannot be read ({error})", where=str(path), remedy=remedy) from error
    if not isinstance(held, dict) or held.pop(MARK, None) != FORMAT:
        raise EtudeError("is no explanation", where=str(path), remedy=remedy)
    try:
        return TypeAdapter(Explanation).validate_json(json.dumps(held), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise EtudeError(
            f"is not a whole explanation ({where}: {first['msg']})", where=str(path), remedy=remedy
        ) from error
