"""Rows that give away what an evaluation asks: common runs of words, and near copies of whole prompts.

Runs of 13 words in common are the usual sign (https://arxiv.org/abs/2005.14165, appendix C). A prompt with fewer words
leaks where all of it stands in a row; prompts of less than SHORTEST words are compared as wholes only. Runs that many
of the evaluation's items have (an instruction before every question) give nothing away and do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from etude.data.near import TextTaker
from etude.data.shingles import runs
from etude.data.sides import Sides
from etude.records import Origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORTEST = 5
"""Words of a prompt below which finding all of them in a row in a text means nothing."""
COMMON_ITEMS = 10
"""A run that more of the evaluation's items have does not count."""
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Leak:
    """What a row gives away."""

    item: int
    """The evaluation's item, by its place."""
    words: int = 0
    """Length of the run in common; 0: the prompts are alike as wholes."""
    alike: float = 0.0

    def facts(self, origins: Sequence[Origin]) -> dict[str, object]:
        """For the file of dropped rows."""
        how = {"words_in_a_row": self.words} if self.words else {"alike": round(self.alike, 3)}
        return {"evaluation": str(origins[self.item]), **how}


@dataclass
class WordHashes:
    """Words as numbers, the same everywhere."""

    known: dict[str, int] = field(default_factory=dict)

    def of(self, text: str) -> list[int]:
        """One for each word, but for case."""
        return [self._of_word(word) for word in WORD.findall(text.casefold())]

    def _of_word(self, word: str) -> int:
        found = self.known.get(word)
        if found is None:
            content = word.encode("utf-8", "surrogatepass")
            found = self.known[word] = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
        return found


@dataclass
class LeakFinder:
    """Knows an evaluation's items; takes rows and finds those that give one away."""

    items: Sequence[Sides]
    ngram: int
    """Words in a row."""
    threshold: float
    """How alike whole prompts are."""
    num_common: int = 0
    """Runs that do not count."""
    _hashes: WordHashes = field(default_factory=WordHashes)
    _known: dict[int, tuple[NDArray[np.uint64], NDArray[np.intp]]] = field(default_factory=dict)
    """For each length of a run: sorted hashes, and an item that has each of them."""
    _held: list[str] = field(default_factory=list)
    _found: dict[int, Leak] = field(default_factory=dict)
    _num_rows: int = 0

    def __post_init__(self) -> None:
        self._texts = TextTaker(self.threshold)
        for item in self.items:
            self._texts.take(Sides(item.prompt, ""))
        coded = [[np.array(self._hashes.of(text), dtype=np.uint64) for text in item] for item in self.items]
        common = self._common(coded)
        self.num_common = len(common)
        by_length: dict[int, dict[int, int]] = {}
        for place, sides in enumerate(coded):
            for codes, shortest in zip(sides, (SHORTEST, self.ngram), strict=True):
                for own in _own(codes, self.ngram, common):
                    length = min(self.ngram, len(own))
                    if length >= shortest:
                        known = by_length.setdefault(length, {})
                        known.update(dict.fromkeys(_runs(own, length).tolist(), place))
        for length, known in by_length.items():
            hashes = np.array(sorted(known), dtype=np.uint64)
            self._known[length] = hashes, np.array([known[one] for one in hashes.tolist()], dtype=np.intp)

    def _common(self, coded: Sequence[Sequence[NDArray[np.uint64]]]) -> NDArray[np.uint64]:
        """Runs that many items have, sorted."""
        each = [np.unique(np.concatenate([_runs(codes, self.ngram) for codes in sides])) for sides in coded]
        found, counts = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *each]), return_counts=True)
        return found[counts > COMMON_ITEMS]

    def take(self, said: Sides) -> None:
        """One more row."""
        self._texts.take(Sides(said.prompt, ""))
        self._held.append(f"{said.prompt}\n{said.answer}")
        if len(self._held) >= ROWS_AT_ONCE:
            self._look()

    def finish(self) -> dict[int, Leak]:
        """The rows that give something away, by their places, each with one item that it gives away."""
        self._look()
        texts = self._texts.finish()
        first = len(self.items)
        for item, row, alike in texts.prompts_compared(later_from=first, earlier_below=first):
            if alike >= self.threshold:
                self._found.setdefault(row - first, Leak(item, alike=alike))
        return self._found

    def _look(self) -> None:
        """Runs of words in common, of the rows that are held."""
        words = [self._hashes.of(text) for text in self._held]
        codes = np.array([code for each in words for code in each], dtype=np.uint64)
        sizes = np.array([len(each) for each in words], dtype=np.intp)
        for length, (known, items) in sorted(self._known.items(), reverse=True):
            numbers = np.maximum(sizes - (length - 1), 0)
            hashes = runs(codes, sizes, length)
            at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            hits = np.flatnonzero(known[at] == hashes)
            rows = np.repeat(np.arange(len(sizes)), numbers)[hits]
            for row, item in zip(rows.tolist(), items[at[hits]].tolist(), strict=True):
                self._found.setdefault(self._num_rows + row, Leak(item, words=length))
        self._num_rows += len(self._held)
        self._held.clear()


def _runs(codes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    return runs(codes, np.array([len(codes)]), length)


def _own(codes: NDArray[np.uint64], length: int, common: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """The pieces of an item that lie in no common run."""
    starts = np.flatnonzero(np.isin(_runs(codes, length), common))
    is_common = np.zeros(len(codes), dtype=bool)
    for at in starts.tolist():
        is_common[at : at + length] = True
    places = np.flatnonzero(~is_common)
    return [codes[piece] for piece in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(piece)]
