"""Clean files of rows: texts made uniform, unusable rows set aside, copies and near copies removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from etude.data.check import RowError
from etude.data.inputs import Row
from etude.data.normalize import CHANGES, edited, normalized
from etude.data.sides import Sides, sides_of
from etude.data.work import Ledger, Rows
from etude.errors import DataError

if TYPE_CHECKING:
    from etude.data.copies import Found

Copies = Literal["near", "exact", "keep"]
Compared = Literal["both", "prompt", "answer"]
Kept = Literal["first", "longest"]
MEANING = 0.95
CONFLICTS_SHOWN = 20
CONFLICTS_SAID = 3


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Texts made uniform, unusable rows set aside, copies removed. Each can be switched off."""

    kind: Literal["clean"] = "clean"
    copies: Copies = "near"
    """Which copies are removed: `exact`, equal but for case and white space; `near`, nearly equal too; `keep`: none."""
    threshold: float = 0.8
    """How alike near copies are: Jaccard index of their sets of 5 characters in a row."""
    compare: Compared = "both"
    """What has to be alike: prompt, answer or both. Answers whose numbers differ are different answers."""
    keep: Kept = "first"
    """Which of several copies stays."""
    embedder: str | None = None
    """An embedding model (a folder or hub id); rows that say the same in other words are removed too."""
    meaning: float | None = None
    """How alike such rows are: cosine of the vectors of their prompts, and of their answers (0.95)."""
    conflicts: Literal["report", "drop"] = "report"
    """What happens to rows with (nearly) the same prompt and different answers."""
    encoding: bool = True
    """Mend text that was decoded wrongly (`CafÃ©`)."""
    entities: bool = True
    """Replace HTML entities, except in markup and JSON."""
    controls: bool = True
    """Remove control characters and those of no width."""
    unicode: bool = True
    """Compose characters (Unicode NFC)."""
    spaces: bool = True
    """Make line breaks and spaces uniform; remove them at the ends of lines and texts."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if not 0.3 <= self.threshold < 1:
            found.append(("threshold", f"must be from 0.3 up to but below 1, got {self.threshold:g}"))
        if self.meaning is not None and self.embedder is None:
            found.append(("meaning", "needs an embedder"))
        if self.meaning is not None and not 0.5 <= self.meaning <= 1:
            found.append(("meaning", f"must be from 0.5 to 1, got {self.meaning:g}"))
        if self.embedder is not None and self.copies == "keep":
            found.append(("embedder", "is asked only while copies are looked for"))
        if self.conflicts == "drop" and self.compare != "both":
            found.append(("conflicts", "can be dropped only where both prompt and answer are compared"))
        if self.conflicts == "drop" and self.copies == "keep":
            found.append(("conflicts", "are found only while copies are looked for"))
        return found

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The rows that stay."""
        if self.embedder is not None and rows.embed is None:
            raise DataError("no embedding model was opened", where="embedder", remedy="give `work` the model's `embed`")
        found = None if self.copies == "keep" else self._find(rows)
        if found is not None:
            _note_conflicts(found, ledger)
        place = 0
        for row in rows.each("writing"):
            counted: set[str] = set()
            row = self._uniform(row, counted)
            try:
                row.records()
            except RowError as error:
                ledger.drop(row, "unusable", found=str(error))
                continue
            verdict = None if found is None else found.verdict(place, drop_conflicts=self.conflicts == "drop")
            place += 1
            if verdict is not None:
                reason, facts = verdict
                ledger.drop(row, reason, **facts)
                continue
            for what in sorted(counted):
                ledger.changed(what)
            yield row

    def _uniform(self, row: Row, counted: set[str]) -> Row:
        """The row with its texts made uniform."""
        chosen = tuple(name for name in CHANGES if getattr(self, name))
        if not chosen or row.file.layout is None:
            return row
        columns = edited(row.columns, row.file.layout, lambda text: normalized(text, chosen, counted))
        return row if columns is row.columns else row.changed(columns)

    def _find(self, rows: Rows) -> Found:
        """Which of the usable rows are copies of which."""
        from etude.data.copies import CopyFinder

        finder = CopyFinder(
            self.threshold if self.copies == "near" else None,
            keep=self.keep,
            meaning=None if self.embedder is None else self.meaning or MEANING,
            embed=rows.embed,
        )
        for row in rows.each("looking for copies"):
            try:
                said = sides_of(self._uniform(row, set()).records())
            except RowError:
                continue
            finder.take(_compared(said, self.compare), row.origin)
        with rows.progress("comparing") as on_progress:
            return finder.finish(on_progress)


def _note_conflicts(found: Found, ledger: Ledger) -> None:
    """Rows that contradict one another, in the manifest and in a sentence."""
    conflicts = found.conflicts(CONFLICTS_SHOWN)
    ledger.notes["conflicts"] = conflicts
    if conflicts["rows"]:
        pairs = "; ".join(" and ".join(pair) for pair in conflicts["first"][:CONFLICTS_SAID])
        more = "; …" if conflicts["rows"] > CONFLICTS_SAID else ""
        ledger.says.append(
            f"{conflicts['rows']:,} rows have (nearly) the prompt of another and a different answer: {pairs}{more}"
        )


def _compared(said: Sides, compare: Compared) -> Sides:
    return said if compare == "both" else Sides(getattr(said, compare), "")
