"""In which precision a model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def dtype_of(module: PreTrainedModel) -> torch.dtype:
    """Of the base's weights; a model's own `dtype` is that of its first weight, which may be a technique's."""
    return cast("nn.Embedding", module.get_input_embeddings()).weight.dtype
