"""How far people agree: Krippendorff's alpha with its interval, and agreement of every two of them.

Shape letters: U units (items), V values, R resamples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from etude.evaluation.intervals import Bootstrap, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

Level = Literal["nominal", "ordinal", "interval"]
RESAMPLES = 2_000
NUMBERS_AT_ONCE = 1 << 20
"""Of resampled tables, held in memory."""
Units = Mapping[str, Mapping[str, float]]
"""Item → annotator → what was said, as a number; who said nothing is absent."""


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives."""

    value: float
    low: float
    high: float
    level: Level
    units: int
    """Items with at least two people's word."""


def krippendorff_alpha(units: Units, level: Level = "nominal", *, seed: int = 0) -> Alpha | None:
    """Reliability of any number of people with anything missing (https://doi.org/10.1080/19312450709336664).

    The 95 % interval is from a bootstrap over items (bias-corrected; unbounded for fewer than two items). None where no
    item has two people's word, or where everybody always said the same thing: there is nothing to tell them apart by.
    """
    import numpy as np

    counts_UV, values_V = _counts(units)
    size = len(counts_UV)
    if not size or len(values_V) < 2:
        return None
    beside = _beside(counts_UV)
    estimate = float(_alphas(beside, np.ones((1, size)), values_V, level)[0])
    if size < 2:
        return Alpha(estimate, float("-inf"), 1.0, level, size)
    drawn = []
    generator = np.random.default_rng(seed)
    at_once = max(1, NUMBERS_AT_ONCE // max(size, len(values_V) ** 2))
    for start in range(0, RESAMPLES, at_once):
        number = min(at_once, RESAMPLES - start)
        chosen = [np.bincount(generator.integers(0, size, size), minlength=size) for _ in range(number)]
        drawn.append(_alphas(beside, np.stack(chosen).astype(np.float64), values_V, level))
    low, high = _interval(estimate, np.concatenate(drawn), size)
    return Alpha(estimate, low, min(high, 1.0), level, size)


def _counts(units: Units) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each value was given to each item that several people spoke of, [U, V], and the values in order."""
    import numpy as np

    kept = [list(said.values()) for said in units.values() if len(said) > 1]
    values_V = np.array(sorted({value for said in kept for value in said}))
    place = {value: at for at, value in enumerate(values_V.tolist())}
    counts_UV = np.zeros((len(kept), len(values_V)))
    for unit, said in enumerate(kept):
        for value in said:
            counts_UV[unit, place[value]] += 1
    return counts_UV, values_V


def _beside(counts_UV: NDArray[np.float64]) -> csr_array:
    """What each unit adds to the table of values that stand beside each other, [U, V * V]."""
    import numpy as np
    from scipy.sparse import csr_array

    num_values = counts_UV.shape[1]
    rows, columns, added = [], [], []
    for unit, counts_V in enumerate(counts_UV):
        given = np.flatnonzero(counts_V)
        pairs = np.outer(counts_V[given], counts_V[given]) - np.diag(counts_V[given])
        rows.append(np.full(pairs.size, unit))
        columns.append((given[:, None] * num_values + given[None, :]).ravel())
        added.append(pairs.ravel() / (counts_V.sum() - 1))
    places = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(added), places), shape=(len(counts_UV), num_values**2))


def _alphas(
    beside: csr_array, times_RU: NDArray[np.float64], values_V: NDArray[np.float64], level: Level
) -> NDArray[np.float64]:
    """1 - observed / expected disagreement, each unit taken so many times, [R]; NaN where nothing differs."""
    import numpy as np

    size = len(values_V)
    table_RVV = (beside.T @ times_RU.T).T.reshape(-1, size, size)
    totals_RV = table_RVV.sum(axis=1)
    distance_RVV = _distances(values_V, totals_RV, level)
    observed_R = (table_RVV * distance_RVV).sum(axis=(1, 2))
    expected_R = np.einsum("rv,rvw,rw->r", totals_RV, distance_RVV, totals_RV) / (totals_RV.sum(axis=1) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = 1 - observed_R / np.where(expected_R > 0, expected_R, np.nan)
    return found


def _distances(values_V: NDArray[np.float64], totals_RV: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """How far two values are apart, squared, [R, V, V]."""
    import numpy as np

    if level == "nominal":
        return np.broadcast_to(1.0 - np.eye(len(values_V)), (len(totals_RV), len(values_V), len(values_V)))
    places_RV = values_V[None]
    if level == "ordinal":
        places_RV = np.cumsum(totals_RV, axis=1) - totals_RV / 2
    found: NDArray[np.float64] = (places_RV[:, :, None] - places_RV[:, None, :]) ** 2
    return np.broadcast_to(found, (len(totals_RV), *found.shape[1:]))


def _interval(estimate: float, drawn: NDArray[np.float64], units: int) -> tuple[float, float]:
    """95 %; draws in which nothing differed count as full agreement."""
    import numpy as np
    from scipy.special import ndtri

    drawn = np.sort(np.nan_to_num(drawn, nan=1.0))
    below = float(np.count_nonzero(drawn < estimate) + np.count_nonzero(drawn == estimate) / 2) / len(drawn)
    share = min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn))
    return Bootstrap(estimate, drawn, float(ndtri(share)), 0.0, units).interval(0.95)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two people said the same, ties included."""

    one: str
    other: str
    share: float
    low: float
    high: float
    items: int


def pairwise(units: Units) -> list[Agreement]:
    """Every two people with common items, by name, with Wilson's 95 % intervals."""
    same: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for said in units.values():
        for one, other in combinations(sorted(said), 2):
            same[one, other].append(said[one] == said[other])
    return [_agreement(names, found) for names, found in sorted(same.items())]


def _agreement(names: tuple[str, str], same: Sequence[bool]) -> Agreement:
    low, high = wilson(sum(same), len(same))
    return Agreement(*names, sum(same) / len(same), low, high, len(same))


def last_said(told: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    """(item, annotator, value) as units; of what one person said twice of an item, the last counts."""
    units: dict[str, dict[str, float]] = defaultdict(dict)
    for item, annotator, value in told:
        units[item][annotator] = value
    return dict(units)
