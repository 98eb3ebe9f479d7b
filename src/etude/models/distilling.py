"""How far a student's distributions are from a teacher's, in chunks: never [sites, vocabulary] at once.

Shape letters: S sites, E hidden size (of either model), V vocabulary, C sites of a chunk, K the teacher's likeliest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.models.scoring import CHUNK_NUMBERS, head_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.vocabulary import SharedVocabulary


class Distance(Protocol):
    """What is measured; see `objectives.distill`."""

    @property
    def mix(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...


def divergences(
    student: PreTrainedModel,
    hidden_SE: Tensor,
    teacher: PreTrainedModel,
    taught_SE: Tensor,
    distance: Distance,
    shared: SharedVocabulary | None = None,
) -> Tensor:
    """Nats at each site, float32 [S], differentiable in the student alone; of models with different vocabularies, over
    the tokens that they share, both distributions made to add up to 1 there."""
    vocabulary = cast("nn.Linear", student.get_output_embeddings()).weight.shape[0]
    chunk = max(1, CHUNK_NUMBERS // int(vocabulary) // 4)

    def apart(hidden_CE: Tensor, taught_CE: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_CV = head_logits(teacher, taught_CE)
        student_CV = head_logits(student, hidden_CE)
        if shared is not None:
            student_CV = student_CV[:, shared.mine_K.to(student_CV.device)]
            teacher_CV = teacher_CV[:, shared.its_K.to(teacher_CV.device)]
        return divergence(student_CV, teacher_CV, distance)

    parts = [
        cast("Tensor", checkpoint(apart, one, other, use_reentrant=False))
        for one, other in zip(hidden_SE.split(chunk), taught_SE.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden_SE.new_zeros(0, dtype=torch.float32)


def divergence(student_CV: Tensor, teacher_CV: Tensor, distance: Distance) -> Tensor:
    """Of the softmax of both logits, float32 [C] (https://arxiv.org/abs/2306.13649, equation 1)."""
    if distance.top_k:
        teacher_CV, likeliest_CK = teacher_CV.topk(min(distance.top_k, teacher_CV.shape[-1]), dim=-1)
        student_CV = student_CV.gather(-1, likeliest_CK)
    student, teacher = ((logits.float() / distance.temperature).log_softmax(-1) for logits in (student_CV, teacher_CV))
    if distance.mix == 0:
        return _kl(teacher, student)
    if distance.mix == 1:
        return _kl(student, teacher)
    between = torch.logsumexp(
        torch.stack([student + math.log1p(-distance.mix), teacher + math.log(distance.mix)]), dim=0
    )
    return distance.mix * _kl(teacher, between) + (1 - distance.mix) * _kl(student, between)


def _kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum(-1)
