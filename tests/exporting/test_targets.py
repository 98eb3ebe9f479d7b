"""What a server could not load, known before training."""

from __future__ import annotations

import pytest
import transformers as T

from etude.exporting.targets import Target, obstacles
from etude.techniques.adapter import Adapter
from etude.techniques.base import Technique
from etude.techniques.full import Full
from etude.techniques.ia3 import IA3
from etude.techniques.lora import LoRA
from etude.techniques.p_tuning import PTuning
from etude.techniques.prefix import PrefixTuning
from etude.techniques.prompt import PromptTuning
from etude.techniques.qlora import QLoRA

LLAMA = T.LlamaConfig(tie_word_embeddings=True)
TARGETS: tuple[Target, ...] = ("vllm", "llama.cpp", "ollama")


def found(target: Target, technique: Technique, config: object = LLAMA) -> dict[str, bool]:
    return {one.setting: one.refused for one in obstacles(target, technique, config)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("technique", [Adapter(), PromptTuning(), PrefixTuning(), PTuning()])
def test_what_neither_loads_nor_merges_is_refused(target: Target, technique: Technique) -> None:
    assert found(target, technique) == {"technique.kind": True}
    assert obstacles(target, technique)[0].refused  # before the model is looked at
    assert not obstacles("any", technique, LLAMA)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("technique", [LoRA(), Full()])
def test_plain_ways_are_free(target: Target, technique: Technique) -> None:
    assert not found(target, technique)


@pytest.mark.parametrize(
    ("technique", "settings"),
    [
        (LoRA(rank=17), {"technique.rank"}),
        (LoRA(rank=1024), {"technique.rank"}),
        (LoRA(dora=True), {"technique.dora"}),
        (LoRA(rank_pattern={"q_proj": 8}), {"technique.rank_pattern"}),
        (LoRA(targets=("q_proj", "lm_head")), {"technique.targets"}),
        (QLoRA(), {"technique.kind"}),
        (IA3(), {"technique.kind"}),
    ],
)
def test_vllm_needs_plain_adapters_or_merged_weights(technique: Technique, settings: set[str]) -> None:
    assert found("vllm", technique) == dict.fromkeys(settings, False)
    assert not found("llama.cpp", technique), "merged, all of them go there"


def test_the_rank_to_start_vllm_with_is_named() -> None:
    (one,) = obstacles("vllm", LoRA(rank=200), LLAMA)
    assert "--max-lora-rank 256" in one.says


def test_families_without_a_gguf_form_are_refused() -> None:
    assert found("ollama", LoRA(), T.GPT2Config()) == {"model.name": True}
    assert not found("vllm", LoRA(), T.GPT2Config())
