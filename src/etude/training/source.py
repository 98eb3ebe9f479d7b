"""What the loop can pull steps from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from etude.batch import Batch, Step

Share = Callable[[Sequence[Sequence[int]]], Sequence[Sequence[int]]]
"""This rank's micro-batches among those of a step, each the places of its samples."""


class StepSource(Protocol):
    """A source whose step k is a pure function of (seed, k): resuming skips to it, no state is stored."""

    @property
    def num_samples(self) -> int:
        """Samples of one epoch."""
        ...

    def steps(
        self,
        *,
        batch_rows: int,
        seed: int,
        first: int,
        total_samples: int,
        share: Share,
        num_ranks: int,
        most_tokens: int | None,
    ) -> Iterator[Step]:
        """The steps from number `first` on, in equally many micro-batches for each rank; `share` picks this one's.

        `most_tokens` is what memory is known to hold in one pass, where that is less than the source would take. The
        last step given may be asked for again with less.
        """
        ...


@runtime_checkable
class Telling(Protocol):
    """A source that knows something of the step that it gave last, for the diary."""

    @property
    def figures(self) -> Mapping[str, float]: ...


@runtime_checkable
class Look(Protocol):
    """Measures the policy on held-out samples in a way of its own."""

    def look(self) -> tuple[float, Mapping[str, float]]:
        """A loss (lower is better), and figures for the diary."""
        ...


class SweepSource(Protocol):
    """A source that can show each of its samples once, for held-out losses."""

    def sweep(self, share: Share, *, num_ranks: int, most_tokens: int | None) -> Iterator[Batch]: ...
