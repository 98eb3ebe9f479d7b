"""The guard before the optimizer: no update from a loss or gradient that is not finite, and no spike unseen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from etude.errors import DivergedError

MOST_SKIPPED = 3
WINDOW = 200
FEWEST = 20
LOSS_DEVIATIONS = 6.0
LEAST_DEVIATION = 0.01
"""Of the median: losses that hardly vary make no spike of what nobody would call one."""
NORM_FACTOR = 10.0


@dataclass(slots=True)
class Guard:
    """Judges each update by its loss and gradient norm; remembers the last ones."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    skipped_in_a_row: int = 0

    def judge(self, loss: float, norm: float, *, step: int, sample_ids: Sequence[str]) -> tuple[str | None, str | None]:
        """(why this update must be skipped, or None; a warning, or None).

        Raises:
            DivergedError: too many updates in a row had to be skipped.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.skipped_in_a_row += 1
            reason = f"loss {loss:g} and gradient norm {norm:g} are not both finite"
            if self.skipped_in_a_row >= MOST_SKIPPED:
                raise DivergedError(
                    f"{reason}, {MOST_SKIPPED} updates in a row; the last samples were {_some(sample_ids)}",
                    where=f"update {step}",
                    remedy="lower the learning rate, or look at these rows; weights and checkpoints are unharmed",
                )
            return reason, None
        self.skipped_in_a_row = 0
        warning = self._spike(loss, norm, sample_ids)
        self.losses = [*self.losses, loss][-WINDOW:]
        self.norms = [*self.norms, norm][-WINDOW:]
        return None, warning

    def _spike(self, loss: float, norm: float, sample_ids: Sequence[str]) -> str | None:
        if len(self.losses) < FEWEST:
            return None
        middle = statistics.median(self.losses)
        deviation = statistics.median(abs(one - middle) for one in self.losses)
        if loss > middle + LOSS_DEVIATIONS * max(deviation, LEAST_DEVIATION * abs(middle), 1e-3):
            return f"loss {loss:.3g} against a median of {middle:.3g}; samples {_some(sample_ids)}"
        usual = statistics.median(self.norms)
        if norm > NORM_FACTOR * max(usual, 1e-6):
            return f"gradient norm {norm:.3g} against a median of {usual:.3g}; samples {_some(sample_ids)}"
        return None


def _some(sample_ids: Sequence[str]) -> str:
    shown = ", ".join(sample_ids[:4])
    return f"{shown} and {len(sample_ids) - 4} more" if len(sample_ids) > 4 else shown
