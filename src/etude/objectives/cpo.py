"""Contrastive preference optimisation (https://arxiv.org/abs/2401.08417): preferences and imitation, no reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import Range, Usual
from etude.objectives.pair_figures import PAIRED, pair_loss
from etude.objectives.pair_losses import LOSSES
from etude.objectives.rows import pairs, row_means, row_sums
from etude.records import Preference


@dataclass(frozen=True, kw_only=True)
class CPO(Usual):
    """Make chosen answers likelier than rejected ones, and learn the chosen ones word for word."""

    kind: Literal["cpo"] = "cpo"
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    """How the difference of both answers becomes a loss."""
    beta: float = 0.1
    """Factor on log-probabilities of whole answers."""
    label_smoothing: float = 0.0
    """Share of labels taken for wrong."""
    nll: float = 1.0
    """Weight of the chosen answer's own loss, nats per token."""

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    ranges: ClassVar[Mapping[str, Range]] = PAIRED

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        chosen, rejected = pairs(row_sums(batch, scores.policy_S))
        losses_P = LOSSES[self.loss_type](chosen, rejected, self.beta, self.label_smoothing)
        losses_P = losses_P - self.nll * pairs(row_means(batch, scores.policy_S))[0]
        return pair_loss(batch, losses_P, self.beta, chosen, rejected)
