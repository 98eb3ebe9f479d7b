"""Kahneman-Tversky optimisation (https://arxiv.org/abs/2402.01306): single answers, each judged good or bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import POSITIVE, Range, Usual
from etude.objectives.rows import pairs, row_sums
from etude.records import Judged


@dataclass(frozen=True, kw_only=True)
class KTO(Usual):
    """Make good answers likelier and bad ones less likely than they are on average.

    What is usual is estimated on answers to other prompts (a sample's second row), over the micro-batch: unlike other
    losses, this one's zero point depends on how a step is cut. `apo` does without it.
    """

    kind: Literal["kto"] = "kto"
    loss_type: Literal["kto", "apo"] = "kto"
    """`apo`: the zero point is the reference itself (https://arxiv.org/abs/2408.06266)."""
    beta: float = 0.1
    """How strongly the policy is held to its reference."""
    good: float = 1.0
    """Weight of good answers; good times their number should be about bad times theirs."""
    bad: float = 1.0
    """Weight of bad answers."""

    learns_from: ClassVar[tuple[type, ...]] = (Judged,)
    needs_reference: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, Range]] = {"beta": POSITIVE, "good": POSITIVE, "bad": POSITIVE}

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        gained_P, other_P = pairs(row_sums(batch, scores.policy_S - scores.need("reference")))
        usual = other_P.detach().mean().clamp(min=0) if self.loss_type == "kto" else 0.0
        is_good_P = (batch.value_R[0::2] > 0).to(gained_P.dtype)
        sign_P, weight_P = 2 * is_good_P - 1, self.bad + (self.good - self.bad) * is_good_P
        losses_P = weight_P * (1 - (self.beta * sign_P * (gained_P - usual)).sigmoid())
        counted_P, told_P = batch.sample_weight_P, gained_P.detach()
        figures_P = {"good": told_P * is_good_P, "bad": told_P * (1 - is_good_P), "usual": usual + 0 * told_P}
        return Loss((counted_P * losses_P).sum(), {name: (counted_P * one).sum() for name, one in figures_P.items()})
