"""Adapters as one: sums are exact, TIES and DARE do what their papers say, odd inputs are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from etude.errors import ConfigError, ModelError
from etude.exporting.arithmetic import Merging, _combined, merge_adapters
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach, attach_adapter
from tests.techniques.every import moved
from tests.toy import toy_loaded


def deltas(folder: Path) -> dict[str, Tensor]:
    from etude.techniques.layerwise import attached_layers

    policy = attach_adapter(folder, toy_loaded())
    return {name: layer.delta_OI() for name, layer in attached_layers(policy.model)}  # type: ignore[attr-defined]


def saved(folder: Path, technique: LoRA, seed: int) -> Path:
    policy = moved(attach(technique, toy_loaded(), seed=seed), by=0.1 * (seed + 1))
    policy.save(folder)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [
        saved(tmp_path / "one", LoRA(rank=4, alpha=8), 0),
        saved(tmp_path / "other", LoRA(rank=2, rslora=True, targets=("q_proj", "down_proj")), 1),
    ]


def test_a_weighted_sum_adds_what_its_parts_add(two: list[Path], tmp_path: Path) -> None:
    merged = merge_adapters(two, tmp_path / "sum", Merging(weights=(0.5, -2.0)))
    assert (merged.rank, merged.kept) == (6, 1.0)
    one, other = map(deltas, two)
    for name, found in deltas(tmp_path / "sum").items():
        expected = 0.5 * one[name] - 2.0 * other.get(name, torch.zeros(()))
        assert (found - expected).abs().max() < 1e-5


def test_peft_reads_it(two: list[Path], tmp_path: Path) -> None:
    from peft import PeftModel

    from tests.techniques.test_peft_formats import logits, ours
    from tests.toy import toy_module

    merge_adapters(two, tmp_path / "sum", Merging())
    theirs = PeftModel.from_pretrained(toy_module(), tmp_path / "sum").eval()
    policy = attach_adapter(tmp_path / "sum", toy_loaded())
    assert (ours(policy.model) - logits(theirs)).abs().max() < 2e-5


def test_a_smaller_rank_keeps_the_most_that_it_can(two: list[Path], tmp_path: Path) -> None:
    merged = merge_adapters(two, tmp_path / "cut", Merging(rank=3))
    assert 0.3 < merged.kept < 1.0
    one, other = map(deltas, two)
    for name, found in deltas(tmp_path / "cut").items():
        whole = one[name] + other.get(name, torch.zeros(()))
        left, values, right = torch.linalg.svd(whole)
        best = left[:, :3] * values[:3] @ right[:3]
        assert (found - best).abs().max() < 1e-4


def test_ties_keeps_the_largest_elects_a_sign_and_averages_those_that_agree() -> None:
    one = torch.tensor([[4.0, -3.0, 0.1, 2.0]])
    other = torch.tensor([[2.0, 5.0, 3.0, 0.2]])
    merging = Merging(method="ties", density=0.5)
    # kept: [4, -3, 0, 0] and [0, 5, 3, 0]; signs: +, +, +, none
    assert torch.equal(_combined([one, other], merging, "layer"), torch.tensor([[4.0, 5.0, 3.0, 0.0]]))


def test_dare_drops_by_lot_and_keeps_the_mean() -> None:
    ones = torch.ones(200, 200)
    found = _combined([ones], Merging(method="dare", density=0.25), "layer")
    assert set(found.unique().tolist()) == {0.0, 4.0}
    assert abs(float(found.mean()) - 1) < 0.03
    assert torch.equal(found, _combined([ones], Merging(method="dare", density=0.25), "layer"))
    assert not torch.equal(found, _combined([ones], Merging(method="dare", density=0.25, seed=1), "layer"))


@pytest.mark.parametrize("method", ["ties", "dare", "dare-ties"])
def test_every_method_writes_an_adapter_that_is_read(method: str, two: list[Path], tmp_path: Path) -> None:
    merged = merge_adapters(two, tmp_path / method, Merging(method=method, density=0.8, rank=24))  # type: ignore[arg-type]
    assert merged.kept > 0.5
    assert any(delta.abs().max() > 1e-3 for delta in deltas(tmp_path / method).values())


def test_all_that_is_wrong_is_said_at_once(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights: 1 for 2 adapters; density: must be above 0 .*; rank: must be"):
        merge_adapters(two, tmp_path / "x", Merging(weights=(1.0,), density=0, rank=0))


def test_adapters_of_other_bases_and_kinds_are_refused(two: list[Path], tmp_path: Path) -> None:
    policy = attach(LoRA(rank=2), toy_loaded(seed=3))
    policy.save(tmp_path / "stranger")
    with pytest.raises(ModelError, match="made for another base model"):
        merge_adapters([*two, tmp_path / "stranger"], tmp_path / "x", Merging())
    saved(tmp_path / "dora", LoRA(rank=2, dora=True), 0)
    with pytest.raises(ModelError, match="only plain LoRA"):
        merge_adapters([two[0], tmp_path / "dora"], tmp_path / "x", Merging())
