"""Supervised fine-tuning: learn the answers word for word (https://arxiv.org/abs/2109.01652)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import Usual
from etude.records import Conversation, Text


@dataclass(frozen=True, kw_only=True)
class SFT(Usual):
    """Weighted negative log-likelihood of the learned tokens, in nats per token.

    On conversations this is instruction tuning; on plain text, domain adaptation (continued pre-training).
    """

    kind: Literal["sft"] = "sft"

    learns_from: ClassVar[tuple[type, ...]] = (Conversation, Text)
    per_token: ClassVar[bool] = True

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        return Loss(total=-(batch.weight_S * scores.policy_S).sum())
