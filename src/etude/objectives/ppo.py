"""Proximal policy optimisation from rewards, as in RLHF (https://arxiv.org/abs/1707.06347, 2203.02155, 2403.17031)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import NOT_NEGATIVE, POSITIVE, SHARE, Range, Usual
from etude.objectives.experience import Credit, Experience
from etude.objectives.policy_gradient import Level, gradient_figures, reverse_kl, surrogate, value_loss
from etude.objectives.ppo_credit import credit_of
from etude.objectives.rows import token_loss
from etude.records import Conversation, Prompt


@dataclass(frozen=True, kw_only=True)
class PPO(Usual):
    """Make tokens likelier from which more came than a critic expected, near the policy that wrote them."""

    kind: Literal["ppo"] = "ppo"
    loss_type: ClassVar[str] = "dapo"
    level: ClassVar[Level] = "token"
    clip_low: float = 0.2
    """Ratios below 1 − this teach nothing more."""
    clip_high: float = 0.2
    """Ratios above 1 + this teach nothing more."""
    value_weight: float = 0.1
    """Weight of the critic's loss."""
    value_clip: float = 0.2
    """How far a value may move from what it was and still be learned; 0: any way."""
    entropy: float = 0.0
    """Weight of a bonus for being unsure, estimated on what was written."""
    kl: float = 0.05
    """Penalty on each token's distance to the model before training, part of the reward."""
    kl_target: float | None = 6.0
    """Distance of a whole answer, in nats, that the penalty is adapted to; null: it stays."""
    kl_horizon: float = 10_000.0
    """Answers over which it adapts."""
    discount: float = 1.0
    """γ: what a reward one token later is worth."""
    decay: float = 0.95
    """λ of the advantage estimate."""
    whiten_rewards: bool = False
    """Whether rewards are scaled to deviation 1 in each batch of answers."""
    critic_warmup: int = 0
    """Batches of answers from which the critic alone learns."""

    learns_from: ClassVar[tuple[type, ...]] = (Conversation, Prompt)
    online: ClassVar[bool] = True
    scores_rollouts: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    needs_values: ClassVar[bool] = True
    per_token: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, Range]] = {
        "clip_low": SHARE, "clip_high": NOT_NEGATIVE, "value_weight": NOT_NEGATIVE, "value_clip": NOT_NEGATIVE,
        "entropy": NOT_NEGATIVE, "kl": NOT_NEGATIVE, "kl_target": POSITIVE, "kl_horizon": POSITIVE, "discount": SHARE,
        "decay": SHARE, "critic_warmup": NOT_NEGATIVE,
    }  # fmt: skip

    def credit(self, experience: Experience, state: dict[str, float]) -> Credit:
        return credit_of(self, experience, state)

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        advantage_S, policy_S = batch.given("advantage"), scores.policy_S
        loss_S, ratio_S = surrogate(self, batch, policy_S, batch.given("old"), advantage_S)
        missed_S = value_loss(scores.need("values"), batch.given("return"), batch.given("value"), self.value_clip)
        loss_S = loss_S + self.value_weight * missed_S + self.entropy * policy_S.detach() * policy_S
        figures = gradient_figures(self, batch, ratio_S, advantage_S, policy_S)
        figures |= {"value_loss": missed_S.detach(), "kl_now": reverse_kl(policy_S, scores.need("reference")).detach()}
        return token_loss(batch, loss_S, figures)
