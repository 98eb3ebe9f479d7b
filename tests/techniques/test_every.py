"""What is promised of every technique: the base stays as it was, training moves it, files bring it back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from etude.batch import Sample, TokenRow
from etude.cycle.outlines import fresh, trainable_of
from etude.errors import ModelError
from etude.models.options import ModelOptions, Precision
from etude.models.scoring import score
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample
from etude.techniques.policy import attach_adapter
from etude.training.loop import train
from etude.training.options import TrainOptions
from tests.techniques.every import (
    EVERY,
    NOT_LINEAR,
    STARTS_ELSEWHERE,
    attached,
    kind,
    loaded,
    moved,
    rows,
    scores,
    source,
)

every = pytest.mark.parametrize("name", EVERY)


@every
def test_it_starts_as_the_base_and_the_base_comes_back(name: str, toy_base: Path) -> None:
    way = "tree" if kind(name) == "peft" else None  # the library's layers stay in the way
    base = scores(loaded(toy_base, EVERY[name]), way)
    policy = attached(toy_base, EVERY[name])
    if kind(name) not in STARTS_ELSEWHERE:
        assert (scores(policy.model) - base).abs().max() < 2e-5
    tuned = scores(moved(policy).model)
    assert (tuned - base).abs().max() > 1e-3, "it does something"
    with policy.base.use() as before:
        assert torch.equal(scores(before, way), base)
    assert torch.equal(scores(policy.model), tuned)


@every
def test_it_learns_and_is_the_same_whatever_else_is_random(name: str, toy_base: Path) -> None:
    def run() -> tuple[float, float, torch.Tensor]:
        losses: list[float] = []
        policy = attached(toy_base, EVERY[name])
        options = TrainOptions(steps=12, batch_rows=8, learning_rate=5e-2, warmup_share=0.0)
        train(policy, source(), SFT(), options=options, hooks=[lambda progress, _: losses.append(progress.loss)])
        return losses[0], losses[-1], scores(policy.model)

    torch.manual_seed(1)
    first, last, one = run()
    torch.manual_seed(2)
    _, _, other = run()
    assert last < first - 0.02
    assert torch.equal(one, other)


@every
def test_what_is_saved_comes_back(name: str, toy_base: Path, tmp_path: Path) -> None:
    policy = moved(attached(toy_base, EVERY[name]))
    policy.save(tmp_path / "saved")
    tuned = scores(policy.model)
    policy.load(tmp_path / "saved")
    assert (scores(policy.model) - tuned).abs().max() < 1e-6
    if policy.technique.saved_as == "model":
        return
    again = attach_adapter(tmp_path / "saved", loaded(toy_base, EVERY[name]))
    assert (scores(again.model) - tuned).abs().max() < 1e-6
    assert (scores(moved(again).model) - tuned).abs().max() > 1e-4, "it can be trained on"


@every
def test_a_changed_policy_takes_saved_weights(name: str, toy_base: Path, tmp_path: Path) -> None:
    policy = moved(attached(toy_base, EVERY[name]))
    policy.save(tmp_path / "saved")
    tuned = scores(policy.model)
    moved(policy, by=0.2)
    policy.load(tmp_path / "saved")
    assert (scores(policy.model) - tuned).abs().max() < 1e-6


@every
def test_merged_it_answers_the_same(name: str, toy_base: Path) -> None:
    policy = moved(attached(toy_base, EVERY[name]))
    tuned = scores(policy.model)
    if kind(name) in NOT_LINEAR:
        with pytest.raises(ModelError, match="cannot be merged"):
            policy.merge()
        return
    merged = policy.merge()
    tolerance = 2e-4 if kind(name) == "peft" else 2e-5
    assert (scores(merged) - tuned).abs().max() < tolerance
    names = [part for part, _ in merged.module.named_parameters()]
    assert names == [part for part, _ in loaded(toy_base, EVERY["full"]).module.named_parameters()]


@every
def test_the_fast_way_is_the_plain_one(name: str, toy_base: Path) -> None:
    policy = moved(attached(toy_base, EVERY[name]))
    found = {}
    for way in ("fused", "tree", "rows"):
        for parameter in policy.trainable.values():
            parameter.grad = None
        scored = score(policy.model.module, pack(rows(1)), way=way)  # type: ignore[arg-type]
        (scored * torch.linspace(0.5, 1.5, len(scored))).sum().backward()
        found[way] = scored.detach(), {key: one.grad for key, one in policy.trainable.items()}
    for way in ("fused", "rows"):
        assert (found[way][0] - found["tree"][0]).abs().max() < 5e-5
        for key, expected in found["tree"][1].items():
            gradient = found[way][1][key]
            if expected is None:
                assert gradient is None or not gradient.any(), key
                continue
            assert gradient is not None, key
            assert (gradient - expected).abs().max() <= 1e-3 * expected.abs().max() + 1e-6, key


@pytest.mark.parametrize(("precision", "distance"), [("float32", 2e-4), ("bfloat16", 0.25)])
@every
def test_it_is_sampled_as_it_is_scored(name: str, precision: Precision, distance: float, toy_base: Path) -> None:
    model = moved(attached(toy_base, EVERY[name], precision=precision), by=0.2).model
    prompts = [tuple(row.rows[0].tokens[:length]) for row, length in zip(rows(2), (3, 6, 7, 4), strict=False)]
    answers = sample(model, prompts, SampleOptions(max_new_tokens=6), end_ids=frozenset())
    for prompt, answer in zip(prompts, answers, strict=True):
        whole = (*prompt, *answer.tokens)
        weights = (0.0,) * len(prompt) + (1.0,) * len(answer.tokens)
        with torch.no_grad():
            scored = score(model.module, pack([Sample("0", (TokenRow(whole, weights),))]), way="tree")
        assert (scored - torch.tensor(answer.logprobs)).abs().max() < distance


@every
def test_as_many_weights_are_foreseen_as_learn(name: str, toy_base: Path) -> None:
    foreseen, _ = trainable_of(EVERY[name], fresh(ModelOptions(name=str(toy_base))))
    assert foreseen == pytest.approx(attached(toy_base, EVERY[name]).num_trainable, rel=0.01)
