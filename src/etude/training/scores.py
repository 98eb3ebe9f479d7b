"""The scores that an objective declares to need, computed for one batch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from etude.batch import Batch, Scores
from etude.errors import ModelError
from etude.models.distilling import Distance, divergences
from etude.models.scoring import log_probabilities, log_squares, score, site_states
from etude.objectives.base import Objective
from etude.techniques.policy import Policy


def scores_of(policy: Policy, batch: Batch, objective: Objective) -> Scores:
    """Policy scores and values, differentiable; reference scores, by the model before training, where needed."""
    reference_S = values_S = teacher_S = squares_S = None
    if objective.needs_reference:
        with torch.no_grad(), policy.base.use() as before:
            reference_S = score(before.module, batch, way=before.way)
    model = policy.model
    hidden_SE = site_states(model.module, batch, way=model.way, checkpointing=model.checkpointing)
    if objective.needs_values:
        if policy.value_head is None:
            raise ModelError("has no value head", where=policy.name, remedy="attach the technique with value_head=True")
        values_S = policy.value_head(hidden_SE)
    if objective.needs_teacher:
        teacher_S = _taught(policy, batch, hidden_SE, objective)
    if objective.needs_squares:
        squares_S = log_squares(model.module, hidden_SE)
    if objective.needs_policy:
        policy_S = log_probabilities(model.module, hidden_SE, batch.target_S)
    else:
        policy_S = hidden_SE.new_zeros(len(batch.target_S), dtype=torch.float32)
    return Scores(policy_S, reference_S, values_S, teacher_S, squares_S)


def _taught(policy: Policy, batch: Batch, hidden_SE: Tensor, objective: Objective) -> Tensor:
    if policy.teacher is None:
        raise ModelError("has no teacher", where=policy.name, remedy="attach the technique with a teacher")
    with torch.no_grad(), policy.teacher.use() as teacher:
        read = batch if policy.shared is None else policy.shared.read(batch)
        taught_SE = site_states(teacher.module, read, way=teacher.way)
    distance = cast("Distance", objective)
    return divergences(policy.model.module, hidden_SE, teacher.module, taught_SE, distance, policy.shared)
