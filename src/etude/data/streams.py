"""Files that are read row by row: JSON lines, tables and texts, whatever their size, in constant memory.

Each row says which bytes of the file it stands on, so that it can be read again when it is needed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, FileIO, StringIO, TextIOWrapper
from typing import Protocol

from etude.data.check import BadRow, RowError
from etude.data.rows import BOM, HEAD_BYTES, RawRow, columns_of, not_utf8, parse_line, refuse_encoding, unreadable
from etude.data.sources import SourceFile
from etude.errors import DataError
from etude.records import Origin

STREAMED = ("JSONL", "CSV", "TSV", "text")
"""Formats that are read this way; the others are held in memory whole."""
BUFFER_BYTES = 1 << 20
LONGEST_CELL = 2**31 - 1
DOCUMENT_CHARACTERS = 4_000
HEADING = re.compile(r"#{1,2} \S|= [^=].*[^=] =\s*$")


class RowFile(Protocol):
    """A file of rows; what `again` gives for a row's bytes and line is what iterating gave."""

    @property
    def source(self) -> SourceFile: ...
    def __iter__(self) -> Iterator[RawRow | BadRow]: ...
    def again(self, content: bytes, line: int) -> RawRow: ...


def row_file(source: SourceFile) -> RowFile:
    """The file by its format; DataError if it is empty, or not what its ending says."""
    _refuse(source)
    if source.format == "JSONL":
        return JsonLines(source)
    if source.format == "text":
        return WholeText(source) if source.whole else Documents(source)
    return Table(source, delimiter="\t" if source.format == "TSV" else "")


def _refuse(source: SourceFile) -> None:
    with opened(source) as file:
        head = file.read(HEAD_BYTES)
        block = head
        while block and not block.strip(b" \t\r\n" + BOM):
            block = file.read(BUFFER_BYTES)
    if not block:
        raise DataError("the file is empty", where=source.name, remedy="give a file with at least one row")
    refuse_encoding(head, source.name)


@contextmanager
def opened(source: SourceFile) -> Iterator[BufferedReader[FileIO]]:
    """The file's bytes; a refusal of the system becomes a DataError."""
    try:
        file = BufferedReader(source.path.open("rb", buffering=0), BUFFER_BYTES)
    except OSError as error:
        raise unreadable(error, source.name) from None
    with file:
        yield file


