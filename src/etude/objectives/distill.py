"""Distillation: learn what a stronger model finds likely (https://arxiv.org/abs/1503.02531, 2306.13649)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.batch import Batch, Loss, Scores
from etude.objectives.base import NOT_NEGATIVE, POSITIVE, SHARE, Range, Usual
from etude.objectives.experience import Credit, Experience
from etude.objectives.rows import token_loss
from etude.records import Conversation, Prompt, Text


@dataclass(frozen=True, kw_only=True)
class Distill(Usual):
    """Make the whole distribution of each learned token that of a teacher, as far as both vocabularies go."""

    kind: Literal["distill"] = "distill"
    teacher: str = ""
    """A model's name, an adapter's or a run's folder."""
    mix: float = 0.0
    """0: KL(teacher‖student), which covers all that the teacher may say; 1: KL(student‖teacher), which settles on what
    it is sure to say; between them the generalised Jensen-Shannon divergence."""
    temperature: float = 1.0
    """Of both distributions."""
    top_k: int = 0
    """Only the teacher's likeliest tokens, their probabilities made to add up to 1; 0: all."""
    nll: float = 0.0
    """Weight of the data's own tokens beside the teacher's."""
    on_policy: bool = False
    """Whether the student writes the answers itself, to prompts, and is shown what the teacher thinks of them."""

    learns_from: ClassVar[tuple[type, ...]] = (Conversation, Text, Prompt)
    needs_teacher: ClassVar[bool] = True
    needs_rewards: ClassVar[bool] = False
    scores_rollouts: ClassVar[bool] = False
    per_token: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, Range]] = {
        "mix": SHARE, "temperature": POSITIVE, "top_k": NOT_NEGATIVE, "nll": NOT_NEGATIVE
    }  # fmt: skip

    @property
    def online(self) -> bool:  # type: ignore[override]  # by the knobs
        return self.on_policy

    def problems(self) -> list[tuple[str, str]]:
        missing = [] if self.teacher else [("teacher", "missing; name a model, an adapter's or a run's folder")]
        return [*missing, *super().problems()]

    def credit(self, experience: Experience, state: dict[str, float]) -> Credit:
        """No answer is better than another: the teacher speaks for each token."""
        return Credit({})

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        apart_S = scores.need("teacher")
        return token_loss(batch, apart_S - self.nll * scores.policy_S, {"divergence": apart_S.detach()})
