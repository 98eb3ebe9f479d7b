"""Read a data file, a folder of them or a hub data set into records, and say what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain, compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

from etude.data.check import BadRow, RowError, enough_good, quarantine
from etude.data.collecting import without_collecting
from etude.data.convert import convert, to_prompt
from etude.data.detect import LOOKED_AT, Layout, Noted, detect
from etude.data.fingerprint import Prints, PrintTaker, take_prints
from etude.data.reasoning import Reasoning
from etude.data.rows import RawRow, whole_rows
from etude.data.sources import SourceFile, Sources, find
from etude.data.streamed import PlaceTaker, ReadFile, StreamedRows
from etude.data.streams import STREAMED, JsonLines, RowFile, opened, row_file, stamp
from etude.errors import DataError, EtudeError
from etude.records import Conversation, Prompt, Record

if TYPE_CHECKING:
    from hashlib import _Hash

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BadRow", "Content", "Records", "content_of", "read"]

Kind = type | tuple[type, ...] | None
KEPT_BYTES = 4 << 20
"""Above this size the rows of JSONL, CSV, TSV and text files stay in their files."""
HASHED_BYTES = 1 << 20


@dataclass(frozen=True)
class Records(Sequence[Record]):
    """Rows, and how they were read. Those of large files are read again each time they are needed."""

    rows: Sequence[Record]
    detected: str
    """In words: "JSONL, messages (role/content), 812 rows"."""
    format: str
    """The layout, as `format:` names it; several joined by ` + ` when a folder's files differ."""
    bad: tuple[BadRow, ...] = ()
    sha256: str = ""
    """Over the bytes of all files in name order (of a hub data set: of its rows as JSON lines)."""
    sources: tuple[str, ...] = ()
    quarantine: Path | None = None
    """Where the unusable rows were written, if there were any and a place was given."""
    known_prints: Prints | None = field(default=None, compare=False, repr=False)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, int):
            return self.rows[index]
        prints = None if self.known_prints is None else self.known_prints[index]
        return replace(self, rows=self.rows[index], known_prints=prints)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.rows)

    def prints(self) -> Prints:
        """The rows' fingerprints, taken now if they were not when the rows were read."""
        return take_prints(self.rows) if self.known_prints is None else self.known_prints

    def only(self, chosen: NDArray[np.bool_]) -> Records:
        """The chosen rows, in their order."""
        rows = self.rows.only(chosen) if isinstance(self.rows, StreamedRows) else tuple(compress(self.rows, chosen))
        prints = None if self.known_prints is None else self.known_prints[chosen]
        return replace(self, rows=rows, known_prints=prints)


@dataclass
class _MoreColumns(Exception):
    """Rows far down in a file have columns that change what its rows mean: it has to be read again, knowing them."""

    file: str
    noted: Noted


@dataclass
class _Reading:
    """What is asked, and what the files have given so far."""

    accepted: tuple[type, ...]
    format: str
    columns: Mapping[str, str]
    system: str | None
    need_answer: bool
    streams: bool
    reasoning: Reasoning
    known: Mapping[str, Noted]
    """What all rows of a file hold, for those that were read before."""
    records: list[Record] = field(default_factory=list)
    places: PlaceTaker = field(default_factory=PlaceTaker)
    prints: PrintTaker = field(default_factory=PrintTaker)
    files: list[ReadFile] = field(default_factory=list)
    num_good: int = 0
    bad: list[BadRow] = field(default_factory=list)
    layouts: list[tuple[str, Layout]] = field(default_factory=list)
    """(file format, layout) of each file."""

    def take_file(self, file: SourceFile, digest: _Hash) -> None:
        """All rows of one file."""
        with opened(file):
            before = stamp(file)
        _hash_file(file, digest)
        if file.format in STREAMED:
            lines = row_file(file)
            self.take(file, lambda: iter(lines), lines)
        else:
            self.take(file, lambda: whole_rows(file, lambda: iter(JsonLines(file))))
        if stamp(file) != before:
            raise DataError("changed while it was being read", where=file.name, remedy="read it again")

    def take(
        self, file: SourceFile, rows: Callable[[], Iterator[RawRow | BadRow]], again: RowFile | None = None
    ) -> None:
        """The rows that an iterator gives; `again` is the file to read them from later."""
        broken: list[BadRow] = []
        refused: list[BadRow] = []
        good = _good(rows(), broken)
        head = list(islice(good, LOOKED_AT))
        if head:
            layout = self._layout(head, rows, file)
            if again is not None and self.streams:
                self.files.append(ReadFile(again, lambda row: self._records(row, layout), stamp(file)))
            noted = Noted()
            for row in chain(head, good):
                noted.note(row, layout.chats)
                try:
                    self._keep(row, self._records(row, layout))
                except RowError as error:
                    refused.append(BadRow(row.origin, str(error), row.raw))
            self.layouts.append((file.format, self._confirmed(layout, head, noted, file)))
        self.bad += [*broken, *refused]

    def _layout(
        self, head: Sequence[RawRow], rows: Callable[[], Iterator[RawRow | BadRow]], file: SourceFile
    ) -> Layout:
        if file.name in self.known:
            return self._detected(head, self.known[file.name], file)
        try:
            return self._detected(head, None, file)
        except EtudeError:  # a column that is asked for may come later
            noted = Noted()
            for row in _good(rows(), []):
                noted.note(row)
            return self._detected(head, noted, file)

    def _detected(self, head: Sequence[RawRow], noted: Noted | None, file: SourceFile) -> Layout:
        return detect(
            head, self.format, columns=self.columns, where=file.name, need_answer=self.need_answer, noted=noted
        )

    def _confirmed(self, layout: Layout, head: Sequence[RawRow], noted: Noted, file: SourceFile) -> Layout:
        """The same layout, knowing all rows."""
        whole = self._detected(head, noted, file)
        if whole.feeds != layout.feeds:
            raise _MoreColumns(file.name, noted)
        return whole

    def _records(self, row: RawRow, layout: Layout) -> list[Record]:
        made = convert(row, layout, system=self.system, need_answer=self.need_answer, reasoning=self.reasoning)
        return [_as_kind(record, self.accepted, layout) for record in made]

    def _keep(self, row: RawRow, records: Sequence[Record]) -> None:
        self.num_good += len(records)
        if not self.streams:
            self.records += records
            return
        for part, record in enumerate(records):
            self.places.take(len(self.files) - 1, row, part)
            self.prints.take(record)


