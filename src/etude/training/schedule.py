"""How the learning rate moves over a run."""

from __future__ import annotations

import math

from etude.training.options import TrainOptions

RISES_FROM = 1e-5


def learning_rate(step: int, num_steps: int, options: TrainOptions) -> float:
    """The rate of update `step` (0-based): a linear climb, then the schedule's fall, which ends just above zero."""
    warmup = round(options.warmup_share * num_steps)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, num_steps - warmup)
    match options.schedule:
        case "constant":
            share = 1.0
        case "linear":
            share = 1.0 - done
        case "cosine":
            share = 0.5 * (1.0 + math.cos(math.pi * done))
        case "rising":
            share = RISES_FROM ** (1.0 - done)
    return options.learning_rate * share
