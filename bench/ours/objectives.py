"""Preference and group objectives in the form that Etude's own will have: their cost is measured before they exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from etude.batch import Batch, Loss, Scores
from etude.records import Preference, Prompt


@dataclass(frozen=True, kw_only=True)
class PairLoss:
    """Direct preference optimisation (https://arxiv.org/abs/2305.18290): each sample is (chosen, rejected)."""

    beta: float = 0.1

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    needs_reference: ClassVar[bool] = True

    def count(self, batch: Batch) -> float:
        return float(len(batch.sample_ids))

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        import torch

        gained_S = scores.policy_S - scores.need("reference")
        gained_R = torch.zeros(batch.num_rows).index_add(0, batch.row_S, gained_S)
        margin = gained_R[0::2] - gained_R[1::2]
        return Loss(total=-torch.nn.functional.logsigmoid(self.beta * margin).sum())


@dataclass(frozen=True, kw_only=True)
class GroupLoss:
    """A clipped policy gradient (https://arxiv.org/abs/2402.03300) on a group's first update.

    A row's weights are its advantage; the policy that wrote the answers is the one that learns, so the ratio is 1.
    """

    clip: float = 0.2

    learns_from: ClassVar[tuple[type, ...]] = (Prompt,)
    needs_reference: ClassVar[bool] = False

    def count(self, batch: Batch) -> float:
        return float(len(batch.site_S))

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        import torch

        ratio_S = (scores.policy_S - scores.policy_S.detach()).exp()
        clipped_S = ratio_S.clamp(1 - self.clip, 1 + self.clip)
        return Loss(total=-torch.minimum(ratio_S * batch.weight_S, clipped_S * batch.weight_S).sum())
