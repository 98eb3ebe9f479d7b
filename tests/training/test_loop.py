"""The one loop: deterministic, exact in its counts, interruptible between updates, open to objectives and hooks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from etude.batch import Batch, Loss, Sample, Scores, TokenRow
from etude.data.batches import OfflineBatches
from etude.errors import ConfigError, DataError, EtudeError, Interrupted
from etude.models.scoring import score
from etude.objectives.base import Usual
from etude.objectives.sft import SFT
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import Policy
from etude.training.checkpoint import find, restore
from etude.training.progress import Progress
from etude.training.saving import CHECKPOINTS, Place
from tests.toy import toy_loaded
from tests.training.small_run import Seen, equal, samples, small_policy, small_run, weights_of

DROPPING = LoRA(rank=2, dropout=0.3)


def last_checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    found = find(folder / CHECKPOINTS, run_id="r", identity={})
    assert found is not None
    return dict(restore(found.path).tensors)


@pytest.mark.parametrize("technique", [DROPPING, Full()], ids=["lora", "full"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(technique: Any) -> None:
    (_, one), (_, other) = (small_run(technique=technique, seed=3) for _ in range(2))
    assert one.losses == other.losses
    assert all(equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


def test_the_state_of_torchs_generator_changes_nothing() -> None:
    torch.manual_seed(1)
    _, one = small_run(technique=DROPPING)
    torch.manual_seed(2)
    torch.rand(100)
    _, other = small_run(technique=DROPPING)
    assert one.losses == other.losses


@pytest.mark.parametrize("technique", [LoRA(rank=2), DROPPING], ids=["order", "dropout"])
def test_another_seed_gives_another_run(technique: Any) -> None:
    (_, one), (_, other) = (small_run(technique=technique, seed=seed) for seed in (3, 4))
    assert one.losses != other.losses


def test_training_lowers_the_loss() -> None:
    _, seen = small_run(rows=4, steps=30, technique=Full())
    assert seen.losses[-1] < 0.5 * seen.losses[0]


def test_a_hook_sees_each_update_with_its_figures() -> None:
    trained, seen = small_run(rows=10, steps=None, epochs=2.5)
    assert [update.step for update in seen.updates] == [1, 2, 3, 4, 5, 6, 7]
    assert {update.num_steps for update in seen.updates} == {7}
    assert [update.rows for update in seen.updates] == [4] * 6 + [1]
    assert [update.epoch for update in seen.updates] == [0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.5]
    assert all(update.tokens >= update.tokens_computed > 0 and update.seconds > 0 for update in seen.updates)
    assert all(not equal(a, b) for a, b in zip(seen.weights, seen.weights[1:], strict=False))
    assert trained.loss == pytest.approx(sum(seen.losses) / 7)
    assert trained.steps == 7


@pytest.mark.parametrize(
    ("settings", "updates", "rows"),
    [
        ({"epochs": 1.0}, 3, 10),
        ({"epochs": 0.5}, 2, 5),
        ({"epochs": 0.001}, 1, 1),
        ({"epochs": None}, 3, 10),
        ({"steps": 5}, 5, 20),
    ],
)
def test_how_long_a_run_is(settings: dict[str, Any], updates: int, rows: int) -> None:
    trained, seen = small_run(rows=10, **{"steps": None, **settings})
    assert trained.steps == len(seen.updates) == updates
    assert sum(update.rows for update in seen.updates) == rows


def test_options_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"training\.steps: give either epochs or steps"):
        small_run(steps=3, epochs=1.0)


def test_a_step_without_anything_to_learn_is_a_clear_error() -> None:
    source = OfflineBatches(samples=(Sample("f.jsonl:7", (TokenRow((3, 4, 5), (0.0, 0.0, 0.0)),)),))
    with pytest.raises(DataError, match=r"update 1: f\.jsonl:7.*0 trainable tokens"):
        small_run(source=source)


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e6])
def test_gradients_are_scaled_to_the_clip_norm_and_never_up(tmp_path: Path, clip: float) -> None:
    """AdamW's first moment after one update is (1 - beta1) times the gradient that it was given."""
    _, seen = small_run(steps=1, clip_norm=clip, save_every=1, place=Place(folder=tmp_path, run_id="r"))
    norm = seen.updates[0].grad_norm
    assert norm > 0.01
    moments = [value for name, value in last_checkpoint(tmp_path).items() if "/exp_avg/" in name]
    given = float(torch.cat([one.flatten() for one in moments]).norm()) / (1 - 0.9)
    assert given == pytest.approx(clip if 0 < clip < norm else norm, rel=1e-4)


