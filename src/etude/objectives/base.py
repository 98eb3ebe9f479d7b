"""What the loop asks of an objective."""

from __future__ import annotations

from typing import Protocol

from etude.batch import Batch, Loss, Scores


class Objective(Protocol):
    """A frozen dataclass of knobs with a loss that returns sums; it knows no model, trainer or data format."""

    @property
    def learns_from(self) -> tuple[type, ...]:
        """Record types whose rows this objective can learn from."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether `Scores.reference_S`, the model before training, must be computed."""
        ...

    def count(self, batch: Batch) -> float:
        """What the summed loss is divided by, for this batch alone."""
        ...

    def loss(self, batch: Batch, scores: Scores) -> Loss: ...
