"""Samples cut into micro-batches: as few as the limit allows, as equal in computed tokens as can be.

Neighbours in token order share most, so the samples are sorted and every micro-batch is a run of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etude.batch import Sample
from etude.packing import MIN_SHARED, in_order, num_seen

BYTES = 4
"""Of a token in a key."""
Part = Sequence[int]
"""The samples of one micro-batch, by their places."""


def cut(samples: Sequence[Sample], *, tokens: int, share_prefixes: bool = True, multiple_of: int = 1) -> list[Part]:
    """Parts of at most `tokens` computed tokens each (a larger sample is a part of its own).

    The number of parts is the smallest multiple of `multiple_of` that will do, unless there are fewer samples; the
    largest part is then as small as it can be.
    """
    order: Sequence[int] = range(len(samples))
    if share_prefixes:  # keys are sorted, not samples: there may be very many
        keys = [in_order(sample.rows[0].tokens) for sample in samples]
        order = sorted(order, key=keys.__getitem__)
    costs = _Costs.of(map(samples.__getitem__, order), share_prefixes=share_prefixes)
    wanted = -(-len(costs.starts(tokens)) // multiple_of) * multiple_of
    low, high = 1, tokens
    while low < high:
        middle = (low + high) // 2
        if len(costs.starts(middle)) <= wanted:
            high = middle
        else:
            low = middle + 1
    starts = costs.starts(high)
    while len(starts) < min(wanted, len(samples)):
        starts = costs.with_one_more(starts)
    return [order[start:stop] for start, stop in itertools.pairwise([*starts, len(samples)])]


@dataclass(frozen=True, slots=True)
class _Costs:
    """Most tokens that each sample adds to a tree: as its first, and after its neighbour."""

    first: tuple[int, ...]
    after: tuple[int, ...]

    @staticmethod
    def of(samples: Iterable[Sample], *, share_prefixes: bool) -> _Costs:
        """A tree branches only where it pays, which leaves up to MIN_SHARED - 1 common tokens unshared."""
        first, after = [], []
        before = b""
        for sample in samples:
            seen = [in_order(row.tokens[: num_seen(row)]) for row in sample.rows]
            alone = sum(map(len, seen)) // BYTES
            if share_prefixes:
                alone -= sum(_shared(a, b) for a, b in itertools.pairwise(sorted(seen)))
            first.append(alone)
            after.append(alone - _shared(before, seen[0]) if share_prefixes else alone)
            before = seen[0]
        return _Costs(tuple(first), tuple(after))

    def starts(self, limit: int) -> list[int]:
        """Where parts begin when each is filled up to the limit."""
        found: list[int] = []
        cost = 0
        for place, (first, after) in enumerate(zip(self.first, self.after, strict=True)):
            cost += after
            if not found or cost > limit:
                found.append(place)
                cost = first
        return found

    def with_one_more(self, starts: Sequence[int]) -> list[int]:
        """The costliest part that has several samples cut where its halves are most equal."""
        several = [one for one in itertools.pairwise([*starts, len(self.first)]) if one[1] - one[0] > 1]
        start, stop = max(several, key=lambda one: self._cost(*one))
        middle = min(range(start + 1, stop), key=lambda at: max(self._cost(start, at), self._cost(at, stop)))
        return sorted([*starts, middle])

    def _cost(self, start: int, stop: int) -> int:
        return self.first[start] + sum(self.after[start + 1 : stop])


def _shared(a: bytes, b: bytes) -> int:
    """Common tokens of two keys that are computed once for sure."""
    low, high = 0, min(len(a), len(b)) // BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if a[BYTES * low : BYTES * middle] == b[BYTES * low : BYTES * middle]:
            low = middle
        else:
            high = middle - 1
    return max(0, low - (MIN_SHARED - 1))