def read(
    source: str | Path,
    kind: Kind = None,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    system: str | None = None,
    reasoning: Reasoning = "learn",
    max_bad_share: float = 0.01,
    quarantine: Path | None = None,
    streams: bool | None = None,
) -> Records:
    """The records of a JSONL, JSON, CSV, TSV, Parquet or text file, a folder, or a hub name (`org/name:config#split`).

    `kind=None` gives what the layout holds. `Prompt` gives evaluation items: a conversation's messages up to the last
    answer, and that answer as reference. A tuple accepts several kinds (`(Prompt, Text)`). Unusable rows are written to
    the file `quarantine`; DataError for a source that cannot be read or detected, Problems when more than
    `max_bad_share` of its rows are unusable.

    Rows that stream stay in their files and are read again whenever they are needed, which JSONL, CSV, TSV and text
    allow; unless `streams` says otherwise, those of large files do.
    """
    accepted = kind if isinstance(kind, tuple) else () if kind is None else (kind,)
    found = find(source)
    known: dict[str, Noted] = {}
    stay = _can_stream(found) and (_is_large(found) if streams is None else streams)
    while True:
        reading = _Reading(
            accepted, format, columns or {}, system, Prompt not in accepted,
            streams=stay, reasoning=reasoning, known=known,
        )  # fmt: skip
        try:
            with without_collecting():
                digest = _read_all(found, reading)
            break
        except _MoreColumns as more:
            known[more.file] = more.noted
    if not reading.num_good and not reading.bad:
        raise DataError("there are columns but no rows", where=str(source), remedy="give a file with at least one row")
    if reading.bad and quarantine is not None:
        _write_quarantine(quarantine, reading.bad)
    enough_good(
        reading.bad, good=reading.num_good, what=str(source), max_bad_share=max_bad_share,
        quarantined=quarantine if reading.bad else None,
    )  # fmt: skip
    return Records(
        reading.places.finish(reading.files) if reading.streams else tuple(reading.records),
        _in_words(reading, found),
        " + ".join(dict.fromkeys(layout.format for _, layout in reading.layouts)),
        tuple(reading.bad),
        digest,
        tuple(file.name for file in found.files),
        quarantine if reading.bad else None,
        reading.prints.finish() if reading.streams else None,
    )


@dataclass(frozen=True)
class Content:
    """What a source holds, by hash."""

    sha256: str
    """As `Records.sha256` would be."""
    files: tuple[tuple[str, str], ...]
    """Each file's name and its own sha256."""
    left_out: tuple[str, ...]


def content_of(source: str | Path) -> Content:
    """What reading the source would find."""
    found = find(source)
    whole = sha256()
    files: list[tuple[str, str]] = []
    for file in found.files:
        own = sha256()
        _hash_file(file, whole, own)
        files.append((file.name, own.hexdigest()))
    return Content(whole.hexdigest(), tuple(files), found.left_out)


def _can_stream(found: Sources) -> bool:
    return all(file.format in STREAMED for file in found.files)


def _is_large(found: Sources) -> bool:
    return sum(file.path.stat().st_size for file in found.files) > KEPT_BYTES


def _read_all(found: Sources, reading: _Reading) -> str:
    digest = sha256()
    for file in found.files:
        reading.take_file(file, digest)
    return digest.hexdigest()


def _hash_file(file: SourceFile, *digests: _Hash) -> None:
    with opened(file) as content:
        while block := content.read(HASHED_BYTES):
            for digest in digests:
                digest.update(block)


def _good(rows: Iterator[RawRow | BadRow], bad: list[BadRow]) -> Iterator[RawRow]:
    """The rows that could be taken apart; the others go to `bad`."""
    for row in rows:
        if isinstance(row, RawRow):
            yield row
        else:
            bad.append(row)


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    quarantine(path, bad)


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
    parts = [*kinds, f"{reading.num_good:,} rows"]
    if len(found.files) > 1:
        parts.insert(0, f"{len(found.files)} files")
    if reading.bad:
        parts.append(f"{len(reading.bad):,} unusable")
    if found.left_out:
        parts.append(f"left out: {', '.join(found.left_out[:5])}{' …' if len(found.left_out) > 5 else ''}")
    return ", ".join(parts)
