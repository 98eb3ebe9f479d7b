"""What is asked of a model right after training: did it learn anything, and does it overfit?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from etude.batch import Sample, TokenRow
from etude.comparison.gap import Gap, measure_gap
from etude.cycle.show import Show
from etude.data.prepare import Prepared
from etude.errors import DataError
from etude.models.loaded import Subject
from etude.models.scoring import score_rows
from etude.objectives.base import Objective
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.techniques.policy import Policy
from etude.training.scores import scores_of

GAP_ROWS = 64
"""Most rows on each side of the overfitting figure."""
GAP_SAMPLES = 24
"""Likewise, where each takes passes of its own."""
FEW_ROWS = 4
NO_EFFECT_NATS = 1e-6

Rows = list[tuple[float, float]]


def gap_of(policy: Policy, prepared: Prepared, objective: Objective, show: Show) -> Gap | None:
    """The overfitting figure of a trained policy; None with fewer than two held-out rows.

    Raises:
        DataError: the policy answers exactly like its base, so nothing was learned.
    """
    few = prepared.samples[:FEW_ROWS]
    if _furthest(losses(policy, few), losses(policy.base, few)) < NO_EFFECT_NATS:
        raise DataError(
            "the tuned model answers exactly like its base: nothing was learned",
            where="after training",
            remedy="look at the losses in metrics.jsonl, then raise the learning rate or the number of updates",
        )
    if len(prepared.heldout) < 2:
        return None
    imitates = isinstance(objective, SFT)
    most = GAP_ROWS if imitates else GAP_SAMPLES
    train, heldout = prepared.samples[:most], prepared.heldout[:most]
    total = len(train) + len(heldout)
    with show.progress("comparing training rows with held-out rows") as on_progress:
        if imitates:
            learned = losses(policy, train, lambda done, _: on_progress(done, total))
            unseen = losses(policy, heldout, lambda done, _: on_progress(len(train) + done, total))
            return measure_gap(learned, unseen)
        learned = own_losses(policy, train, objective, lambda done: on_progress(done, total))
        unseen = own_losses(policy, heldout, objective, lambda done: on_progress(len(train) + done, total))
    return replace(measure_gap(learned, unseen), unit="loss per sample")


def own_losses(
    policy: Policy, samples: Sequence[Sample], objective: Objective, on_progress: Callable[[int], None]
) -> Rows:
    """For each sample, (the objective's loss, its count)."""
    found: Rows = []
    device = policy.model.module.device
    with torch.no_grad():
        for sample in samples:
            batch = pack([objective.shown(sample)]).to(device)
            loss = objective.loss(batch, scores_of(policy, batch, objective))
            found.append((float(loss.total), objective.count(batch)))
            on_progress(len(found))
    return found


def losses(subject: Subject, samples: Sequence[Sample], on_progress: Callable[[int, int], None] | None = None) -> Rows:
    """For each sample, (summed nats, weight) over its learned tokens."""
    rows: list[TokenRow] = [sample.rows[0] for sample in samples]
    with subject.use() as model:
        scored = score_rows(model, rows, on_progress=on_progress)
    found: Rows = []
    for row, log_probabilities in zip(rows, scored, strict=True):
        weights = torch.tensor(row.weights[1:])
        found.append((-float((weights * log_probabilities).sum()), float(weights.sum())))
    return found


def _furthest(tuned: Rows, base: Rows) -> float:
    return max(abs(a - b) for (a, _), (b, _) in zip(tuned, base, strict=True))
