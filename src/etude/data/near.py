"""Near copies among very many texts: MinHash signatures in bands find who may be alike, exact comparison decides.

Two texts are near copies when the sets of their shingles have a Jaccard index of at least `threshold`. Pairs that share
bands of their signatures (`etude.data.bands`) are compared on the shingles themselves. A text costs about 170 bytes of
memory, 430 while pairs are looked for; the texts wait in a temporary file.

Shingles that half of the rows have say nothing about a pair (an instruction before every question, the keys of a JSON
answer), so they are left out of its comparison: rows are alike when what is their own is alike.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, TYPE_CHECKING

import numpy as np

from etude.data.bands import bands_for, pairs_sharing_bands
from etude.data.fingerprint import Prints, normal
from etude.data.inputs import OnProgress
from etude.data.shingles import FACTOR, jaccard, mixed, permutations, shingles, signatures
from etude.data.sides import Sides

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 5
"""Characters of a shingle."""
AT_ONCE = 200_000
"""Characters that are hashed together."""
SAMPLED = 1_000
"""Texts, the first ones, in which common shingles are looked for."""
COMMON_SHARE = 0.5
COMMON_LEAST = 10
DIGEST_BYTES = 16
PAIRS_AT_ONCE = 5_000
NUMBER = re.compile(r"\d+")


@dataclass
class TextTaker:
    """Takes rows' two sides as they pass."""

    threshold: float | None
    """None: only equal rows are looked for."""
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _digests: bytearray = field(default_factory=bytearray)
    _sizes: list[NDArray[np.uint32]] = field(default_factory=list)
    _keys: list[NDArray[np.uint32]] = field(default_factory=list)
    _held: list[Sides] = field(default_factory=list)
    _held_size: int = 0
    _common: NDArray[np.uint64] | None = None

    def take(self, said: Sides) -> None:
        """One more row."""
        said = Sides(normal(said.prompt), normal(said.answer))
        for text in said:
            self._digests += blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
        self._held.append(said)
        self._held_size += len(said.prompt) + len(said.answer)
        if self._held_size >= AT_ONCE and (self._common is not None or len(self._held) >= SAMPLED):
            self._hash()

    def finish(self) -> TakenTexts:
        """All of them."""
        if self._held:
            self._hash()
        self._file.flush()
        num_bands, _ = bands_for(self.threshold)
        return TakenTexts(
            digests=np.frombuffer(bytes(self._digests), dtype=np.uint64).reshape(-1, 2, DIGEST_BYTES // 8),
            keys=np.concatenate([np.empty((0, num_bands), dtype=np.uint32), *self._keys]),
            common=np.empty(0, dtype=np.uint64) if self._common is None else self._common,
            sizes=np.concatenate([np.empty((0, 2), dtype=np.uint32), *self._sizes]),
            file=self._file,
        )

    def _hash(self) -> None:
        """Band keys of the rows that are held; their texts go to the file."""
        if self.threshold is not None:
            self._keys.append(self._band_keys(self.threshold))
        encoded = [[text.encode("utf-8", "surrogatepass") for text in said] for said in self._held]
        self._sizes.append(np.array([[len(text) for text in texts] for texts in encoded], dtype=np.uint32))
        self._file.write(b"".join(text for texts in encoded for text in texts))
        self._held.clear()
        self._held_size = 0

    def _band_keys(self, threshold: float) -> NDArray[np.uint32]:
        num_bands, num_rows = bands_for(threshold)
        hashes, starts = shingles([_joined(said) for said in self._held], WIDTH)
        if self._common is None:
            self._common = _common(hashes, starts)
        hashes, starts = _own(hashes, starts, self._common)
        found = signatures(hashes, starts, permutations(num_bands * num_rows)).astype(np.uint64)
        folding = permutations(num_rows)[0]
        folded = mixed((found.reshape(-1, num_bands, num_rows) * folding).sum(axis=2, dtype=np.uint64))
        return (folded >> np.uint64(32)).astype(np.uint32)


def _joined(said: Sides) -> str:
    return f"{said.prompt}\0{said.answer}" if said.answer else said.prompt


def _common(hashes: NDArray[np.uint64], starts: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Shingles that very many of the sampled texts have, copies of one text counted once; sorted."""
    sampled = {part.tobytes(): part for part in map(np.unique, np.split(hashes, starts[1:])[:SAMPLED])}
    found, counts = np.unique(np.concatenate(list(sampled.values())), return_counts=True)
    return found[counts >= max(COMMON_LEAST, COMMON_SHARE * len(sampled))]


def _own(
    hashes: NDArray[np.uint64], starts: NDArray[np.intp], common: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Without the common ones, except in texts that have no others."""
    if not len(common):
        return hashes, starts
    is_own = ~_among(hashes, common)
    sizes = np.diff(np.append(starts, len(hashes)))
    kept = np.add.reduceat(is_own.astype(np.intp), starts)
    is_own |= np.repeat(kept == 0, sizes)
    kept = np.where(kept == 0, sizes, kept)
    return hashes[is_own], np.concatenate(([0], np.cumsum(kept)[:-1])).astype(np.intp)


def _among(hashes: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == hashes
    return found


@dataclass
class TakenTexts:
    """Rows that can be asked which of them are alike. Letters of shapes: N rows, B bands."""

    digests: NDArray[np.uint64]
    """digests_N22: of each side."""
    keys: NDArray[np.uint32]
    """keys_NB: rows that share one in the same band may be alike."""
    common: NDArray[np.uint64]
    """Shingles that do not count."""
    sizes: NDArray[np.uint32]
    """sizes_N2: bytes of each side in the file."""
    file: IO[bytes]

    def __post_init__(self) -> None:
        self._ends = np.cumsum(self.lengths())

    def __len__(self) -> int:
        return len(self.digests)

    def labels(self, *, prompts_only: bool = False) -> NDArray[np.intp]:
        """A number for each row, the same for rows that are equal but for case and white space."""
        words = self.digests[:, :1] if prompts_only else self.digests
        flat = words.reshape(len(words), -1)
        order = np.lexsort(flat.T)
        labels = np.empty(len(flat), dtype=np.intp)
        labels[order] = np.cumsum(np.append(False, (np.diff(flat[order], axis=0) != 0).any(axis=1)))[: len(flat)]
        return labels

    def compared(
        self,
        ordered: NDArray[np.intp],
        *,
        later_from: int = 0,
        earlier_below: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """(pairs_X2, how alike their prompts and their answers are_X2), some at a time, of rows that share bands.

        A pair is (one that comes earlier in `ordered`, a later one); pairs are sorted by the later one's place, then
        the earlier one's. `later_from` and `earlier_below` are places in `ordered` that bound them.
        """
        found = pairs_sharing_bands(self.keys[ordered], later_from=later_from, earlier_below=earlier_below)
        for done, places in found:
            pairs = ordered[places].astype(np.int64)
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                chunk = pairs[start : start + PAIRS_AT_ONCE]
                yield chunk, self.similarities(chunk)
            if on_progress is not None:
                on_progress(done, len(ordered))

    def prompts_compared(
        self, *, later_from: int, earlier_below: int | None = None
    ) -> Iterator[tuple[int, int, float]]:
        """(earlier row, later row, how alike their prompts are) of rows that share bands, as in `compared`."""
        ordered = np.arange(len(self))
        for pairs, found in self.compared(ordered, later_from=later_from, earlier_below=earlier_below):
            for (earlier, later), alike in zip(pairs.tolist(), found[:, 0].tolist(), strict=True):
                yield earlier, later, alike

    def pairs(self, threshold: float, on_progress: OnProgress | None = None) -> NDArray[np.int64]:
        """pairs_X2 of rows that are alike on both sides; of rows that are equal only one is looked at."""
        _, once = np.unique(self.labels(), return_index=True)
        found = [np.empty((0, 2), dtype=np.int64)]
        for pairs, alike in self.compared(np.sort(once), on_progress=on_progress):
            found.append(pairs[(alike >= threshold).all(axis=1)])
        return np.concatenate(found)

    def prints(self, groups: NDArray[np.uint64]) -> Prints:
        """The rows as fingerprints of what was taken of them."""
        folded = mixed(self.digests[:, 0] * FACTOR + self.digests[:, 1])
        return Prints(np.concatenate([folded, np.zeros_like(folded)], axis=1), groups)

    def lengths(self) -> NDArray[np.int64]:
        """lengths_N in bytes, both sides together."""
        found: NDArray[np.int64] = self.sizes.sum(axis=1, dtype=np.int64)
        return found

    def similarities(self, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """found_X2: how alike the prompts of each pair are, and its answers: 1 is equal.

        Answers whose numbers differ are not alike at all.
        """
        found = np.ones((len(pairs), 2))
        rows, places = np.unique(pairs, return_inverse=True)
        said = [self.text(row) for row in rows.tolist()]
        for side in range(2):
            sets = self._own_sets([texts[side] for texts in said])
            numbers = [NUMBER.findall(texts[side]) if side else () for texts in said]
            equal = (self.digests[pairs[:, 0], side] == self.digests[pairs[:, 1], side]).all(axis=1)
            for at in np.flatnonzero(~equal):
                one, other = places.reshape(-1, 2)[at]
                found[at, side] = jaccard(sets[one], sets[other]) if numbers[one] == numbers[other] else 0.0
        return found

    def _own_sets(self, texts: list[str]) -> list[NDArray[np.uint64]]:
        """Each text's shingles, those that do not count left out."""
        hashes, starts = _own(*shingles(texts, WIDTH), self.common)
        return [np.unique(part) for part in np.split(hashes, starts[1:])]

    def text(self, row: int) -> Sides:
        """A row's sides, but for case and white space."""
        prompt, answer = map(int, self.sizes[row])
        content = os.pread(self.file.fileno(), prompt + answer, int(self._ends[row]) - prompt - answer)
        return Sides(
            content[:prompt].decode("utf-8", "surrogatepass"), content[prompt:].decode("utf-8", "surrogatepass")
        )
