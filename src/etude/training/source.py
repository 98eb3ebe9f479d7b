"""What the loop can pull steps from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from etude.batch import Batch, Sample, Step

Share = Callable[[Sequence[Sample]], Sequence[Sample]]


class StepSource(Protocol):
    """A source whose step k is a pure function of (seed, k): resuming skips to it, no state is stored."""

    @property
    def num_samples(self) -> int:
        """Samples of one epoch."""
        ...

    def steps(self, *, batch_rows: int, seed: int, first: int, total_samples: int, share: Share) -> Iterator[Step]:
        """The steps from number `first` on; `share` picks this rank's samples of each."""
        ...


class SweepSource(Protocol):
    """A source that can show each of its samples once, for held-out losses."""

    def sweep(self, share: Share) -> Iterator[Batch]: ...
