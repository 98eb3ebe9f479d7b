"""Near copies among very many texts: MinHash signatures in bands find who may be alike, exact comparison decides.

Two texts are near copies when the sets of their shingles have a Jaccard index of at least `threshold`. Signatures are
folded into bands, so that a pair at the threshold shares at least one band with a probability of RECALL or more
(locality-sensitive hashing, http://infolab.stanford.edu/~ullman/mmds/ch3n.pdf); each such pair is then compared on the
shingles themselves. A text costs about 150 bytes of memory; the texts wait in a temporary file.

Shingles that half of the rows have say nothing about a pair (an instruction before every question, the keys of a JSON
answer), so they are left out of its comparison: rows are alike when what is their own is alike.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, TYPE_CHECKING

import numpy as np

from etude.data.fingerprint import Prints, normal
from etude.data.inputs import OnProgress
from etude.data.shingles import FACTOR, jaccard, mixed, permutations, shingles, signatures
from etude.data.sides import Sides

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 5
"""Characters of a shingle."""
RECALL = 0.9995
MOST_PERMUTATIONS = 128
AT_ONCE = 200_000
"""Characters that are hashed together."""
SAMPLED = 1_000
"""Texts, the first ones, in which common shingles are looked for."""
COMMON_SHARE = 0.5
COMMON_LEAST = 10
ALL_PAIRS = 64
"""Up to this many texts of one band are compared all with all; beyond it each with those before it and the first."""
FIRST_ONES = 32
MOST_PAIRS = 4_000_000
"""Of one band; beyond it no further neighbours are looked at."""
DIGEST_BYTES = 16
PAIRS_AT_ONCE = 5_000
NUMBER = re.compile(r"\d+")


def bands_for(threshold: float | None) -> tuple[int, int]:
    """(number of bands, signature places in each): as selective as RECALL at the threshold allows."""
    if threshold is None:
        return 0, 0
    best = (MOST_PERMUTATIONS, 1)
    for rows in range(1, 17):
        alike = threshold**rows
        number = 1 if alike >= 1 else math.ceil(math.log(1 - RECALL) / math.log(1 - alike))
        if number * rows <= MOST_PERMUTATIONS:
            best = (number, rows)
    return best


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

    def candidates(self, ordered: NDArray[np.intp], *, first: int | None = None) -> NDArray[np.int64]:
        """pairs_X2 of rows of `ordered` that share a band, as (one that comes earlier in it, a later one).

        They are sorted by the later one's place, then the earlier one's. With `first`, only pairs of one of the first
        so many rows and one of the others.
        """
        found = np.empty(0, dtype=np.int64)
        for band in range(self.keys.shape[1]):
            found = np.union1d(found, _neighbours(self.keys[ordered, band], len(ordered), first))
        later, earlier = np.divmod(found, max(1, len(ordered)))
        return np.stack([ordered[earlier], ordered[later]], axis=1).astype(np.int64)

    def pairs(self, threshold: float, on_progress: OnProgress | None = None) -> NDArray[np.int64]:
        """pairs_X2 of rows that are alike on both sides; of rows that are equal only one is looked at."""
        _, first = np.unique(self.labels(), return_index=True)
        found = self.candidates(np.sort(first))
        return found[(self.similarities(found, on_progress) >= threshold).all(axis=1)]

    def prints(self, groups: NDArray[np.uint64]) -> Prints:
        """The rows as fingerprints of what was taken of them."""
        folded = mixed(self.digests[:, 0] * FACTOR + self.digests[:, 1])
        return Prints(np.concatenate([folded, np.zeros_like(folded)], axis=1), groups)

    def lengths(self) -> NDArray[np.int64]:
        """lengths_N in bytes, both sides together."""
        found: NDArray[np.int64] = self.sizes.sum(axis=1, dtype=np.int64)
        return found

    def similarities(self, pairs: NDArray[np.int64], on_progress: OnProgress | None = None) -> NDArray[np.float32]:
        """found_X2: how alike the prompts of each pair are, and its answers: 1 is equal.

        Answers whose numbers differ are not alike at all.
        """
        found = np.ones((len(pairs), 2), dtype=np.float32)
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            chunk = pairs[start : start + PAIRS_AT_ONCE]
            rows, places = np.unique(chunk, return_inverse=True)
            said = [self.text(row) for row in rows.tolist()]
            for side in range(2):
                sets = self._own_sets([texts[side] for texts in said])
                numbers = [NUMBER.findall(texts[side]) if side else () for texts in said]
                equal = (self.digests[chunk[:, 0], side] == self.digests[chunk[:, 1], side]).all(axis=1)
                for at in np.flatnonzero(~equal):
                    one, other = places.reshape(-1, 2)[at]
                    alike = jaccard(sets[one], sets[other]) if numbers[one] == numbers[other] else 0.0
                    found[start + at, side] = alike
            if on_progress is not None:
                on_progress(min(start + PAIRS_AT_ONCE, len(pairs)), len(pairs))
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


def _neighbours(keys: NDArray[np.uint32], number: int, first: int | None) -> NDArray[np.int64]:
    """Pairs of places with the same key, as later * number + earlier; across `first`, where it is given."""

    def across(earlier: NDArray[np.intp], later: NDArray[np.intp]) -> NDArray[np.int64]:
        wanted = slice(None) if first is None else (earlier < first) & (later >= first)
        return later[wanted].astype(np.int64) * number + earlier[wanted]

    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    same = ranked[1:] == ranked[:-1]
    in_run = np.append(same, False) | np.append(False, same)
    order, ranked = order[in_run], ranked[in_run]
    found: list[NDArray[np.int64]] = []
    size = 0
    for lag in range(1, ALL_PAIRS):
        is_pair = ranked[lag:] == ranked[:-lag]
        if not is_pair.any() or size > MOST_PAIRS:
            break
        found.append(across(order[:-lag][is_pair], order[lag:][is_pair]))
        size += len(found[-1])
    is_first = np.append(True, ranked[1:] != ranked[:-1])
    starts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1] if len(ranked) else np.empty(0, dtype=np.intp)
    far = np.flatnonzero(np.arange(len(ranked)) - starts >= ALL_PAIRS)
    for at in range(FIRST_ONES):
        if size > MOST_PAIRS or not len(far):
            break
        found.append(across(order[starts[far] + at], order[far]))
        size += len(found[-1])
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
