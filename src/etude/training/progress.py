"""What the loop tells its hooks after each update, and what hooks are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.techniques.policy import Policy
    from etude.training.live import Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One update, over all ranks."""

    step: int
    """Updates done, this one included."""
    num_steps: int
    epoch: float
    loss: float
    """Sum over the step divided by its count; nats per learned token for language-model losses."""
    learning_rate: float
    grad_norm: float
    """2-norm over all trainable weights, before clipping."""
    rows: int
    tokens: int
    """Tokens of all rows."""
    tokens_computed: int
    """Tokens that went through the model: shared prefixes once."""
    seconds: float
    """From the packing of the step to its end."""
    micro_batches: int = 1
    """Passes through the model, forward and back."""
    heldout_loss: float | None = None
    """Only after updates that were followed by a look at the held-out rows."""
    heldout_figures: Mapping[str, float] = field(default_factory=dict)
    """What else was found there."""
    live: Live | None = None
    """The look at a task, where one is asked during training."""
    skipped: str | None = None
    """Why the optimizer did not step, when it did not."""
    warning: str | None = None
    """A spike of loss or gradient, when there was one."""
    memory: str | None = None
    """Why micro-batches became smaller before this update, when they did."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The objective's further sums, divided by the count."""
    is_main: bool = True


class StopEarly(Exception):
    """Raised by a hook: no further updates; the best weights are kept, and the run says why."""


Hook = Callable[[Progress, "Policy"], None]
"""Called after each update: logging, saving, measuring."""
