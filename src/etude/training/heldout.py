"""Held-out looks during training: the loss, keeping the best weights, stopping early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from etude import faults
from etude.batch import Batch
from etude.errors import DataError
from etude.objectives.base import Objective
from etude.techniques.policy import Policy
from etude.training.memory import Room, Smaller
from etude.training.options import KeepBy
from etude.training.ranks import Ranks
from etude.training.scores import scores_of
from etude.training.source import SweepSource


def heldout_loss(
    policy: Policy,
    source: SweepSource,
    objective: Objective,
    ranks: Ranks,
    *,
    room: Room | None = None,
    update: int = 0,
) -> tuple[float, dict[str, float]]:
    """The objective's loss over all held-out samples, without dropout, and its figures; the same on every rank.

    Raises:
        DataError: nothing in them is learned.
        EtudeError: memory ran out on a single sample.
    """
    room = room or Room()
    sums: list[tuple[float, float, dict[str, float]]] = []

    def add(batch: Batch) -> None:
        placed = batch.to(policy.model.module.device)
        found = objective.loss(placed, scores_of(policy, placed, objective))
        faults.demand("heldout.pass", len(batch.tokens_T))
        figures = {name: float(value) for name, value in found.sums.items()}
        sums.append((float(found.total), objective.count(placed), figures))

    while True:
        sums.clear()
        batches = source.sweep(ranks.share, num_ranks=ranks.world, most_tokens=room.most_tokens)
        with suppress(Smaller), torch.no_grad():
            room.passes(batches, add, ranks, update=update)
            break
    total = ranks.sum(sum((loss for loss, _, _ in sums), 0.0))
    count = ranks.sum(sum((number for _, number, _ in sums), 0.0))
    if not count > 0:
        raise DataError("0 learned tokens", where="held-out samples", remedy="hold out rows with answers, or none")
    names = sums[0][2] if sums else {}
    figures = ranks.sum_named({name: sum(each[name] for _, _, each in sums) for name in names})
    return total / count, {name: value / count for name, value in figures.items()}


@dataclass(slots=True)
class Best:
    """The best look at held-out samples so far, the weights that had it, and how long ago that was."""

    keep: bool
    by: KeepBy = "loss"
    """What makes a look the best; of equal scores the one with the lower loss."""
    loss: float | None = None
    score: float | None = None
    """Of the task that is asked during training; None where none is."""
    step: int = 0
    looks_since: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def look(self, loss: float, step: int, trainable: Mapping[str, Tensor], *, score: float | None = None) -> None:
        """Takes a look into account."""
        if not self._is_better(loss, score):
            self.looks_since += 1
            return
        self.loss, self.score, self.step, self.looks_since = loss, score, step, 0
        if self.keep:
            self.weights = {name: weight.detach().clone() for name, weight in trainable.items()}

    def _is_better(self, loss: float, score: float | None) -> bool:
        if not loss < math.inf:  # true of NaN, which is never the best
            return False
        if self.loss is None:
            return True
        if self.by == "score" and score is not None and self.score is not None and score != self.score:
            return score > self.score
        return loss < self.loss

    def hand_back(self, trainable: Mapping[str, Tensor]) -> None:
        """Puts the best weights into the model."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                trainable[name].copy_(weight)
