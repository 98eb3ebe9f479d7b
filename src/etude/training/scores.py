"""The scores that an objective declares to need, computed for one batch."""

from __future__ import annotations

import torch

from etude.batch import Batch, Scores
from etude.models.scoring import score
from etude.objectives.base import Objective
from etude.techniques.policy import Policy


def scores_of(policy: Policy, batch: Batch, objective: Objective) -> Scores:
    """Policy scores, differentiable; reference scores, by the model before training, where they are needed."""
    reference = None
    if objective.needs_reference:
        with torch.no_grad(), policy.base.use() as before:
            reference = score(before.module, batch, way=before.way)
    model = policy.model
    policy_S = score(model.module, batch, way=model.way, checkpointing=model.checkpointing)
    return Scores(policy_S=policy_S, reference_S=reference)
