"""The guides' objective and technique do what the guides say, in the real loop on a toy model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from etude.batch import Sample, Scores, TokenRow
from etude.data.batches import OfflineBatches
from etude.models.loaded import LoadedModel
from etude.models.scoring import score
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from tests.docs.blocks import blocks
from tests.toy import toy_loaded

OPTIONS = TrainOptions(steps=4, batch_rows=2, learning_rate=1e-2)


def samples(count: int = 6) -> tuple[Sample, ...]:
    """Rows of different lengths with a common start."""
    rows = [
        TokenRow(tokens=(1, 5, 6, *range(10, 14 + i)), weights=(0.0, 0.0, 0.0, *[1.0] * (4 + i))) for i in range(count)
    ]
    return tuple(Sample(id=str(i), rows=(row,)) for i, row in enumerate(rows))


@pytest.fixture
def guides(tmp_path: Path) -> Iterator[ModuleType]:
    """The guides' examples as one module."""
    elsewhere = ("etude.load(", "open_endpoint(")  # test_examples.py runs those
    text = "\n".join(block.text for block in blocks("python") if not any(name in block.text for name in elsewhere))
    ordered = "from __future__ import annotations\n" + text.replace("from __future__ import annotations\n", "")
    (tmp_path / "guides.py").write_text(ordered, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("guides", tmp_path / "guides.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guides"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["guides"]


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    """The toy model with its weights on disk, as a loaded model has them."""
    loaded = toy_loaded()
    loaded.module.save_pretrained(tmp_path / "base")
    return replace(loaded, folder=tmp_path / "base")


def test_the_objective_is_sft_at_gamma_0_and_milder_above(guides: ModuleType, model: LoadedModel) -> None:
    batch = pack(samples(), share=True)
    scores = Scores(policy_S=score(model.module, batch))
    plain = SFT().loss(batch, scores).total
    assert torch.allclose(guides.Focal(gamma=0.0).loss(batch, scores).total, plain)
    assert 0 < guides.Focal(gamma=2.0).loss(batch, scores).total < plain
    assert guides.Focal(gamma=-1.0).problems() == [("gamma", "must be at least 0, got -1")]


def test_the_objective_sums(guides: ModuleType, model: LoadedModel) -> None:
    parts = [pack([sample], share=True) for sample in samples()]
    whole = pack(samples(), share=True)
    objective = guides.Focal()
    total = sum(objective.loss(part, Scores(policy_S=score(model.module, part))).total for part in parts)
    assert torch.allclose(objective.loss(whole, Scores(policy_S=score(model.module, whole))).total, total, rtol=1e-5)
    assert objective.count(whole) == sum(objective.count(part) for part in parts)


def test_both_train_in_the_one_loop(guides: ModuleType, model: LoadedModel, tmp_path: Path) -> None:
    batch = pack(samples(), share=True)
    before = score(model.module, batch).detach()
    policy = attach(guides.Norms(), model)
    untrained = {name: p.detach().clone() for name, p in model.module.named_parameters() if "norm" not in name}
    trained = train(policy, OfflineBatches(samples=samples()), guides.Focal(), options=OPTIONS)
    after = score(model.module, batch).detach()
    assert after.sum() > before.sum(), "it learned"
    assert all(torch.equal(p, untrained[name]) for name, p in model.module.named_parameters() if name in untrained)
    with trained.base.use() as base:
        assert torch.equal(score(base.module, batch), before)
    assert torch.equal(score(model.module, batch), after), "and the learned norms are back"

    policy.save(tmp_path / "learned")
    fresh = attach(guides.Norms(), replace(toy_loaded(), folder=model.folder))
    fresh.load(tmp_path / "learned")
    with fresh.use() as reloaded:
        assert torch.equal(score(reloaded.module, batch), after)
