"""A model's sizes, read off its config without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Numbers of a decoder-only model."""

    name: str
    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward half."""
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    """Whether the head is the embedding."""
    linear: int
    """Weights of the linear layers but the head."""
    embedding: int
    """Weights of the embeddings, and of a head that is not tied to them."""
    rest: int
    """Norms and biases."""
    largest: int
    """Weights of the largest single tensor."""
    linears: Mapping[str, tuple[int, int]]
    """Outputs and inputs of each linear layer but the head, by name."""

    @property
    def weights(self) -> int:
        return self.linear + self.embedding + self.rest

    @property
    def attention_width(self) -> int:
        """Columns of queries, keys and values together."""
        return (self.heads + 2 * self.key_heads) * self.head_size


def outline(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without numbers: every tensor has a shape and no memory.

    Raises:
        ModelError: no causal language model has such a config.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            module: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"no causal language model has this config ({first})", where="--model-config") from error
    return module


def shape_of(module: PreTrainedModel, *, name: str) -> Shape:
    """The sizes of an outlined, or a loaded, model."""
    from torch import nn

    config: Any = module.config.get_text_config()
    head, embedding = module.get_output_embeddings(), module.get_input_embeddings()
    linears = {
        part: (one.out_features, one.in_features)
        for part, one in module.named_modules()
        if type(one) is nn.Linear and one is not head
    }
    table: Any = embedding.weight
    tied = (head is not None and head.weight is table) or bool(getattr(config, "tie_word_embeddings", False))
    counted = {id(one): one.numel() for one in module.parameters()}
    linear = sum(outputs * inputs for outputs, inputs in linears.values())
    embeddings = int(table.numel()) * (1 if tied else 2)
    whole = sum(counted.values()) - (
        int(table.numel()) if tied and head is not None and head.weight is not table else 0
    )
    heads = int(config.num_attention_heads)
    return Shape(
        name=name,
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        inner=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
        heads=heads,
        key_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        vocabulary=int(table.shape[0]),
        tied=tied,
        linear=linear,
        embedding=embeddings,
        rest=max(0, whole - linear - embeddings),
        largest=max(one.numel() for one in module.parameters()),
        linears=linears,
    )
