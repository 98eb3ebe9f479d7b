"""Simple preference optimisation (https://arxiv.org/abs/2405.14734): likelihoods by length, no reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import NOT_NEGATIVE, Range, Usual
from etude.objectives.pair_figures import PAIRED, pair_loss
from etude.objectives.rows import pairs, row_means, smoothed
from etude.records import Preference


@dataclass(frozen=True, kw_only=True)
class SimPO(Usual):
    """Make chosen answers likelier per token than rejected ones, by a margin."""

    kind: Literal["simpo"] = "simpo"
    beta: float = 2.0
    """Factor on log-probabilities per token."""
    gamma: float = 0.5
    """The margin, in the same unit as `beta` times nats per token."""
    label_smoothing: float = 0.0
    """Share of labels taken for wrong."""
    nll: float = 0.0
    """Weight of the chosen answer's own loss, nats per token (CPO-SimPO)."""

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    ranges: ClassVar[Mapping[str, Range]] = {**PAIRED, "gamma": NOT_NEGATIVE}

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        chosen, rejected = pairs(row_means(batch, scores.policy_S))
        losses_P = smoothed(self.beta * (chosen - rejected) - self.gamma, self.label_smoothing) - self.nll * chosen
        return pair_loss(batch, losses_P, self.beta, chosen, rejected)
