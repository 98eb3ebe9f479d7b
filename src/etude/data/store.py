"""Prepared rows as a few flat arrays, in memory or mapped from disk: a sample is made when it is asked for.

A row costs its tokens (4 bytes each), 20 bytes of offsets and value, and 12 for each learned stretch, a sample 28 more
for its weight and where it came from. As Python objects it would take some forty times that.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from etude.batch import Sample, TokenRow
from etude.durable import explained
from etude.records import Origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from etude.data.render import EncodedRow

TYPES: Mapping[str, str] = {
    "tokens": "i",
    "row_stop": "q",
    "span_start": "i",
    "span_stop": "i",
    "span_weight": "f",
    "row_span_stop": "q",
    "row_value": "f",
    "sample_row_stop": "q",
    "sample_weight": "f",
    "file": "i",
    "line": "q",
    "again": "i",
}
"""Every array and what it holds, as `array` and numpy name it.

Spans are the stretches of a row that are learned with one weight. In `…_stop` each item ends where the next one begins.
`again` is 2 for the second sample of one origin, 3 for the third (several answers in a row, windows of a text)."""
FLUSH_BYTES = 1 << 20


@dataclass(frozen=True)
class TokenStore(Sequence[Sample]):
    """Samples that look like a tuple of them; a slice is a view."""

    arrays: Mapping[str, NDArray[Any]]
    paths: tuple[str, ...]
    """The files that samples came from."""
    first: int = 0
    stop: int = 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        places = range(self.first, self.stop)
        if isinstance(index, slice):
            chosen = places[index]
            if chosen.step != 1:
                return tuple(map(self._sample, chosen))
            return replace(self, first=chosen.start, stop=max(chosen.start, chosen.stop))
        return self._sample(places[index])

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, range(self.first, self.stop))

    def _sample(self, at: int) -> Sample:
        first, stop = self._bounds("sample_row_stop", at)
        arrays = self.arrays
        name, again = f"{self.paths[arrays['file'][at]]}:{arrays['line'][at]}", int(arrays["again"][at])
        rows = tuple(map(self._row, range(first, stop)))
        return Sample(f"{name}#{again}" if again > 1 else name, rows, float(arrays["sample_weight"][at]))

    def _row(self, at: int) -> TokenRow:
        arrays = self.arrays
        start, stop = self._bounds("row_stop", at)
        weights = np.zeros(stop - start, dtype=np.float32)
        for span in range(*self._bounds("row_span_stop", at)):
            weights[arrays["span_start"][span] : arrays["span_stop"][span]] = arrays["span_weight"][span]
        return TokenRow(arrays["tokens"][start:stop], weights, float(arrays["row_value"][at]))

    def _bounds(self, name: str, at: int) -> tuple[int, int]:
        stops = self.arrays[name]
        return int(stops[at - 1]) if at else 0, int(stops[at])

    def row_sizes(self) -> NDArray[np.int64]:
        """Tokens of each row of these samples."""
        return np.diff(self.arrays["row_stop"][slice(*self._rows())], prepend=self._before("row_stop", self._rows()[0]))

    def num_learned(self) -> int:
        """Tokens that are learned, over all rows of these samples."""
        first, stop = self._rows()
        spans = slice(self._before("row_span_stop", first), self._before("row_span_stop", stop))
        sizes = self.arrays["span_stop"][spans] - self.arrays["span_start"][spans]
        return int(sizes[self.arrays["span_weight"][spans] > 0].sum())

    def _rows(self) -> tuple[int, int]:
        return self._before("sample_row_stop", self.first), self._before("sample_row_stop", self.stop)

    def _before(self, name: str, at: int) -> int:
        return int(self.arrays[name][at - 1]) if at else 0


@dataclass
class StoreWriter:
    """Takes samples one by one; with a folder they go to its files as they come, so memory stays small."""

    folder: Path | None = None
    _held: dict[str, array[Any]] = field(default_factory=lambda: {n: array(t) for n, t in TYPES.items()})
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("tokens", "span_start", "row_stop"), 0))
    _paths: dict[str, int] = field(default_factory=dict)
    _ends: list[int] = field(default_factory=list)
    _samples: int = 0

    def add(
        self, origin: Origin, rows: Sequence[EncodedRow], values: Sequence[float] = (), *, weight: float = 1.0
    ) -> None:
        """One more sample; `values` are what is known of its rows as wholes, 0 where left out."""
        held, counts = self._held, self._counts
        held["row_value"].extend([*values, *[0.0] * (len(rows) - len(values))])
        for row in rows:
            held["tokens"].extend(row.tokens)
            for start, stop, strength in row.spans:
                held["span_start"].append(start)
                held["span_stop"].append(stop)
                held["span_weight"].append(strength)
            counts["tokens"] += len(row.tokens)
            counts["span_start"] += len(row.spans)
            held["row_stop"].append(counts["tokens"])
            held["row_span_stop"].append(counts["span_start"])
        counts["row_stop"] += len(rows)
        held["sample_row_stop"].append(counts["row_stop"])
        held["sample_weight"].append(weight)
        held["file"].append(self._paths.setdefault(origin.path, len(self._paths)))
        held["line"].append(origin.line)
        self._samples += 1
        if self.folder is not None and len(held["tokens"]) * held["tokens"].itemsize > FLUSH_BYTES:
            self._flush()

    def end_side(self) -> None:
        """The samples so far are one side of the split; what follows is counted apart."""
        self._ends.append(self._samples)

    def finish(self) -> tuple[TokenStore, ...]:
        """A store for each side, over the same arrays."""
        if self.folder is not None:
            self._flush()
            self.close()
        arrays = {name: self._array(name) for name in TYPES if name != "again"}
        starts = [0, *self._ends[:-1]]
        sides = list(zip(starts, self._ends, strict=True))
        again = [numbered(arrays["file"][a:b], arrays["line"][a:b]) for a, b in sides]
        self._held["again"] = array("i", np.concatenate(again, dtype=np.int32).tobytes())
        if self.folder is not None:
            with explained(self.folder):
                (self.folder / "again").write_bytes(self._held["again"].tobytes())
        arrays["again"] = self._array("again")
        return tuple(TokenStore(arrays, tuple(self._paths), *side) for side in sides)

    def close(self) -> None:
        """Lets go of the files; to be called whatever happened."""
        with explained(self.folder or Path()):
            for file in self._files.values():
                file.close()

    def _array(self, name: str) -> NDArray[Any]:
        if self.folder is None:
            return np.frombuffer(self._held[name], dtype=TYPES[name])
        return mapped(self.folder / name, TYPES[name])

    def _flush(self) -> None:
        assert self.folder is not None
        with explained(self.folder):
            for name, values in self._held.items():
                if name not in self._files:
                    self._files[name] = (self.folder / name).open("wb")
                self._files[name].write(memoryview(values).cast("B"))
                del values[:]


def mapped(path: Path, kind: str) -> NDArray[Any]:
    """A file's numbers without reading them: the system brings in what is looked at, and takes it back."""
    with path.open("rb") as file, explained(path):
        if not path.stat().st_size:
            return np.empty(0, dtype=kind)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=kind)


def numbered(file: NDArray[Any], line: NDArray[Any]) -> NDArray[np.int32]:
    """For each sample, which one of its origin's it is: 1, 2, …"""
    order = np.lexsort((np.arange(len(file)), line, file))
    is_first = np.ones(len(file), dtype=bool)
    is_first[1:] = (np.diff(file[order]) != 0) | (np.diff(line[order]) != 0)
    place = np.arange(len(file))
    number = np.empty(len(file), dtype=np.int32)
    number[order] = place - np.maximum.accumulate(np.where(is_first, place, 0)) + 1
    return number