@dataclass(frozen=True)
class ReferenceKept(Usual):
    """SFT that asks for the reference's scores and keeps what it was given."""

    given: list[tuple[Batch, Scores]] = field(default_factory=list)
    learns_from: ClassVar[tuple[type, ...]] = ()
    needs_reference: ClassVar[bool] = True

    def count(self, batch: Batch) -> float:
        return SFT().count(batch)

    def loss(self, batch: Batch, scores: Scores) -> Loss:
        self.given.append((batch, Scores(scores.policy_S.detach(), scores.need("reference"))))
        return Loss(SFT().loss(batch, scores).total, sums={"reference": scores.need("reference").sum()})


def full_with_folder(folder: Path) -> Policy:
    from etude.models.load import load
    from etude.models.options import ModelOptions
    from etude.techniques.policy import attach
    from tests.toy import toy_module, toy_tokenizer

    toy_module(layers=1, hidden=32).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return attach(Full(), load(ModelOptions(name=str(folder), precision="float32")))


@pytest.mark.parametrize("technique", ["lora", "full"])
def test_reference_scores_are_the_base_models_all_along(technique: str, tmp_path: Path) -> None:
    policy = small_policy(DROPPING) if technique == "lora" else full_with_folder(tmp_path)
    objective = ReferenceKept()
    _, seen = small_run(policy=policy, objective=objective, steps=5)
    base = toy_loaded(layers=1, hidden=32).module
    assert len(objective.given) == 5
    for (batch, scores), update in zip(objective.given, seen.updates, strict=True):
        assert scores.reference_S is not None
        assert not scores.reference_S.requires_grad
        with torch.no_grad():
            assert (score(base, batch) - scores.reference_S).abs().max() < 1e-6
        expected = float(scores.reference_S.sum()) / objective.count(batch)
        assert update.figures["reference"] == pytest.approx(expected, rel=1e-5)
    last = objective.given[-1][1]
    assert (last.policy_S - last.reference_S).abs().max() > 1e-3, "the policy has moved"  # type: ignore[operator]


def test_an_objective_that_did_not_declare_its_need_is_told() -> None:
    @dataclass(frozen=True)
    class Undeclared(ReferenceKept):
        needs_reference: ClassVar[bool] = False

    with pytest.raises(EtudeError, match="needs_reference = True"):
        small_run(objective=Undeclared())


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def stop_signal(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """In a background job SIGINT is ignored, and stays so: heed it here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield request.param
    signal.signal(signal.SIGINT, before)


def stop_at(step: int, number: signal.Signals) -> Any:
    def hook(progress: Progress, policy: Policy) -> None:
        if progress.step == step:
            os.kill(os.getpid(), number)

    return hook


def test_a_signal_stops_after_the_update_and_the_run_goes_on_bit_for_bit(
    tmp_path: Path, stop_signal: signal.Signals
) -> None:
    _, whole = small_run(technique=DROPPING)
    place = Place(folder=tmp_path, run_id="r", resume_with="etude train --resume")
    first = Seen()
    with pytest.raises(
        Interrupted, match=rf"stopped by {stop_signal.name} after update 2 of 6; .*etude train --resume"
    ):
        small_run(technique=DROPPING, save_every=0, place=place, hooks=[first, stop_at(2, stop_signal)])
    assert [update.step for update in first.updates] == [1, 2]
    again = Place(folder=tmp_path, run_id="r", resume=True)
    trained, rest = small_run(technique=DROPPING, save_every=0, place=again)
    assert [update.step for update in rest.updates] == [3, 4, 5, 6]
    assert first.losses + rest.losses == whole.losses
    assert equal(weights_of(trained.policy), whole.weights[-1])


def test_a_signal_without_a_folder_says_that_nothing_was_saved(stop_signal: signal.Signals) -> None:
    before = signal.getsignal(stop_signal)
    with pytest.raises(Interrupted, match="nothing was saved") as caught:
        small_run(hooks=[stop_at(1, stop_signal)])
    assert caught.value.exit_code == 75
    assert signal.getsignal(stop_signal) == before


def test_a_signal_in_the_last_update_stops_nothing(stop_signal: signal.Signals) -> None:
    trained, _ = small_run(steps=3, hooks=[stop_at(3, stop_signal)])
    assert trained.steps == 3


def test_the_trained_policy_can_be_asked_before_and_after() -> None:
    trained, _ = small_run(technique=Full(embeddings=False), rows=3)
    lora, _ = small_run(rows=3)
    assert (trained.name, lora.name, lora.base.name) == ("toy + Full", "toy + LoRA", "toy")
    batch = next(iter(OfflineBatches(samples=samples(3)).sweep(lambda items: items)))
    with torch.no_grad():
        with lora.use() as model:
            after = score(model.module, batch)
        with lora.base.use() as model:
            before = score(model.module, batch)
        assert torch.equal(before, score(toy_loaded(layers=1, hidden=32).module, batch))
    assert after.sum() > before.sum()
