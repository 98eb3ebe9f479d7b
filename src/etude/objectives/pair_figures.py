"""The sum over preference pairs, and what is logged of them, whatever the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etude.batch import Batch, Loss
from etude.objectives.base import MINORITY, NOT_NEGATIVE, POSITIVE, Range

if TYPE_CHECKING:
    from torch import Tensor

PAIRED: Mapping[str, Range] = {"beta": POSITIVE, "label_smoothing": MINORITY, "nll": NOT_NEGATIVE}
"""What the settings may be that most objectives of pairs have."""


def pair_loss(batch: Batch, losses_P: Tensor, beta: float, chosen_P: Tensor, rejected_P: Tensor) -> Loss:
    """Pairs added up by weight; beside it how often chosen answers gained more, by how much, what both gained."""
    weight_P, chosen_P, rejected_P = batch.sample_weight_P, chosen_P.detach(), rejected_P.detach()
    figures_P = {
        "accuracy": (chosen_P > rejected_P).to(chosen_P.dtype),
        "margin": beta * (chosen_P - rejected_P),
        "chosen": chosen_P,
        "rejected": rejected_P,
    }
    return Loss((weight_P * losses_P).sum(), {name: (weight_P * one).sum() for name, one in figures_P.items()})
