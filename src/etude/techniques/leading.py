"""What techniques share whose virtual tokens stand before every row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from etude.errors import ModelError
from etude.techniques.layerwise import Layerwise, attached_layers, described

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.loaded import LoadedModel

MAX_TOKENS = 1024
STORED = "prompt_embeddings"
"""The one tensor of PEFT's files for virtual tokens."""


class LeadingTokens(Layerwise):
    """The learned rows are stored as one tensor, computed by whatever computes them."""

    merges: ClassVar[bool] = False

    def tensors(self, model: LoadedModel) -> dict[str, Tensor]:
        ((_, layer),) = attached_layers(model)
        return {STORED: layer.state()[STORED]}

    def take(self, model: LoadedModel, tensors: Mapping[str, Tensor]) -> None:
        ((_, layer),) = attached_layers(model)
        layer.take(tensors)

    def merge(self, model: LoadedModel) -> None:
        """
        Raises:
            ModelError: always.
        """
        raise ModelError(
            "virtual tokens cannot be merged into the weights",
            where=model.name,
            remedy="serve the adapter beside its base, or train with `kind: lora`",
        )


def embedding_of(model: LoadedModel) -> tuple[str, int, int]:
    """The token embedding's name in the model, how many tokens it knows, and its width."""
    embedding = model.module.get_input_embeddings()
    name = next(name for name, module in model.module.named_modules() if module is embedding)
    num, width = cast("Tensor", embedding.weight).shape
    return name, int(num), int(width)


def described_tokens(model: LoadedModel, peft_type: str, tokens: int, **settings: Any) -> dict[str, Any]:
    """The config file of virtual tokens before a decoder-only model."""
    width = embedding_of(model)[2]
    sizes = {"num_virtual_tokens": tokens, "token_dim": width, "num_transformer_submodules": 1}
    return described(model, peft_type, **{**sizes, **settings})


def count_problems(tokens: int) -> list[tuple[str, str]]:
    """What is wrong with a number of virtual tokens."""
    return [] if 1 <= tokens <= MAX_TOKENS else [("tokens", f"must be from 1 to {MAX_TOKENS}, got {tokens}")]
