"""The sum over preference pairs, what is logged of them, whatever the loss, and what their settings may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etude.batch import Batch, Loss
from etude.objectives.pair_losses import SORTED

if TYPE_CHECKING:
    from torch import Tensor


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


def pair_problems(options: Any) -> list[tuple[str, str]]:
    """(setting, what is wrong with it) of an objective of pairs."""
    found: list[tuple[str, str]] = []
    if options.beta <= 0:
        found.append(("beta", f"must be above 0, got {options.beta:g}"))
    smoothing = getattr(options, "label_smoothing", 0.0)
    kind = getattr(options, "loss_type", "sigmoid")
    if not 0 <= smoothing < 0.5:
        found.append(("label_smoothing", f"must be from 0 to below 0.5, got {smoothing:g}"))
    elif kind == "exo_pair" and not smoothing:
        found.append(("label_smoothing", "must be above 0 with exo_pair, such as 0.001"))
    if kind in SORTED and getattr(options, "weighting", False):
        found.append(("weighting", f"weighs pairs, which {kind} sorts against each other"))
    if getattr(options, "nll", 0.0) < 0:
        found.append(("nll", f"must not be below 0, got {options.nll:g}"))
    if not 0 <= getattr(options, "tail_share", 1.0) <= 1:
        found.append(("tail_share", f"must be from 0 to 1, got {options.tail_share:g}"))
    return found
