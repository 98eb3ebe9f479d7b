"""A reward model from preferences (Bradley-Terry, https://arxiv.org/abs/2203.02155): a number for a whole answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Sample, Scores, TokenRow
from etude.objectives.base import NOT_NEGATIVE, Range, Usual
from etude.objectives.pair_figures import pair_loss
from etude.objectives.rows import log_sigmoid, pairs
from etude.records import Preference


@dataclass(frozen=True, kw_only=True)
class Reward(Usual):
    """Give chosen answers a higher number than rejected ones; a row's `margin` is by how much at least."""

    kind: Literal["reward"] = "reward"
    centring: float = 0.01
    """Pulls the numbers of a pair towards 0 on average (https://arxiv.org/abs/2312.09244); 0: not at all."""

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    ranges: ClassVar[Mapping[str, Range]] = {"centring": NOT_NEGATIVE}
    needs_policy: ClassVar[bool] = False
    needs_values: ClassVar[bool] = True

    def shown(self, sample: Sample) -> Sample:
        """Scored once a row, where its last token has been read: what would come after it is the only target."""
        return replace(sample, rows=tuple(map(_ended, sample.rows)))

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        chosen, rejected = pairs(scores.need("values"))
        losses_P = -log_sigmoid(chosen - rejected - pairs(batch.value_R)[0])
        losses_P = losses_P + self.centring * (chosen + rejected).square()
        return pair_loss(batch, losses_P, 1.0, chosen, rejected)


def _ended(row: TokenRow) -> TokenRow:
    return TokenRow((*row.tokens, row.tokens[-1]), (*[0.0] * len(row.tokens), 1.0), row.value)
