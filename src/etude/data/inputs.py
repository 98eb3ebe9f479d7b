"""The rows of files as they stand, unknown columns and all, as often as they are asked for: what data commands read.

Rows of JSONL, CSV, TSV and text files are never held in memory; those of JSON and Parquet are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from etude.data.check import BadRow, RowError
from etude.data.collecting import without_collecting
from etude.data.convert import convert
from etude.data.detect import LOOKED_AT, Layout, Noted, detect
from etude.data.rows import Columns, RawRow, whole_rows
from etude.data.sources import SourceFile, find
from etude.data.streams import STREAMED, JsonLines, opened, row_file, stamp
from etude.errors import DataError, EtudeError
from etude.records import Origin, Record

HASHED_BYTES = 1 << 20
ROWS_BETWEEN_REPORTS = 256
OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""
ProgressOf = Callable[[str], AbstractContextManager[OnProgress]]
"""From a title to the progress of one pass."""


@contextmanager
def unseen(title: str) -> Iterator[OnProgress]:
    """A progress that nobody sees."""
    yield lambda done, total: None


class Row(NamedTuple):
    """One row as its file holds it."""

    origin: Origin
    columns: Columns
    file: InputFile
    raw: str | None = None
    """The line of the JSONL file that the columns were read from; None in rows that were made or changed."""

    def changed(self, columns: Columns) -> Row:
        """The row with other columns."""
        return Row(self.origin, columns, self.file)

    def records(self) -> tuple[Record, ...]:
        """What the row says, as training would read it. RowError says why it cannot be used."""
        return self.file.records(self)

    def line(self) -> str:
        """The row as a line of JSON; one that nothing has changed is written as it was."""
        return self.raw or json.dumps(self.columns, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class InputFile:
    """A file that was looked at once: what it is, and how its rows are to be understood."""

    source: SourceFile
    found: Iterable[RawRow | BadRow]
    """Its rows, read again each time."""
    sha256: str
    lines: int
    """About how many rows it has (exactly, where each row is one line)."""
    stamp: tuple[int, int, int, int] | None = None
    given: str = ""
    """The source that it is part of, as it was named: itself, or a folder."""
    layout: Layout | None = None
    """None where the rows fit no known layout and none is needed."""
    has_answers: bool = True
    """Whether a row without an answer is a mistake here; False for files of prompts alone."""

    @property
    def name(self) -> str:
        """As messages name it."""
        return self.source.name

    def __iter__(self) -> Iterator[Row | BadRow]:
        verbatim = self.source.format == "JSONL"
        self._check()
        for row in self.found:
            yield Row(row.origin, row.columns, self, row.raw if verbatim else None) if isinstance(row, RawRow) else row
        self._check()

    def records(self, row: Row) -> tuple[Record, ...]:
        """What one of its rows says. RowError says why the row cannot be used."""
        if self.layout is None:
            raise RowError("the file has no known layout")
        return convert(RawRow(row.origin, row.columns, ""), self.layout, need_answer=self.has_answers)

    def _check(self) -> None:
        if self.stamp is not None and stamp(self.source) != self.stamp:
            raise DataError("has changed since it was read", where=self.name, remedy="start again")


@dataclass(frozen=True)
class Inputs:
    """Files whose rows are worked on together, in their order."""

    files: tuple[InputFile, ...]
    reading: Reading
    progress: ProgressOf = unseen
    only: frozenset[Origin] | None = None
    """Where the rows stand that count; None: all do."""

    def each(self, title: str) -> Iterator[Row | BadRow]:
        """Every row, from the first one on; `title` says what it is read for."""
        total = self.num_lines
        with self.progress(title) as on_progress, without_collecting():
            for number, row in enumerate(chain.from_iterable(self.files)):
                if not number % ROWS_BETWEEN_REPORTS:
                    on_progress(min(number, total - 1), total)
                if self.only is None or row.origin in self.only:
                    yield row
            on_progress(total, total)

    @property
    def num_lines(self) -> int:
        """About how many rows there are; never less than one."""
        return max(1, sum(file.lines for file in self.files))

    def described(self) -> list[dict[str, object]]:
        """Each file by path, hash and layout, for a manifest."""
        chosen = {} if self.only is None else {"only": sorted(map(str, self.only))}
        return [
            {
                "path": file.name,
                "sha256": file.sha256,
                "layout": None if file.layout is None else file.layout.words,
                **chosen,
            }
            for file in self.files
        ]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows are to be understood, where that has to be said."""

    format: str = "auto"
    """The layout of the rows; auto: it is detected."""
    columns: Mapping[str, str] | None = None
    """A field's column, or a template over columns."""
    need_layout: bool = True
    """Whether rows that fit no known layout are an error."""
    lenient: bool = False
    """Whether format and columns count only for files that they fit."""

    def elsewhere(self) -> Reading:
        """For further files, which may be of another make."""
        return replace(self, lenient=True)


