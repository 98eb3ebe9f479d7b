"""How training and held-out loss went from epoch to epoch, and how many epochs would have been enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the rows."""

    number: int
    train_loss: float
    """Mean over its updates, rows counted."""
    heldout_loss: float | None
    """At the last look in it."""


def epochs_of(lines: Sequence[Mapping[str, Any]]) -> list[Epoch]:
    """From the lines of metrics.jsonl, in their order; a started epoch counts too."""
    updates = {line["step"]: line for line in lines if "loss" in line and "epoch" in line}
    looks = {line["step"]: float(line["heldout_loss"]) for line in lines if "heldout_loss" in line}
    found: dict[int, list[int]] = {}
    for step, line in sorted(updates.items()):
        found.setdefault(max(1, math.ceil(round(float(line["epoch"]), 9))), []).append(step)
    epochs = []
    for number, steps in sorted(found.items()):
        weights = [float(updates[step].get("rows", 1)) for step in steps]
        losses = [float(updates[step]["loss"]) for step in steps]
        mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
        seen = [looks[step] for step in steps if step in looks]
        epochs.append(Epoch(number, mean, seen[-1] if seen else None))
    return epochs


def advice(epochs: Sequence[Epoch]) -> str:
    """What to do about the number of epochs."""
    seen = [(one.number, one.heldout_loss) for one in epochs if one.heldout_loss is not None]
    if len(seen) < 2:
        return "one look or none at held-out rows: set training.heldout_every or train a second epoch to see more"
    best, lowest = min(seen, key=lambda pair: pair[1])
    last, loss = seen[-1]
    if best < last and loss > lowest:
        return (
            f"held-out loss was lowest after epoch {best} ({lowest:.4f}) and rose to {loss:.4f}: train {best} "
            f"{'epoch' if best == 1 else 'epochs'}"
        )
    falling = (seen[-2][1] - loss) / abs(seen[-2][1]) if seen[-2][1] else 0.0
    if falling > 0.02:
        return f"held-out loss still fell by {falling:.1%} in the last epoch: more epochs may help"
    return f"held-out loss hardly changed in the last epoch ({falling:.1%}): more epochs would gain little"
