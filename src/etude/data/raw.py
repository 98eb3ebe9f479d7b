"""A source's rows as they stand in its files, before any layout is read into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from etude.data.check import BadRow
from etude.data.rows import RawRow, whole_rows
from etude.data.sources import SourceFile, find
from etude.data.streams import STREAMED, JsonLines, row_file


def raw_rows(source: str | Path) -> Iterator[RawRow]:
    """Every row that could be taken apart, with its columns; DataError for a source that cannot be read."""
    for file in find(source).files:
        yield from (row for row in _rows(file) if isinstance(row, RawRow))


def _rows(file: SourceFile) -> Iterable[RawRow | BadRow]:
    return row_file(file) if file.format in STREAMED else whole_rows(file, lambda: iter(JsonLines(file)))
