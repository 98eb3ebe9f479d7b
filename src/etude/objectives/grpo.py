"""Policy gradients on groups of answers to one prompt: GRPO and what grew from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import NOT_NEGATIVE, POSITIVE, SHARE, Range, Usual
from etude.objectives.experience import Credit, Experience
from etude.objectives.group_advantages import Baseline, advantages
from etude.objectives.policy_gradient import Level, counted, gradient_figures, reverse_kl, surrogate
from etude.records import Conversation, Prompt


@dataclass(frozen=True, kw_only=True)
class GRPO(Usual):
    """Make answers likelier that were better than the others to the same prompt (https://arxiv.org/abs/2402.03300)."""

    kind: Literal["grpo"] = "grpo"
    loss_type: Literal["grpo", "dapo", "dr_grpo", "cispo"] = "dapo"
    """Mean over answers of means over tokens; over all tokens (https://arxiv.org/abs/2503.14476); over answers at a
    constant length (https://arxiv.org/abs/2503.20783); clipped weights (https://arxiv.org/abs/2506.13585)."""
    baseline: Baseline = "group"
    """The group's mean over its deviation, its mean alone, the others' mean (RLOO, https://arxiv.org/abs/2402.14740),
    or mean and deviation of all answers (REINFORCE++, https://arxiv.org/abs/2501.03262)."""
    level: Level = "token"
    """Ratios of tokens, or of whole answers (GSPO, https://arxiv.org/abs/2507.18071)."""
    clip_low: float = 0.2
    """Ratios below 1 − this teach nothing more."""
    clip_high: float = 0.28
    """Ratios above 1 + this teach nothing more."""
    kl: float = 0.0
    """Weight of the distance to the model before training, nats per token (https://joschu.net/blog/kl-approx.html), by
    ratios, so that its gradient is unbiased (https://arxiv.org/abs/2512.02556)."""
    constant_length: int = 128
    """dr_grpo: the length that stands for all."""

    learns_from: ClassVar[tuple[type, ...]] = (Conversation, Prompt)
    online: ClassVar[bool] = True
    scores_rollouts: ClassVar[bool] = False
    ranges: ClassVar[Mapping[str, Range]] = {
        "clip_low": SHARE, "clip_high": NOT_NEGATIVE, "kl": NOT_NEGATIVE, "constant_length": POSITIVE
    }  # fmt: skip

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]  # by the knobs
        return self.kl > 0

    def credit(self, experience: Experience, state: dict[str, float]) -> Credit:
        each = advantages(experience.rewards_PG, self.baseline).flatten().float()
        return Credit({"advantage": [one.repeat(n) for one, n in zip(each, experience.lengths, strict=True)]})

    def count(self, batch: Batch) -> float:
        return counted(batch, self.loss_type, self.constant_length)

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        old_S, advantage_S = batch.given("old", scores.policy_S.detach()), batch.given("advantage")
        loss_S, ratio_S = surrogate(self, batch, scores.policy_S, old_S, advantage_S)
        figures = gradient_figures(self, batch, ratio_S, advantage_S, scores.policy_S)
        if self.kl:
            kl_S = reverse_kl(scores.policy_S, scores.need("reference"))
            loss_S, figures["kl_now"] = loss_S + self.kl * ratio_S * kl_S, kl_S.detach()
        share_S = batch.weight_S if self.loss_type != "grpo" else batch.weight_S / batch.lengths_S
        # What is logged is a mean over tokens (or answers), also where the loss is divided by a constant length.
        told_S = share_S * (self.count(batch) / share_S.sum().clamp(min=1e-9))
        return Loss(total=(share_S * loss_S).sum(), sums={name: (told_S * f_S).sum() for name, f_S in figures.items()})
