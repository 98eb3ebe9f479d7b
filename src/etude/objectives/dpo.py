"""Direct preference optimisation and its family (https://arxiv.org/abs/2305.18290)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import NOT_NEGATIVE, SHARE, Range, Usual
from etude.objectives.pair_figures import PAIRED, pair_loss
from etude.objectives.pair_losses import Divergence, Name, family_losses, family_problems
from etude.objectives.rows import on_policy, pairs, row_means, row_sums
from etude.records import Preference


@dataclass(frozen=True, kw_only=True)
class DPO(Usual):
    """Make chosen answers likelier than rejected ones, measured against the model before training."""

    kind: Literal["dpo"] = "dpo"
    loss_type: Name = "sigmoid"
    """Which of the family; docs/preferences.md tells them apart."""
    beta: float = 0.1
    """How strongly the policy is held to its reference."""
    label_smoothing: float = 0.0
    """Share of labels taken for wrong."""
    nll: float = 0.0
    """Weight of the chosen answer's own loss, nats per token (https://arxiv.org/abs/2404.19733)."""
    tail_share: float = 1.0
    """What tokens past the shorter answer count (https://arxiv.org/abs/2409.06411)."""
    divergence: Divergence = "reverse_kl"
    """By which the policy is held to its reference."""
    divergence_alpha: float = 0.5
    """alpha_divergence: its coefficient."""
    weighting: bool = False
    """Pairs count by how likely the policy finds both answers (WPO, https://arxiv.org/abs/2406.11827)."""

    learns_from: ClassVar[tuple[type, ...]] = (Preference,)
    needs_reference: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, Range]] = {**PAIRED, "tail_share": SHARE, "divergence_alpha": NOT_NEGATIVE}

    @property
    def needs_squares(self) -> bool:  # type: ignore[override]  # by the knobs
        return self.weighting

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        return [*super().problems(), *family_problems(self)]

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        policy_R, reference_R = (
            row_sums(batch, one, tail_share=self.tail_share) for one in (scores.policy_S, scores.need("reference"))
        )
        losses_P = family_losses(self, batch, policy_R, reference_R)
        if self.weighting:
            losses_P = losses_P * on_policy(batch, scores)
        if self.nll:
            losses_P = losses_P - self.nll * pairs(row_means(batch, scores.policy_S))[0]
        return pair_loss(batch, losses_P, self.beta, *pairs(policy_R - reference_R))
