"""Held-out loss: measured like training's, without dropout; the best weights kept, stopping when it gets no better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.errors import DataError
from etude.models.scoring import score_rows
from etude.objectives.sft import SFT
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.training.heldout import Best, heldout_loss
from etude.training.ranks import Ranks
from etude.training.saving import Place
from tests.training.small_run import Seen, equal, samples, small_policy, small_run, weights_of


def heldout(count: int = 5) -> OfflineBatches:
    return OfflineBatches(samples=samples(count, seed=9))


def test_it_is_the_mean_over_all_learned_tokens() -> None:
    policy = small_policy()
    rows = [sample.rows[0] for sample in heldout().samples]
    scored = score_rows(policy.model, rows)
    learned = torch.cat([one[torch.tensor(row.weights[1:]) > 0] for one, row in zip(scored, rows, strict=True)])
    for tokens in (10_000, 1):
        source = OfflineBatches(samples=heldout().samples, tokens=tokens)
        assert heldout_loss(policy, source, SFT(), Ranks())[0] == pytest.approx(-float(learned.mean()), abs=1e-5)


def test_dropout_is_off_and_no_gradient_is_left() -> None:
    plain, dropping = small_policy(LoRA(rank=2)), small_policy(LoRA(rank=2, dropout=0.9))
    for policy in (plain, dropping):
        for parameter in policy.trainable.values():
            parameter.data.fill_(0.1)
    assert heldout_loss(plain, heldout(), SFT(), Ranks())[0] == heldout_loss(dropping, heldout(), SFT(), Ranks())[0]
    assert all(parameter.grad is None for parameter in dropping.trainable.values())


def test_held_out_samples_that_learn_nothing_are_a_clear_error() -> None:
    source = OfflineBatches(samples=(Sample("a", (TokenRow((3, 4), (0.0, 0.0)),)),))
    with pytest.raises(DataError, match="held-out samples: 0 learned tokens"):
        heldout_loss(small_policy(), source, SFT(), Ranks())[0]


@given(losses=st.lists(st.floats(0, 10) | st.sampled_from([math.nan, math.inf]), min_size=1, max_size=12))
def test_best_is_the_first_lowest_number(losses: list[float]) -> None:
    best = Best(keep=True)
    for step, loss in enumerate(losses, start=1):
        best.look(loss, step, {"w": torch.tensor(float(step))})
    numbers = [loss for loss in losses if math.isfinite(loss)]
    if not numbers:
        assert (best.loss, best.looks_since, best.weights) == (None, len(losses), {})
        return
    assert best.loss == min(numbers)
    assert best.step == losses.index(min(numbers)) + 1
    assert best.looks_since == len(losses) - best.step
    given_back = {"w": torch.tensor(-1.0)}
    best.hand_back(given_back)
    assert given_back["w"] == best.step


def test_the_best_weights_are_a_copy_and_only_kept_on_request() -> None:
    weights = {"w": torch.zeros(3)}
    keeping, forgetful = Best(keep=True), Best(keep=False)
    for best in (keeping, forgetful):
        best.look(1.0, 1, weights)
    weights["w"].add_(1)
    assert torch.equal(keeping.weights["w"], torch.zeros(3))
    assert forgetful.weights == {}


def overfitting(**settings: Any) -> tuple[Any, Seen]:
    """Two rows learned by heart, fast: the others get worse soon."""
    return small_run(
        **{"rows": 2, "batch_rows": 2, "steps": 16, "learning_rate": 5e-2, "technique": Full(), "heldout": heldout(),
           "heldout_every": 1, "schedule": "constant", **settings}
    )  # fmt: skip


def looks(seen: Seen) -> list[float]:
    return [update.heldout_loss for update in seen.updates if update.heldout_loss is not None]


def test_keep_best_hands_back_the_weights_with_the_lowest_loss() -> None:
    trained, seen = overfitting()
    best = min(looks(seen))
    assert looks(seen)[-1] > best, "the last weights are not the best"
    assert trained.heldout_loss == best
    assert trained.best_step == looks(seen).index(best) + 1
    assert equal(weights_of(trained.policy), seen.weights[trained.best_step - 1])
    assert heldout_loss(trained.policy, heldout(), SFT(), Ranks())[0] == best


def test_without_keep_best_the_last_weights_and_their_loss_are_handed_back() -> None:
    trained, seen = overfitting(keep_best=False)
    assert equal(weights_of(trained.policy), seen.weights[-1])
    assert trained.heldout_loss == looks(seen)[-1]
    assert heldout_loss(trained.policy, heldout(), SFT(), Ranks())[0] == trained.heldout_loss


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_after_that_many_looks_without_a_new_best(patience: int) -> None:
    trained, seen = overfitting(patience=patience)
    found = looks(seen)
    assert trained.stopped_early == f"no better held-out loss in {patience} looks since update {trained.best_step}"
    assert trained.best_step is not None
    assert trained.steps == len(found) == trained.best_step + patience < 16
    assert equal(weights_of(trained.policy), seen.weights[trained.best_step - 1])


def test_a_run_that_stopped_early_stays_stopped_when_it_is_resumed(tmp_path: Path) -> None:
    """Killed between the last checkpoint and its end, it must not go on training."""
    place = Place(folder=tmp_path, run_id="r")
    first, _ = overfitting(patience=1, save_every=1, place=place)
    again, seen = overfitting(patience=1, save_every=1, place=Place(folder=tmp_path, run_id="r", resume=True))
    assert seen.updates == []
    assert (again.steps, again.stopped_early, again.best_step) == (first.steps, first.stopped_early, first.best_step)
    assert again.heldout_loss == first.heldout_loss
    assert equal(weights_of(again.policy), weights_of(first.policy))


@pytest.mark.parametrize(
    ("every", "expected"), [(4, [4, 8, 10]), (5, [5, 10]), (100, [10]), (None, list(range(1, 11)))]
)
def test_looks_come_at_their_interval_and_at_the_end(every: int | None, expected: list[int]) -> None:
    _, seen = small_run(steps=10, heldout=heldout(2), heldout_every=every)
    assert [update.step for update in seen.updates if update.heldout_loss is not None] == expected


def test_without_held_out_samples_there_is_nothing_to_look_at() -> None:
    trained, seen = small_run(steps=3, patience=1)
    assert looks(seen) == []
    assert (trained.heldout_loss, trained.best_step, trained.stopped_early) == (None, None, None)
