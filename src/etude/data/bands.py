"""Who may be alike: rows whose MinHash signatures agree in at least two bands (locality-sensitive hashing).

One band in common is not enough: among a million short texts tens of millions of pairs share one by chance, and hardly
any shares two (http://infolab.stanford.edu/~ullman/mmds/ch3n.pdf). Pairs are made in stretches of rows, so that memory
does not grow with their number. Letters of shapes: N rows, B bands, X pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECALL = 0.9995
"""Probability that a pair at the threshold shares two bands."""
MOST_PERMUTATIONS = 160
MOST_BANDS = 40
ROWS_AT_ONCE = 25_000
ALL_PAIRS = 64
"""Up to this many texts of one band are compared all with all; beyond it each with those before it and the first."""
FIRST_ONES = 32
MOST_PAIRS = 1_000_000
"""Of one band and ROWS_AT_ONCE rows; beyond it no further neighbours are looked at."""


def bands_for(threshold: float | None) -> tuple[int, int]:
    """(number of bands, signature places in each): as selective as RECALL at the threshold allows, if anything does."""
    if threshold is None:
        return 0, 0
    shapes = [(min(MOST_BANDS, MOST_PERMUTATIONS // rows), rows) for rows in range(16, 0, -1)]
    return next((shape for shape in shapes if sharing(threshold, *shape) >= RECALL), shapes[-1])


def sharing(alike: float, num_bands: int, num_rows: int) -> float:
    """Probability that two texts so much alike (Jaccard index) share two bands or more."""
    one = alike**num_rows
    return 1 - (1 - one) ** num_bands - num_bands * one * (1 - one) ** (num_bands - 1)


def pairs_sharing_bands(
    keys: NDArray[np.uint32], *, later_from: int = 0, earlier_below: int | None = None
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(rows done, pairs_X2), a stretch of rows at a time: (earlier, later) places of keys_NB that share two bands.

    They are sorted by the later place, then the earlier one.
    """
    number, num_bands = keys.shape
    bands = [_Band(keys[:, band]) for band in range(num_bands)]
    before = number if earlier_below is None else earlier_below
    for start in range(later_from, number, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, number)
        codes = np.concatenate([band.pairs(start, end, before) for band in bands])
        codes.sort()
        later, earlier = np.divmod(_repeated(codes), number)
        yield end, np.stack([earlier, later], axis=1)


def _repeated(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers that are there twice or more, once each."""
    is_again = np.append(False, ordered[1:] == ordered[:-1])
    found: NDArray[np.int64] = ordered[is_again & np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]]
    return found


class _Band:
    """The places whose key others have too: those of one key side by side, in their order."""

    def __init__(self, keys: NDArray[np.uint32]) -> None:
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        same = ranked[1:] == ranked[:-1]
        in_run = (np.append(same, False) | np.append(False, same))[: len(keys)]
        self.number = len(keys)
        self.places = order[in_run].astype(np.uint32)
        ranked = ranked[in_run]
        begins = np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)]
        self.run_starts = np.flatnonzero(begins)[np.cumsum(begins) - 1].astype(np.uint32)

    def pairs(self, start: int, end: int, before: int) -> NDArray[np.int64]:
        """later * number + earlier, of later places from start to end and earlier ones below `before`."""
        later = np.flatnonzero((self.places >= start) & (self.places < end))
        since = later - self.run_starts[later]
        found = [np.empty(0, dtype=np.int64)]
        size = 0
        for lag in range(1, ALL_PAIRS):
            later, since = later[since >= lag], since[since >= lag]
            if size > MOST_PAIRS or not len(later):
                return np.concatenate(found)
            found.append(self._coded(later, later - lag, before))
            size += len(found[-1])
        for at in range(FIRST_ONES if size <= MOST_PAIRS else 0):
            far = later[since >= ALL_PAIRS + at]  # nearer ones have been seen as neighbours
            found.append(self._coded(far, self.run_starts[far] + np.uint32(at), before))
        return np.concatenate(found)

    def _coded(self, later: NDArray[np.intp], earlier: NDArray[np.integer], before: int) -> NDArray[np.int64]:
        ones = self.places[earlier]
        wanted = ones < before
        found: NDArray[np.int64] = self.places[later[wanted]].astype(np.int64) * self.number + ones[wanted]
        return found
