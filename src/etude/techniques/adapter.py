"""Adapter layers: small networks behind attention and feed-forward (https://arxiv.org/abs/1902.00751)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from etude.errors import ModelError
from etude.techniques.base import generator_of
from etude.techniques.layerwise import Layerwise
from etude.techniques.own_format import described_by

if TYPE_CHECKING:
    from torch import nn

    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

HALVES = {
    "attention": ("self_attn", "attn", "attention", "self_attention"),
    "feed_forward": ("mlp", "feed_forward", "ffn"),
}
"""What families call the two halves of a decoder layer."""


@dataclass(frozen=True, kw_only=True)
class Adapter(Layerwise):
    """Train a bottleneck network in each layer; it works on results, so it cannot be merged into the weights."""

    kind: Literal["adapter"] = "adapter"
    size: int = 32
    """Width of the bottleneck."""
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """`houlsby`: behind attention and feed-forward; `pfeiffer` (https://arxiv.org/abs/2005.00247): behind feed-forward
    alone."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    """Inside the bottleneck."""
    scale: float = 1.0
    """Factor on what the network adds."""
    merges: ClassVar[bool] = False

    def problems(self) -> list[tuple[str, str]]:
        return [] if self.size >= 1 else [("size", f"must be at least 1, got {self.size}")]

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        from etude.models.layers.bottleneck import Bottleneck

        halves = ("attention", "feed_forward") if self.placement == "houlsby" else ("feed_forward",)
        width = int(model.module.config.get_text_config().hidden_size)
        for name, last in _last_layers(model, halves):
            generator = generator_of(seed, name)
            made = partial(Bottleneck, last, activation=self.activation, scale=self.scale, generator=generator)
            yield name, made(width=width, size=self.size)

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        return described_by(self, model)

    def merge(self, model: LoadedModel) -> None:
        """
        Raises:
            ModelError: always.
        """
        raise ModelError(
            "adapter layers cannot be merged: they are not linear in what they read",
            where=model.name,
            remedy="serve the adapter beside its base, or train with `kind: lora`",
        )


def _last_layers(model: LoadedModel, halves: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The layer that writes each half's result: the last one with a weight matrix, in every decoder layer."""
    for half in halves:
        found = [
            (name, module)
            for name, module in model.module.named_modules()
            if name.rsplit(".", 1)[-1] in HALVES[half] and any(part.isdigit() for part in name.split("."))
        ]
        if not found:
            raise ModelError(f"no layer's {half.replace('_', '-')} half is known by name", where=model.name)
        for name, module in found:
            inner = [(n, m) for n, m in module.named_modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
            yield f"{name}.{inner[-1][0]}", inner[-1][1]
