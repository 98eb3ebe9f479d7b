"""Records that stay in their files: only where each one stands is kept, and it is read again when it is needed."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, overload

import numpy as np

from etude.data.rows import RawRow
from etude.data.streams import RowFile, opened, stamp
from etude.errors import DataError
from etude.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLACE_TYPES = {"file": "i", "line": "q", "start": "q", "stop": "q", "part": "i"}
"""`part` counts the records of one row, which may hold several."""
AT_ONCE = 4_096
Place = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class ReadFile:
    """A file that has been read once."""

    rows: RowFile
    convert: Callable[[RawRow], Sequence[Record]]
    stamp: tuple[int, int, int, int]

    def check(self) -> None:
        """DataError if the file is not the one that was read."""
        try:
            same = stamp(self.rows.source) == self.stamp
        except OSError:
            same = False
        if not same:
            raise DataError("has changed since it was read", where=self.rows.source.name, remedy="read it again")


@dataclass(frozen=True)
class StreamedRows(Sequence[Record]):
    """Looks like a tuple of records, in 32 bytes each."""

    files: tuple[ReadFile, ...]
    places: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.places["file"])

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> StreamedRows: ...
    def __getitem__(self, index: int | slice) -> Record | StreamedRows:
        if isinstance(index, slice):
            return self.only(index)
        at = range(len(self))[index]
        return next(iter(self.only(slice(at, at + 1))))

    def only(self, chosen: slice | NDArray[np.bool_]) -> StreamedRows:
        """Some of them, in the same order."""
        return replace(self, places={name: values[chosen] for name, values in self.places.items()})

    def __iter__(self) -> Iterator[Record]:
        for number, run in groupby(self._each_place(), key=lambda place: place[0]):
            yield from self._read(self.files[number], run)

    def _each_place(self) -> Iterator[Place]:
        columns = [self.places[name] for name in PLACE_TYPES]
        for at in range(0, len(self), AT_ONCE):
            yield from zip(*(column[at : at + AT_ONCE].tolist() for column in columns), strict=True)

    def _read(self, file: ReadFile, places: Iterator[Place]) -> Iterator[Record]:
        file.check()
        known_start, records = -1, tuple[Record, ...]()
        with opened(file.rows.source) as opened_file:
            descriptor = opened_file.fileno()
            for _, line, start, stop, part in places:
                if start != known_start:
                    content = os.pread(descriptor, stop - start, start)
                    records, known_start = tuple(file.convert(file.rows.again(content, line))), start
                yield records[part]
        file.check()


@dataclass
class PlaceTaker:
    """Notes where records stand, as they pass."""

    _held: dict[str, array[int]] = field(default_factory=lambda: {n: array(t) for n, t in PLACE_TYPES.items()})

    def take(self, file: int, row: RawRow, part: int) -> None:
        """One more record."""
        assert row.place is not None, "only files that are streamed say where their rows are"
        held = self._held
        held["file"].append(file)
        held["line"].append(row.origin.line)
        held["start"].append(row.place[0])
        held["stop"].append(row.place[1])
        held["part"].append(part)

    def finish(self, files: Sequence[ReadFile]) -> StreamedRows:
        """The records that were noted."""
        places = {name: np.frombuffer(values, dtype=PLACE_TYPES[name]) for name, values in self._held.items()}
        return StreamedRows(tuple(files), places)