def stamp(source: SourceFile) -> tuple[int, int, int, int]:
    """What tells whether a file is still the one that was read."""
    found = os.stat(source.path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


Line = tuple[int, int, str]
"""Where its bytes begin and end, and its text with the line break."""


def _lines(file: BufferedReader[FileIO]) -> Iterator[Line]:
    """The lines between line feeds; wrong bytes survive as surrogates, so that only their row is lost."""
    stop = 0
    for line in file:
        start, stop = stop, stop + len(line)
        if not start and line.startswith(BOM):
            start, line = len(BOM), line.removeprefix(BOM)
        yield start, stop, line.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class JsonLines:
    """One JSON value a line; blank lines between rows are counted as bad, those at the end are not."""

    source: SourceFile

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        held: list[Line] = []
        number = 1
        with opened(self.source) as file:
            for line in _lines(file):
                if held and line[2].strip():
                    yield from (self._row(*each, at) for at, each in enumerate(held, start=number))
                    number += len(held)
                    held.clear()
                held.append(line)
        start, stop, last = held[0]
        yield self._row(start, stop, last.rstrip(), number)

    def _row(self, start: int, stop: int, line: str, number: int) -> RawRow | BadRow:
        origin, raw = Origin(self.source.name, number), line.removesuffix("\n").rstrip("\r")
        try:
            return RawRow(origin, columns_of(parse_line(raw)), raw, (start, stop))
        except RowError as error:
            return BadRow(origin, str(error), raw)

    def again(self, content: bytes, line: int) -> RawRow:
        """A row that was good, without looking for what may be wrong with it."""
        return RawRow(Origin(self.source.name, line), columns_of(json.loads(content.decode("utf-8"))), "")


@dataclass
class Table:
    """A table whose first line names the columns; the delimiter is guessed from it unless given."""

    source: SourceFile
    delimiter: str = ""
    header: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        csv.field_size_limit(LONGEST_CELL)
        taken: list[Line] = []
        with opened(self.source) as file:
            lines = _table_lines(file)
            first = next(lines)
            self.delimiter = self.delimiter or max(",;\t|", key=first[2].count)
            reader = csv.reader(_heard(first, lines, taken), delimiter=self.delimiter, strict=True)
            try:
                self.header = _header(next(reader), self.source.name)
            except csv.Error as error:
                found, where = f"the header is broken: {error}", f"{self.source.name}:1"
                raise DataError(found, where=where, remedy="name every column once") from None
            while True:
                origin = Origin(self.source.name, reader.line_num + 1)
                taken.clear()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield BadRow(origin, f"broken quoting: {error}", "".join(line for _, _, line in taken))
                    continue
                yield self._row(cells, origin, taken)

    def _row(self, cells: list[str], origin: Origin, taken: list[Line]) -> RawRow | BadRow:
        raw = taken[0][2] if len(taken) == 1 else "".join(line for _, _, line in taken)
        if not any(cells):
            return BadRow(origin, "empty line", raw)
        if len(cells) != len(self.header):
            return BadRow(origin, f"{len(cells)} cells under {len(self.header)} columns", raw)
        wrong = not_utf8("".join(cells))
        if wrong:
            return BadRow(origin, wrong, raw)
        return RawRow(origin, dict(zip(self.header, cells, strict=True)), raw, (taken[0][0], taken[-1][1]))

    def again(self, content: bytes, line: int) -> RawRow:
        """The row that stands on these bytes."""
        text = StringIO(content.decode("utf-8"), newline="")
        cells = next(csv.reader(text, delimiter=self.delimiter, strict=True))
        return RawRow(Origin(self.source.name, line), dict(zip(self.header, cells, strict=True)), "")


def _table_lines(file: BufferedReader[FileIO]) -> Iterator[Line]:
    """Lines as the csv module wants them, line breaks kept; those that are empty at the end of the file left out."""
    held: list[Line] = []
    stop = len(BOM) if file.peek(len(BOM)).startswith(BOM) else 0
    file.seek(stop)
    for line in TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline=""):
        start, stop = stop, stop + (len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape")))
        if held and line.strip("\r\n"):
            yield from held
            held.clear()
        held.append((start, stop, line))
    start, stop, line = held[0]
    yield start, stop, line.rstrip("\r\n")


def _heard(first: Line, lines: Iterator[Line], taken: list[Line]) -> Iterator[str]:
    """The lines' texts; each line that was asked for is put into `taken`."""
    taken.append(first)
    yield first[2]
    for line in lines:
        taken.append(line)
        yield line[2]


def _header(names: list[str], name: str) -> list[str]:
    header = [column.strip() for column in names]
    wrong = not_utf8("".join(header))
    twice = sorted({column for column in header if header.count(column) > 1})
    if wrong or twice or not all(header):
        found = wrong or (f"the column {twice[0]!r} appears twice" if twice else "a column of the header has no name")
        raise DataError(found, where=f"{name}:1", remedy="the first line must name every column once")
    return header


@dataclass(frozen=True)
class WholeText:
    """A text of a folder: one document."""

    source: SourceFile

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        with opened(self.source) as file:
            content = file.read()
        yield _document(_whole(content), Origin(self.source.name, 1), (0, len(content)))

    def again(self, content: bytes, line: int) -> RawRow:
        """The same document."""
        return RawRow(Origin(self.source.name, line), {"text": _whole(content)}, "")


def _whole(content: bytes) -> str:
    return content.removeprefix(BOM).decode("utf-8", "surrogateescape").replace("\r\n", "\n").strip("\n")


@dataclass(frozen=True)
class Documents:
    """A single text: paragraphs gathered into documents of up to 4,000 characters.

    A heading (`# …`, `= … =`) begins a new one. A longer paragraph stays whole; it is learned in windows of max_tokens.
    """

    source: SourceFile

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        gathered: list[_Paragraph] = []
        size = 0
        with opened(self.source) as file:
            for paragraph in _paragraphs(_lines(file)):
                heading = HEADING.match(paragraph.text.strip())
                if gathered and (size + len(paragraph.text) > DOCUMENT_CHARACTERS or heading):
                    yield self._gathered(gathered)
                    gathered, size = [], 0
                gathered.append(paragraph)
                size += len(paragraph.text) + 2
        yield self._gathered(gathered)

    def _gathered(self, paragraphs: list[_Paragraph]) -> RawRow | BadRow:
        if not paragraphs:
            return RawRow(Origin(self.source.name, 1), {"text": ""}, "", (0, 0))
        first, last = paragraphs[0], paragraphs[-1]
        text = "\n\n".join(paragraph.text for paragraph in paragraphs)
        return _document(text, Origin(self.source.name, first.line), (first.start, last.stop))

    def again(self, content: bytes, line: int) -> RawRow:
        """The document that stands on these bytes."""
        lines = ((0, 0, held.decode("utf-8")) for held in BytesIO(content))
        text = "\n\n".join(paragraph.text for paragraph in _paragraphs(lines))
        return RawRow(Origin(self.source.name, line), {"text": text}, "")


@dataclass(frozen=True, slots=True)
class _Paragraph:
    line: int
    text: str
    start: int
    stop: int


def _paragraphs(lines: Iterator[Line]) -> Iterator[_Paragraph]:
    held: list[str] = []
    first = last = number = 0
    for number, (start, stop, written) in enumerate(lines, start=1):
        line = written.removesuffix("\n")
        line = line.removesuffix("\r") if line != written else line
        if line.strip():
            first = first if held else start
            last = stop
            held.append(line)
        elif held:
            yield _Paragraph(number - len(held), "\n".join(held), first, last)
            held = []
    if held:
        yield _Paragraph(number + 1 - len(held), "\n".join(held), first, last)


def _document(text: str, origin: Origin, place: tuple[int, int]) -> RawRow | BadRow:
    wrong = not_utf8(text)
    return BadRow(origin, wrong, text) if wrong else RawRow(origin, {"text": text}, text, place)
