"""Texts as sets of overlapping pieces, and MinHash signatures of such sets, many texts at once.

A shingle is a run of characters. How much two sets have in common (their Jaccard index) is the share of places in which
their signatures agree, up to chance (https://doi.org/10.1109/SEQUEN.1997.666900). Nothing depends on Python's own
hashes, so the same texts give the same numbers everywhere. Letters of shapes: T texts, S shingles, P permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTOR = np.uint64(0x9E3779B97F4A7C15)
MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shingles(texts: Sequence[str], width: int) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """(hashes_S, starts_T): each text's runs of `width` characters, repeated ones included, at least one a text."""
    padded = [text if len(text) >= width else text + "\0" * (width - len(text)) for text in texts]
    content = "".join(padded).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(content, dtype="<u4").astype(np.uint64)
    sizes = np.array([len(text) for text in padded], dtype=np.intp)
    starts = np.concatenate(([0], np.cumsum(sizes - (width - 1))[:-1])).astype(np.intp)
    return runs(codes, sizes, width), starts


def runs(codes: NDArray[np.uint64], sizes: NDArray[np.intp], width: int) -> NDArray[np.uint64]:
    """A hash of each run of `width` numbers that lies within one of the pieces of these sizes, in their order."""
    num = len(codes) - width + 1
    if num <= 0:
        return np.empty(0, dtype=np.uint64)
    rolled = codes[:num].copy()
    for at in range(1, width):
        rolled *= FACTOR
        rolled += codes[at : at + num]
    begins = np.repeat(np.cumsum(sizes) - sizes, sizes)
    ends = np.repeat(np.cumsum(sizes), sizes)
    inside = (np.arange(len(codes)) + width <= ends) & (np.arange(len(codes)) >= begins)
    return mixed(rolled[inside[:num]])


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well-spread numbers, different ones for different ones (splitmix64's last steps)."""
    found = numbers ^ (numbers >> np.uint64(30))
    found *= MIXERS[0]
    found ^= found >> np.uint64(27)
    found *= MIXERS[1]
    found ^= found >> np.uint64(31)
    return found


def permutations(number: int) -> NDArray[np.uint64]:
    """Factors (odd) and offsets_2P: always the same ones."""
    made = mixed(np.arange(1, 2 * number + 1, dtype=np.uint64) * FACTOR).reshape(2, number)
    made[0] |= np.uint64(1)
    return made


def signatures(hashes: NDArray[np.uint64], starts: NDArray[np.intp], chosen: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """signatures_TP: for each text and permutation the smallest number that its shingles are sent to."""
    factors, offsets = chosen
    found = np.empty((len(starts), len(factors)), dtype=np.uint32)
    sent = np.empty_like(hashes)
    for at, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
        np.multiply(hashes, factor, out=sent)
        sent += offset
        found[:, at] = np.minimum.reduceat(sent, starts) >> np.uint64(32)
    return found


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """What two sorted sets have in common, as a share of what they hold together."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    together = len(one) + len(other) - shared
    return shared / together if together else 1.0
