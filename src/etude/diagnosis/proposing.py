"""Which rows to add for the slices that are worse, and how many for each. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etude.diagnosis.explanation import Slice


@dataclass(frozen=True, slots=True)
class Quota:
    """Rows wanted for a slice."""

    slice: Slice
    rows: int


def quotas(worse: Sequence[Slice], budget: int) -> list[Quota]:
    """The budget divided by how many failures there are to win; no label gets more rows than the others have.

    What one slice cannot take goes to the others.
    """
    wanted = {one.name: 0 for one in worse}
    left = budget
    open_ones = [one for one in worse if need(one) > 0]
    while left > 0 and open_ones:
        total = sum(one.excess for one in open_ones)
        shares = _rounded([left * one.excess / total for one in open_ones], left)
        for one, share in zip(open_ones, shares, strict=True):
            given = min(share, need(one) - wanted[one.name])
            wanted[one.name] += int(given)
            left -= int(given)
        open_ones = [one for one in open_ones if wanted[one.name] < need(one)]
    return [Quota(one, wanted[one.name]) for one in worse if wanted[one.name]]


def need(one: Slice) -> float:
    """Most rows that a slice can use: of a label, as many as bring it to the usual number, or one for each failure."""
    if one.training_rows is None or one.usual_rows is None:
        return math.inf if one.excess > 0 else 0
    return max(math.ceil(one.usual_rows - one.training_rows), math.ceil(one.excess), 0)


def _rounded(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers with that total, each next to its share (largest remainders)."""
    whole = [math.floor(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda at: (whole[at] - shares[at], at))
    for at in order[: total - sum(whole)]:
        whole[at] += 1
    return whole


def chosen(
    wanted: Sequence[Quota], ranked: Mapping[str, Sequence[int]]
) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """(row, its slice) from each slice's ranking, no row twice; and how many rows each slice still lacks.

    The slices choose in turn, so that none takes all of what several want.
    """
    picked: dict[int, str] = {}
    waiting = {quota.slice.name: iter(ranked.get(quota.slice.name, ())) for quota in wanted}
    lacking = {quota.slice.name: quota.rows for quota in wanted}
    while waiting:
        for name in list(waiting):
            row = next((one for one in waiting[name] if one not in picked), None) if lacking[name] else None
            if row is None:
                del waiting[name]
            else:
                picked[row] = name
                lacking[name] -= 1
    return list(picked.items()), {name: number for name, number in lacking.items() if number}
