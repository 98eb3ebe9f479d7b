"""Odds-ratio preference optimisation: imitation and preference in one, without a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import POSITIVE, Range, Usual
from etude.objectives.pair_figures import pair_loss
from etude.objectives.rows import log_sigmoid, pairs, row_means
from etude.records import Preference


@dataclass(frozen=True, kw_only=True)
class ORPO(Usual):
    """Learn the chosen answers word for word, and raise their odds over the rejected ones'."""

    kind: Literal["orpo"] = "orpo"
    beta: float = 0.1
    """Weight of the odds ratio (λ of https://arxiv.org/abs/2403.07691)."""

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    ranges: ClassVar[Mapping[str, Range]] = {"beta": POSITIVE}

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        means_R = row_means(batch, scores.policy_S)
        odds_R = means_R - (-means_R.exp().clamp(max=1 - 1e-7)).log1p()
        chosen, rejected = pairs(odds_R)
        losses_P = -pairs(means_R)[0] - self.beta * log_sigmoid(chosen - rejected)
        return pair_loss(batch, losses_P, self.beta, *pairs(means_R))
