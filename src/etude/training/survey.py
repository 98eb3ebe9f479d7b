"""Gradients of chosen weights on the first training samples, for techniques that pick weights by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from etude.errors import DataError
from etude.objectives.base import Objective
from etude.techniques.base import Technique, Visit
from etude.techniques.policy import Policy, fresh_value_head
from etude.training.scores import scores_of
from etude.training.source import StepSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from etude.models.loaded import LoadedModel


class TrainingSurvey:
    """Follows `techniques.base.Survey`; every rank sees the same samples and so chooses alike."""

    def __init__(
        self, model: LoadedModel, technique: Technique, source: StepSource, objective: Objective, *, seed: int
    ) -> None:
        self.model, self.technique, self.source, self.objective, self.seed = model, technique, source, objective, seed

    def __call__(self, weights: Mapping[str, nn.Parameter], visit: Visit, *, samples: int) -> None:
        """Shows each weight's gradient of the mean loss of each micro-batch; no gradient outlives its visit."""
        head = fresh_value_head(self.model, seed=self.seed) if self.objective.needs_values else None
        policy = Policy(replace(self.model, value_head=head), self.technique, weights)
        for weight in weights.values():
            weight.requires_grad_(True)
        hooks = [weight.register_post_accumulate_grad_hook(_shown(name, visit)) for name, weight in weights.items()]
        try:
            (step,) = self.source.steps(
                batch_rows=min(samples, self.source.num_samples),
                seed=self.seed,
                first=0,
                total_samples=min(samples, self.source.num_samples),
                share=lambda items: items,
                num_ranks=1,
                most_tokens=None,
            )
            if not any(len(batch.site_S) for batch in step.batches):
                raise DataError(
                    "the first rows have no answers, so weights cannot be chosen by them",
                    where="technique.choose",
                    remedy="choose: random, or give the prompts reference answers",
                )
            for batch in step.batches:
                placed = batch.to(self.model.module.device)
                loss = self.objective.loss(placed, scores_of(policy, placed, self.objective))
                torch.autograd.backward(loss.total / max(self.objective.count(placed), 1.0))
        finally:
            for hook in hooks:
                hook.remove()
            for weight in weights.values():
                weight.requires_grad_(False)


def _shown(name: str, visit: Visit) -> Callable[[Tensor], None]:
    def hook(weight: Tensor) -> None:
        assert weight.grad is not None
        visit(name, weight.grad)
        weight.grad = None

    return hook
