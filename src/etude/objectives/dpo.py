"""Direct preference optimisation and its family (https://arxiv.org/abs/2305.18290)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import Usual
from etude.objectives.pair_figures import pair_loss, pair_problems
from etude.objectives.pair_losses import BY_LENGTH, LOSSES, SORTED, Divergence, Name, aot, diverged
from etude.objectives.rows import on_policy, pairs, row_lengths, row_means, row_sums, unweighted
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

    @property
    def needs_squares(self) -> bool:  # type: ignore[override]  # by the knobs
        return self.weighting

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        return pair_problems(self)

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        if self.loss_type in SORTED:
            unweighted(batch, f"loss_type {self.loss_type!r} sorts a batch's pairs")
        policy_R, reference_R = (
            row_sums(batch, one, tail_share=self.tail_share) for one in (scores.policy_S, scores.need("reference"))
        )
        gained = pairs(policy_R - reference_R)
        chosen, rejected = (diverged(one, self.divergence, self.divergence_alpha) for one in gained)
        if self.loss_type in BY_LENGTH:
            chosen, rejected = (one / by for one, by in zip((chosen, rejected), pairs(row_lengths(batch)), strict=True))
        if self.loss_type == "aot":
            policy_P, reference_P = (one - other for one, other in map(pairs, (policy_R, reference_R)))
            losses_P = aot(policy_P, reference_P, self.beta, self.label_smoothing)
        else:
            losses_P = LOSSES[self.loss_type](chosen, rejected, self.beta, self.label_smoothing)
        if self.weighting:
            losses_P = losses_P * on_policy(batch, scores)
        if self.nll:
            losses_P = losses_P - self.nll * pairs(row_means(batch, scores.policy_S))[0]
        return pair_loss(batch, losses_P, self.beta, *gained)
