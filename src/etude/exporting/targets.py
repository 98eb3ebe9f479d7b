"""Where a run's result will be served, and what that server could not load: found before training, not after it.

vLLM reads LoRA adapters in PEFT's format, without DoRA, up to rank 512, one rank and scale for all layers
(vllm/lora/peft_helper.py and config/lora.py); llama.cpp and Ollama read GGUF files. Everything that merges can go there
as whole weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from etude.exporting.gguf_file import ARCHITECTURES
from etude.techniques.lora import LoRA

if TYPE_CHECKING:
    from etude.techniques.base import Technique

Target = Literal["any", "vllm", "llama.cpp", "ollama"]
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of its `--max-lora-rank`; 16 unless said otherwise."""
VLLM_RANK = 16


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that a server could not load, or only in another form."""

    setting: str
    says: str
    refused: bool = False
    """Whether there is no way at all."""
    merged: bool = False
    """Whether there is one only for the merged model."""


def obstacles(target: Target, technique: Technique, config: Any = None) -> tuple[Obstacle, ...]:
    """What stands between a run's result and its server, as far as it shows without the model's `config`."""
    if target == "any":
        return ()
    return tuple(_found(target, technique, config))


def as_vllm_adapter(technique: Technique, config: Any = None) -> list[tuple[str, str]]:
    """(setting, why not) for everything that keeps a vLLM server from answering by the adapter itself."""
    if technique.saved_as != "adapter":
        return [("technique.kind", "makes no adapter that vllm could load; lora does")]
    found = [one for one in obstacles("vllm", technique, config) if one.refused or one.merged]
    return [(one.setting, one.says.partition("; serve it merged")[0]) for one in found]


def _found(target: Target, technique: Technique, config: Any) -> Iterator[Obstacle]:
    kind = str(getattr(technique, "kind", type(technique).__name__))
    if not technique.merges:
        yield Obstacle("technique.kind", f"{target} cannot load {kind}, and it cannot be merged", refused=True)
    elif target == "vllm":
        yield from _as_adapter(technique, kind, config)
    if target != "vllm" and config is not None and config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        says = f"no GGUF file is written here of {config.model_type!r} models (of {known} they are)"
        yield Obstacle("model.name", says, refused=True)


def _as_adapter(technique: Technique, kind: str, config: Any) -> Iterator[Obstacle]:
    merged = "serve it merged: etude export RUN --to merged"
    if not isinstance(technique, LoRA):
        if technique.saved_as == "adapter":
            yield Obstacle("technique.kind", f"vllm loads no adapters of kind {kind}; {merged}", merged=True)
        return
    stored = 2 if technique.start == "pissa" else 1
    ranks = {stored * rank for rank in (technique.rank, *technique.rank_pattern.values())}
    if technique.dora:
        yield Obstacle("technique.dora", f"vllm loads no DoRA adapters; {merged}", merged=True)
    if technique.rank_pattern or technique.alpha_pattern:
        says = f"vllm scales all layers of an adapter alike, so these would answer differently; {merged}"
        yield Obstacle("technique.rank_pattern", says, merged=True)
    if max(ranks) > VLLM_RANKS[-1]:
        says = f"vllm loads adapters up to rank {VLLM_RANKS[-1]}; {merged}"
        yield Obstacle("technique.rank", says, merged=True)
    elif max(ranks) > VLLM_RANK:
        needed = next(rank for rank in VLLM_RANKS if rank >= max(ranks))
        yield Obstacle("technique.rank", f"start vllm with --max-lora-rank {needed}; it stops at {VLLM_RANK} otherwise")
    if "lm_head" in technique.targets and getattr(config, "tie_word_embeddings", False):
        says = f"vllm would change the embedding as well, to which this model's head is tied; {merged}"
        yield Obstacle("technique.targets", says, merged=True)
    if technique.base_held_as is not None:
        says = (
            f"the adapter was learned on a base in {technique.base_held_as}; on a plain one its answers differ a little"
        )
        yield Obstacle("technique.kind", says)