def open_inputs(
    sources: Sequence[str | Path], reading: Reading | None = None, *, progress: ProgressOf = unseen
) -> Inputs:
    """The files that are named, folders and hub data sets included, each looked at once.

    Raises:
        DataError: a source that cannot be read, or whose rows fit no known layout while one is needed.
    """
    reading = reading or Reading()
    files: list[InputFile] = []
    for source in sources:
        found = find(source)
        files.extend(replace(_file(file, reading), given=str(source)) for file in found.files)
    return Inputs(tuple(files), reading, progress)


def _file(source: SourceFile, reading: Reading) -> InputFile:
    rows = row_file(source) if source.format in STREAMED else _Whole(source)
    before = stamp(source)
    digest, lines = sha256(), 0
    with opened(source) as content:
        while block := content.read(HASHED_BYTES):
            digest.update(block)
            lines += block.count(b"\n")
    if isinstance(rows, _Whole):
        lines = sum(1 for _ in rows)
    return _understood(InputFile(source, rows, digest.hexdigest(), max(1, lines), before), reading)


@dataclass
class _Whole:
    """The rows of a file that can only be read as a whole; they are kept."""

    source: SourceFile
    held: list[RawRow | BadRow] | None = None

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        if self.held is None:
            self.held = list(whole_rows(self.source, lambda: iter(JsonLines(self.source))))
        return iter(self.held)


def _understood(file: InputFile, reading: Reading) -> InputFile:
    """The file with the layout of its rows."""
    head = list(islice((row for row in file.found if isinstance(row, RawRow)), LOOKED_AT))
    if not head and reading.need_layout:
        raise DataError("not one of its rows can be used", where=file.name, remedy="look at its first line")
    try:
        layout = _layout(file, head, reading)
    except EtudeError:
        if reading.need_layout:
            raise
        return file
    with_layout = replace(file, layout=layout)
    return replace(with_layout, has_answers=any(_converts(row, layout) for row in head))


def _layout(file: InputFile, head: Sequence[RawRow], reading: Reading) -> Layout:
    if reading.lenient:
        try:
            return _layout(file, head, replace(reading, lenient=False))
        except EtudeError:
            reading = Reading()
    columns = reading.columns or {}
    try:
        return detect(head, reading.format, columns=columns, where=file.name)
    except EtudeError:
        noted = Noted()  # a column that is asked for may come later
        for row in file.found:
            if isinstance(row, RawRow):
                noted.note(row)
    try:
        return detect(head, reading.format, columns=columns, where=file.name, noted=noted)
    except EtudeError as error:
        try:
            return detect(head, reading.format, columns=columns, where=file.name, noted=noted, need_answer=False)
        except EtudeError:
            raise error from None


def _converts(row: RawRow, layout: Layout) -> bool:
    try:
        return bool(convert(row, layout))
    except RowError:
        return False
