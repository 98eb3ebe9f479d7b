"""Prefix tuning: learned keys and values before every row, in every layer (https://arxiv.org/abs/2101.00190).

Keys are learned as they are before the rotation by position, and stored as PEFT stores them, after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from etude.errors import ModelError
from etude.techniques.base import generator_of
from etude.techniques.layerwise import attached_layers
from etude.techniques.leading import STORED, LeadingTokens, count_problems, described_tokens, embedding_of
from etude.techniques.targets import linear_layers

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.layers.attached import Attached
    from etude.models.layers.virtual import PrefixedLinear
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

KEYS, VALUES = "k_proj", "v_proj"


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(LeadingTokens):
    """Train the keys and values of virtual tokens; wants a learning rate a hundred times that of LoRA."""

    kind: Literal["prefix"] = "prefix"
    tokens: int = 20
    """How many virtual tokens stand before every row."""
    spread: float = 0.02
    """Standard deviation of the keys and values at the start."""

    def problems(self) -> list[tuple[str, str]]:
        found = [("spread", f"must be above 0, got {self.spread:g}")] if not self.spread > 0 else []
        return [*count_problems(self.tokens), *found]

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        import torch

        from etude.models.layers.virtual import PrefixedLinear, VirtualTokens

        parts = {name.rsplit(".", 1)[-1] for name, _ in model.module.named_modules()}
        if "k_norm" in parts or KEYS not in parts:
            raise ModelError(
                "prefix tuning needs a projection of its own for keys, and no norm behind it",
                where=model.name,
                remedy="use `kind: prompt` or `kind: p-tuning`",
            )
        name, _, width = embedding_of(model)
        embedding: Any = model.module.get_input_embeddings()
        tokens = VirtualTokens(embedding, torch.zeros(self.tokens, width))
        tokens.prompt.requires_grad_(False)  # nobody reads what becomes of it
        yield name, tokens
        for layer, linear in linear_layers(model, (KEYS, VALUES), where="technique.kind"):
            drawn = torch.randn(self.tokens, linear.out_features, generator=generator_of(seed, layer))
            yield layer, PrefixedLinear(linear, tokens, drawn * self.spread)

    def tensors(self, model: LoadedModel) -> dict[str, Tensor]:
        """One tensor: for each virtual token the keys and values of all layers, [N, layers · 2 · width]."""
        import torch

        turned = self._turned(model, 1.0)
        return {STORED: torch.cat([one for pair in turned for one in pair], dim=1)}

    def take(self, model: LoadedModel, tensors: Mapping[str, Tensor]) -> None:
        layers = _prefixed(model)
        parts = tensors[STORED].split([layer.prefix.shape[1] for pair in layers for layer in pair], dim=1)
        for layer, part in zip((layer for pair in layers for layer in pair), parts, strict=True):
            layer.prefix.data.copy_(part)
        for (keys, _), (turned, _) in zip(layers, self._turned(model, -1.0), strict=True):
            keys.prefix.data.copy_(turned)

    def _turned(self, model: LoadedModel, direction: float) -> list[tuple[Tensor, Tensor]]:
        """Keys turned by their positions (or back), and values, of each layer."""
        import torch

        base: Any = model.module.base_model
        turn = getattr(base, "rotary_emb", None)
        found: list[tuple[Tensor, Tensor]] = []
        for keys, values in _prefixed(model):
            key, value = keys.prefix.detach(), values.prefix.detach()
            if turn is not None:
                position = torch.arange(len(key), device=key.device)[None]
                cos, sin = (one[0, :, None] for one in turn(key[None], position))
                key = _rotated(key, cos, direction * sin, _head_size(model))
            found.append((key, value))
        return found

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        ((keys, _), *_) = layers = _prefixed(model)
        width = keys.prefix.shape[1]
        sizes = {"token_dim": width, "num_attention_heads": width // _head_size(model), "num_layers": len(layers)}
        return described_tokens(model, "PREFIX_TUNING", self.tokens, prefix_projection=False, **sizes)

    @classmethod
    def from_peft(cls, config: Mapping[str, Any], folder: Path) -> PrefixTuning:
        """The technique that an adapter_config.json describes."""
        return cls(tokens=int(config["num_virtual_tokens"]))


def _prefixed(model: LoadedModel) -> list[tuple[PrefixedLinear, PrefixedLinear]]:
    """Each layer's key and value projections."""
    named = dict(attached_layers(model))
    keys = [name for name in named if name.endswith(KEYS)]
    found = [(named[name], named[name.removesuffix(KEYS) + VALUES]) for name in keys]
    return cast("list[tuple[PrefixedLinear, PrefixedLinear]]", found)


def _head_size(model: LoadedModel) -> int:
    config = model.module.config.get_text_config()
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rotated(key_NO: Tensor, cos: Tensor, sin: Tensor, head: int) -> Tensor:
    """Each head's first numbers, as many as there are angles, turned pairwise (https://arxiv.org/abs/2104.09864)."""
    import torch

    heads = key_NO.unflatten(1, (-1, head))
    turned, rest = heads[..., : cos.shape[-1]], heads[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1).flatten(1)
