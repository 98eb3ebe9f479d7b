"""Read a data file, a folder of them or a hub data set into records, and say what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, overload

from etude.data import hub
from etude.data.check import BadRow, RowError, enough_good, quarantine
from etude.data.convert import convert, to_prompt
from etude.data.detect import Layout, detect
from etude.data.rows import RawRow, rows
from etude.data.sources import SourceFile, Sources, find
from etude.errors import DataError
from etude.records import Conversation, Prompt, Record

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["BadRow", "Records", "read"]

Kind = type | tuple[type, ...] | None


@dataclass(frozen=True)
class Records(Sequence[Record]):
    """Rows, and how they were read."""

    rows: tuple[Record, ...]
    detected: str
    """In words: "JSONL, messages (role/content), 812 rows"."""
    format: str
    """The layout, as `format:` names it; several joined by ` + ` when a folder's files differ."""
    bad: tuple[BadRow, ...] = ()
    sha256: str = ""
    """Over the bytes of all files in name order (of a hub data set: over its rows as JSON)."""
    sources: tuple[str, ...] = ()
    quarantine: Path | None = None
    """Where the unusable rows were written, if there were any and a place was given."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        return self.rows[index] if isinstance(index, int) else replace(self, rows=self.rows[index])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.rows)


@dataclass
class _Reading:
    """What the files have given so far."""

    records: list[Record] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    layouts: list[tuple[str, Layout]] = field(default_factory=list)
    """(file format, layout) of each file."""


def read(
    source: str | Path,
    kind: Kind = None,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    system: str | None = None,
    max_bad_share: float = 0.01,
    quarantine: Path | None = None,
) -> Records:
    """The records of a JSONL, JSON, CSV, TSV, Parquet or text file, a folder, or a hub name (`org/name:config#split`).

    `kind=None` gives what the layout holds. `Prompt` gives evaluation items: a conversation's messages up to the last
    answer, and that answer as reference. A tuple accepts several kinds (`(Prompt, Text)`). Unusable rows are written to
    the file `quarantine`; DataError for a source that cannot be read or detected, Problems when more than
    `max_bad_share` of its rows are unusable.
    """
    accepted = kind if isinstance(kind, tuple) else () if kind is None else (kind,)
    mapping = columns or {}
    need_answer = Prompt not in accepted
    found = find(source)
    reading = _Reading()
    digest = sha256()
    for file, content in _contents(found, digest):
        raw: list[RawRow] = []
        for row in content:
            if isinstance(row, RawRow):
                raw.append(row)
            else:
                reading.bad.append(row)
        if not raw:
            continue
        layout = detect(raw, format, columns=mapping, where=file.name, need_answer=need_answer)
        reading.layouts.append((file.format, layout))
        _convert_rows(raw, layout, reading, accepted, system=system, need_answer=need_answer)
    if not reading.records and not reading.bad:
        raise DataError("there are columns but no rows", where=str(source), remedy="give a file with at least one row")
    if reading.bad and quarantine is not None:
        _write_quarantine(quarantine, reading.bad)
    enough_good(
        reading.bad, good=len(reading.records), what=str(source), max_bad_share=max_bad_share,
        quarantined=quarantine if reading.bad else None,
    )  # fmt: skip
    return Records(
        tuple(reading.records),
        _in_words(reading, found),
        " + ".join(dict.fromkeys(layout.format for _, layout in reading.layouts)),
        tuple(reading.bad),
        digest.hexdigest(),
        tuple(file.name for file in found.files) or (f"hub:{source}",),
        quarantine if reading.bad else None,
    )


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    quarantine(path, bad)


def _contents(found: Sources, digest: _Hash) -> Iterator[tuple[SourceFile, Iterator[RawRow | BadRow]]]:
    for file in found.files:
        try:
            content = file.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror}", where=file.name, remedy="check its permissions"
            ) from None
        digest.update(content)
        yield file, rows(file, content)
    if found.hub is not None:
        held = hub.load(found.hub)
        for row in held:
            digest.update(row.raw.encode())
        yield SourceFile(Path(found.hub.name), held[0].origin.path, "hub data set"), iter(held)


def _convert_rows(
    raw: Sequence[RawRow],
    layout: Layout,
    reading: _Reading,
    accepted: tuple[type, ...],
    *,
    system: str | None,
    need_answer: bool,
) -> None:
    for row in raw:
        try:
            made = convert(row, layout, system=system, need_answer=need_answer)
            reading.records.extend(_as_kind(record, accepted, layout) for record in made)
        except RowError as error:
            reading.bad.append(BadRow(row.origin, str(error), row.raw))


def _as_kind(record: Record, accepted: tuple[type, ...], layout: Layout) -> Record:
    if not accepted or isinstance(record, accepted):
        return record
    if Prompt in accepted and isinstance(record, Conversation):
        return to_prompt(record)
    wanted = " or ".join(kind.__name__ for kind in accepted)
    raise DataError(
        f"{wanted} rows are needed, but the layout {layout.words} gives {type(record).__name__} rows",
        where=record.origin.path,
        remedy="give another file, or map the columns with `columns:`",
    )


def _in_words(reading: _Reading, found: Sources) -> str:
    kinds = dict.fromkeys(f"{form}, {layout}" for form, layout in reading.layouts)
    parts = [*kinds, f"{len(reading.records):,} rows"]
    if len(found.files) > 1:
        parts.insert(0, f"{len(found.files)} files")
    if reading.bad:
        parts.append(f"{len(reading.bad):,} unusable")
    if found.left_out:
        parts.append(f"left out: {', '.join(found.left_out[:5])}{' …' if len(found.left_out) > 5 else ''}")
    return ", ".join(parts)
