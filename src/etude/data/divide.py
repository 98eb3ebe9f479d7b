"""Divide files of rows into training, validation and test rows, so that no near copy is on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from etude import durable
from etude.data.decontaminate import Decontaminate
from etude.data.inputs import Inputs
from etude.data.parts import PARTS
from etude.data.work import Ledger, Lines, Outcome, Rows, described, in_order, lines_of
from etude.errors import DataError

MANIFEST = "manifest.json"
DROPPED = "dropped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Divide:
    """How rows are divided. Near copies stay together, whatever else is asked."""

    validation: float = 0.1
    """Share of the rows that become validation rows."""
    test: float = 0.1
    """Share of the rows that become test rows; the rest are training rows."""
    group: str | None = None
    """A column: rows with the same value in it stay together."""
    stratify: str | None = None
    """A column whose values have about the same shares everywhere."""
    time: str | None = None
    """A column by which rows are ordered: the newest become test rows, those before them validation rows."""
    threshold: float = 0.8
    """How alike near copies are: Jaccard index of their sets of 5 characters in a row."""
    same: Literal["prompt", "both"] = "prompt"
    """What makes rows copies of one another: the prompt alone, or prompt and answer."""
    seed: int = 0
    """Draws which rows go where."""
    against: tuple[str, ...] = ()
    """Evaluation sets: rows that give away one of their items are left out."""
    ngram: int = 13
    """Words in a row that a row may not have in common with an item of an evaluation set."""
    leaks: Literal["drop", "report"] = "drop"
    """What happens to rows that give an item away."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        for name in ("validation", "test"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                found.append((name, f"must be from 0 up to but below 1, got {share:g}"))
        together = self.validation + self.test
        if not found and not 0 < together < 1:
            found.append(("test", f"validation and test together must be above 0 and below 1, got {together:g}"))
        if self.time is not None and self.stratify is not None:
            found.append(("stratify", "cannot be kept where rows are divided by time; leave one out"))
        return found + (self.decontaminate().problems() if self.against else self._threshold())

    def _threshold(self) -> list[tuple[str, str]]:
        wrong = not 0.3 <= self.threshold < 1
        return [("threshold", f"must be from 0.3 up to but below 1, got {self.threshold:g}")] if wrong else []

    def decontaminate(self) -> Decontaminate:
        """What is done about evaluation sets."""
        return Decontaminate(against=self.against, ngram=self.ngram, threshold=self.threshold, leaks=self.leaks)

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of the parts, in their order."""
        return 1 - self.validation - self.test, self.validation, self.test


def divide(
    inputs: Inputs, options: Divide, folder: Path, *, command: Sequence[str] = (), force: bool = False
) -> Outcome:
    """The rows as `train.jsonl`, `validation.jsonl` and `test.jsonl` of a new folder, with a manifest.

    The folder appears when all of it is written. With `force` it takes the place of one that was made this way.

    Raises:
        DataError: the folder is there already, a column is in no row, or the rows cannot be divided.
    """
    _refuse(inputs, folder, force=force)
    building = folder.with_name(f".{folder.name}.building")
    durable.remove(building)  # of a process that was killed
    durable.make_directory(building)
    try:
        outcome = _write(inputs, options, folder, building, command)
        durable.remove(folder)
        durable.replace(building, folder)
    except BaseException:
        durable.remove(building)
        raise
    return outcome


def _write(inputs: Inputs, options: Divide, folder: Path, building: Path, command: Sequence[str]) -> Outcome:
    from etude.data.dividing import Dividing

    with ExitStack() as files:
        parts = {
            name: files.enter_context(lines_of(building / f"{name}.jsonl"))
            for name, share in zip(PARTS, options.shares, strict=True)
            if share
        }
        ledger = Ledger(files.enter_context(lines_of(building / DROPPED)))
        rows = Rows(inputs, ledger)
        judge = options.decontaminate().judge(rows, ledger) if options.against else None
        dividing = Dividing(options, judge)
        for place, row in enumerate(rows.each("looking for copies")):
            dividing.take(place, row)
        with rows.progress("comparing") as on_progress:
            part_of = dividing.parts(ledger, on_progress)
        for place, row in enumerate(rows.each("writing")):
            why = dividing.left_out.get(place)
            if why is not None:
                ledger.drop(row, why[0], **why[1])
            else:
                parts[PARTS[part_of[place]]].add(row.line())
        outputs = _finished(parts, ledger)
    outcome = Outcome(
        folder, rows.num_read, sum(each["rows"] for each in outputs.values()),
        in_order(ledger.dropped), {}, ledger.notes, tuple(ledger.says),
    )  # fmt: skip
    durable.write_json(building / MANIFEST, described(inputs, asdict(options), outputs, outcome, command=command))
    return outcome


def _finished(parts: dict[str, Lines], ledger: Ledger) -> dict[str, dict[str, Any]]:
    total = max(1, sum(lines.number for lines in parts.values()))
    for lines in parts.values():
        lines.flush()
    shares = (f"{name} {lines.number:,} ({lines.number / total:.1%})" for name, lines in parts.items())
    ledger.says.insert(0, f"rows: {', '.join(shares)}")
    return {f"{n}.jsonl": {"rows": each.number, "sha256": each.digest.hexdigest()} for n, each in parts.items()}


def _refuse(inputs: Inputs, folder: Path, *, force: bool) -> None:
    where, remedy = str(folder), "choose another name"
    inside = [
        path for file in inputs.files for path in (file.source.path.resolve(), *file.source.path.resolve().parents)
    ]
    if folder.exists() and folder.resolve() in inside:
        raise DataError("holds an input, and inputs are never overwritten", where=where, remedy=remedy)
    if not folder.exists():
        return
    if not force:
        raise DataError("is there already", where=where, remedy=f"{remedy}, or add --force")
    if not (folder / MANIFEST).is_file():
        raise DataError("was not made by dividing rows, so it is not replaced", where=where, remedy=remedy)
