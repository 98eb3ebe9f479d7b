"""A task asked during training: the best weights are those that did best in it, of equal ones those with less loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from etude.data.batches import OfflineBatches
from etude.errors import ConfigError
from etude.objectives.sft import SFT
from etude.techniques.policy import Policy
from etude.training.heldout import Best
from etude.training.live import Live
from etude.training.loop import train
from etude.training.options import TrainOptions
from tests.training.small_run import equal, samples, small_policy, weights_of

if TYPE_CHECKING:
    import torch


@dataclass
class Scripted:
    """Scores in a fixed order, and the weights that were there."""

    scores: list[float]
    looks: int = 0

    def score(self, policy: Policy) -> Live:
        found = self.scores[self.looks]
        self.looks += 1
        return Live(found, {"score": found}, f"score {found}")


def trained_by(scores: list[float], **settings: object) -> tuple[object, list[dict[str, torch.Tensor]]]:
    policy, seen = small_policy(), []
    options = TrainOptions(
        **{"batch_rows": 4, "learning_rate": 1e-2, "steps": 4, "heldout_every": 1, "keep_best_by": "score", **settings}  # type: ignore[arg-type]
    )
    source = OfflineBatches(samples=samples(8))
    trained = train(
        policy, source, SFT(), options=options, heldout=OfflineBatches(samples=samples(3)), scorer=Scripted(scores),
        hooks=[lambda progress, policy: seen.append(weights_of(policy))],
    )  # fmt: skip
    return trained, seen


def test_the_weights_of_the_highest_score_are_handed_back_and_never_the_untrained_ones() -> None:
    trained, seen = trained_by([0.9, 0.1, 0.6, 0.2, 0.3])
    assert (trained.best_step, trained.heldout_score) == (2, 0.6)
    assert equal(weights_of(trained.policy), seen[1])


def test_patience_counts_looks_without_a_better_score() -> None:
    trained, _seen = trained_by([0.0, 0.6, 0.5, 0.4, 0.7], patience=2)
    assert (trained.best_step, trained.steps) == (1, 3)
    assert trained.stopped_early == "no better held-out score in 2 looks since update 1"


def test_of_equal_scores_the_lower_loss_is_better_and_a_loss_that_is_no_number_never_is() -> None:
    best = Best(keep=False, by="score")
    for step, (loss, score) in enumerate([(2.0, 0.5), (1.0, 0.5), (0.5, 0.4), (float("nan"), 1.0), (1.5, 0.5)], 1):
        best.look(loss, step, {}, score=score)
    assert (best.step, best.loss, best.score, best.looks_since) == (2, 1.0, 0.5, 3)


def test_without_a_task_there_is_no_score_to_keep_by() -> None:
    with pytest.raises(ConfigError, match=r"training\.keep_best_by: no task is asked"):
        train(
            small_policy(), OfflineBatches(samples=samples(4)), SFT(),
            options=TrainOptions(steps=1, keep_best_by="score"), heldout=OfflineBatches(samples=samples(3)),
        )  # fmt: skip
