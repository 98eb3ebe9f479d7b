"""The planner's arithmetic: closed forms for known models, monotone in what grows, the usual claims."""

from __future__ import annotations

import dataclasses

import pytest
import transformers as T

from etude.cli.plan import size_of
from etude.errors import ConfigError
from etude.planning.hardware import HARDWARE
from etude.planning.memory import CHUNK_NUMBERS, Survey, Work, Writing, memory_of
from etude.planning.shape import Shape, outline, shape_of
from etude.planning.time import Amount, operations
from tests.toy import toy_module


def llama(
    hidden: int, inner: int, layers: int, heads: int, key_heads: int | None = None, vocabulary: int = 32_000
) -> Shape:
    config = T.LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads or heads,
    )  # fmt: skip
    return shape_of(outline(config), name="llama")


SEVEN = llama(4096, 11008, 32, 32)
SIXTY_FIVE = llama(8192, 22016, 80, 64)


def full(shape: Shape, **changes: object) -> Work:
    settings = {
        "where": "gpu",
        "trainable": shape.weights,
        "in_place": True,
        "tokens": 512,
        "sites": 512,
        "recompute": True,
    }
    return Work(**{**settings, "keeps_best": False, **changes})  # type: ignore[arg-type]


def lora(shape: Shape, rank: int = 16, **changes: object) -> Work:
    trainable = sum(rank * (outputs + inputs) for outputs, inputs in shape.linears.values())
    settings = {
        "where": "gpu",
        "trainable": trainable,
        "tokens": 512,
        "sites": 512,
        "recompute": True,
        "ranks": 7 * rank,
    }
    return Work(**{**settings, "keeps_best": False, **changes})  # type: ignore[arg-type]


def test_sizes_are_those_of_the_papers() -> None:
    assert SEVEN.weights == 6_738_415_616
    assert SIXTY_FIVE.weights == 65_285_660_672
    assert SEVEN.largest == 32_000 * 4096


@pytest.mark.parametrize("tied", [True, False])
def test_an_outline_counts_as_the_model_does(tied: bool) -> None:
    module = toy_module(tied=tied)
    found = shape_of(outline(module.config), name="toy")
    assert found.weights == sum(p.numel() for p in module.parameters())
    assert dataclasses.replace(shape_of(module, name="toy")) == found


def test_the_usual_claims_hold() -> None:
    """7B: full over 80 GB, LoRA about 20, QLoRA about 10; 65B with QLoRA on one 48 GB card."""
    assert memory_of(SEVEN, full(SEVEN)).peak > 80e9
    assert 14e9 < memory_of(SEVEN, lora(SEVEN)).peak < 22e9
    assert 4.5e9 < memory_of(SEVEN, lora(SEVEN, held="nf4-double")).peak < 11e9
    assert memory_of(SIXTY_FIVE, lora(SIXTY_FIVE, held="nf4-double")).peak < HARDWARE["l40s"].memory_gb * 1e9


def test_terms_are_closed_forms() -> None:
    found = memory_of(SEVEN, full(SEVEN)).terms
    assert found["weights"] == 2 * SEVEN.weights
    assert found["optimizer"] == 12 * SEVEN.weights
    assert found["gradients"] == 2 * SEVEN.weights
    assert found["learned"] == 0
    adapted = lora(SEVEN)
    found = memory_of(SEVEN, adapted).terms
    assert (found["learned"], found["optimizer"]) == (4 * adapted.trainable, 8 * adapted.trainable)
    four_bits = memory_of(SEVEN, lora(SEVEN, held="nf4")).terms["weights"]
    assert four_bits == pytest.approx(SEVEN.linear * 4.5 / 8 + 2 * (SEVEN.embedding + SEVEN.rest))


def test_more_work_takes_more() -> None:
    base = lora(SEVEN, recompute=False)
    peak = memory_of(SEVEN, base).peak
    for changes in (
        {"tokens": 1024},
        {"held": None, "trainable": base.trainable * 2},
        {"fused": False},
        {"ranks": 500},
    ):
        assert memory_of(SEVEN, dataclasses.replace(base, **changes)).peak > peak  # type: ignore[arg-type]
    assert memory_of(SEVEN, dataclasses.replace(base, recompute=True)).peak < peak
    assert memory_of(SEVEN, dataclasses.replace(base, second_models={"reward model": 2e9})).peak == peak + 2e9


def test_the_peak_is_that_of_the_largest_phase() -> None:
    """Phases follow each other: what one of them takes is free again in the next."""
    base = lora(SEVEN, where="cpu", held="nf4")
    alone = memory_of(SEVEN, base)
    assert set(alone.phases) == {"loading", "updating"}
    writing = Writing(rows=64, cached=64 * 1024, read=256)
    found = memory_of(SEVEN, dataclasses.replace(base, writing=writing, quiet_tokens=4096))
    assert set(found.phases) == {"loading", "answering", "scoring", "updating"}
    assert found.of("updating") == alone.of("updating")
    answering = found.phases["answering"]
    assert answering["key-value cache"] == 64 * 1024 * 32 * 2 * 4096 * 2, "keys and values of 32 layers, 2 bytes each"
    assert answering["spelled-out weights"] == 2 * SEVEN.linear
    assert (found.peak_phase, found.peak) == ("answering", found.of("answering"))
    assert found.largest == "key-value cache"


def test_a_few_weights_in_place_cost_what_they_are() -> None:
    few = full(SEVEN, trainable=10**7, sparse=True, keeps_best=True)
    terms = memory_of(SEVEN, few).terms
    assert (terms["learned"], terms["optimizer"], terms["best weights"]) == (14e7, 8e7, 4e7)
    one_product = 2 * 2 * SEVEN.inner * SEVEN.hidden
    assert terms["gradients"] == 4e7 + one_product
    surveyed = memory_of(SEVEN, dataclasses.replace(few, survey=Survey(tokens=512, sites=64, sums_a_weight=4.0)))
    assert surveyed.phases["choosing"]["scores"] == 4 * SEVEN.linear
    assert (surveyed.peak_phase, surveyed.largest) == ("choosing", "scores")


def test_logits_are_of_what_is_predicted() -> None:
    sites = {"sites": 100_000}
    targets, nothing, both = (
        memory_of(SEVEN, lora(SEVEN, predicts=one, **sites)).phases["predicting"]["logits"]
        for one in ("targets", "nothing", "distributions")
    )
    assert nothing == 4 * 100_000
    assert targets < CHUNK_NUMBERS * 11
    assert both < CHUNK_NUMBERS * 8, "distributions are made of a quarter as many sites at once"


def test_operations_are_six_a_weight_and_token() -> None:
    work = full(SEVEN, recompute=False)
    amount = Amount(tokens=1e6, sites=0, context=0)
    assert operations(SEVEN, work, amount) == pytest.approx(6 * SEVEN.linear * 1e6)
    adapted = lora(SEVEN, recompute=False)
    assert operations(SEVEN, adapted, amount) == pytest.approx((4 * SEVEN.linear + 6 * adapted.trainable) * 1e6)


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("80 GiB", 80 * 2**30), ("1000", 1e3), ("1.5 tb", 1.5e12)])
def test_sizes_are_read(text: str, size: float) -> None:
    assert size_of(text) == size
    with pytest.raises(ConfigError, match="expected a size such as 24GB"):
        size_of("lots")
