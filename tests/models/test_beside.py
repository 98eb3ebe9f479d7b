"""Two models on the same weights see nothing of what is attached to the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from etude.batch import TokenRow
from etude.models.beside import beside
from etude.models.loaded import LoadedModel
from etude.models.rewarding import likelihoods_of
from etude.techniques.base import Technique
from etude.techniques.ia3 import IA3
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.techniques.prompt import PromptTuning
from tests.toy import toy_loaded

ROW = TokenRow((5, 9, 12, 7, 30, 31), (0, 0, 1, 1, 1, 1))
TECHNIQUES: list[Callable[[], Technique]] = [LoRA, IA3, PromptTuning]


def likelihood(model: LoadedModel) -> float:
    return likelihoods_of(model, [ROW])[0]


def learned(model: LoadedModel, technique: Technique, *, seed: int) -> LoadedModel:
    """With an adapter that does something."""
    policy = attach(technique, model, seed=seed)
    for parameter in policy.trainable.values():
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        parameter.data.add_(0.3 * noise)
    policy.settle()
    return policy.model


@pytest.mark.parametrize("make", TECHNIQUES)
@pytest.mark.parametrize("tied", [True, False])
def test_each_has_its_own_adapter(make: Callable[[], Technique], tied: bool) -> None:
    base = toy_loaded(tied=tied)
    plain, alone = likelihood(base), likelihood(learned(toy_loaded(tied=tied), make(), seed=2))
    first = learned(base, make(), seed=1)
    before = likelihood(first)
    other = beside(first)
    assert likelihood(other) == plain
    second = learned(other, make(), seed=2)
    assert likelihood(second) == alone
    assert likelihood(first) == before
    assert len({plain, before, alone}) == 3


def test_no_weight_is_held_twice() -> None:
    base = learned(toy_loaded(), LoRA(), seed=1)
    mine = {parameter.data_ptr() for parameter in base.module.parameters()}
    other = beside(base)
    assert {parameter.data_ptr() for parameter in other.module.parameters()} < mine
    head = other.module.get_output_embeddings()
    assert head.weight is other.module.get_input_embeddings().weight
