"""Activation checkpointing: a layer's activations are computed again in the backward pass instead of kept
(https://arxiv.org/abs/1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from etude.models import kernels
from etude.models.attention import tree_layout
from etude.models.layout import Layout
from etude.models.precision import dtype_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.options import Checkpointing

GIVE_BACK_EVERY = 5
"""Layers: pages that are wanted again cost a fault each."""
MOST_KEPT_BYTES = 2 << 30
"""`auto` keeps activations up to this many bytes on a CPU; on a GPU, up to half of its free memory."""


def again(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; what it saves for the backward pass is made again there, by the same numbers."""
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


class GivenBack(torch.autograd.Function):
    """The same numbers; on the way there and back, what was freed so far goes back to the system.

    Layers that are done leave gaps into which the wider pieces of the others do not fit: a heap that keeps them grows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kernels.give_back_memory()
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        kernels.give_back_memory()
        return gradients[0]


def is_wanted(module: PreTrainedModel, num_tokens: int, setting: Checkpointing) -> bool:
    """Whether this many tokens are worth it; never where no gradient will be asked for."""
    if setting == "never" or not torch.is_grad_enabled():
        return False
    return setting == "always" or kept_bytes(module, num_tokens) > _most_kept(module.device)


def kept_bytes(module: PreTrainedModel, num_tokens: int) -> int:
    """About what the layers keep of so many tokens: inputs, queries, keys, values, outputs, and twice the wide part."""
    config = module.config.get_text_config()
    wide = config.to_dict().get("intermediate_size") or 4 * config.hidden_size
    per_layer = 5 * config.hidden_size + 2 * wide
    return int(num_tokens * config.num_hidden_layers * per_layer * dtype_of(module).itemsize)


def _most_kept(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MOST_KEPT_BYTES


@contextmanager
def recomputed_layers(module: PreTrainedModel, layout: Layout) -> Iterator[None]:
    """Inside the block transformers' own layers are computed again in the backward pass, on the same tree.

    Families that drop numbers out in the layer itself keep their activations: a second draw would differ.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [one for one in module.modules() if isinstance(one, GradientCheckpointingLayer)]
    if _drops_out(module):
        layers = []
    for layer in layers:
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(_again_on, layout)  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False


def _again_on(layout: Layout, function: Callable[..., Any], *arguments: Any) -> Any:
    """The backward pass runs outside the block in which attention knows the tree."""

    def on_the_tree(*inputs: Any) -> Any:
        with tree_layout(layout):
            return function(*inputs)

    return again(on_the_tree, *arguments)


def _drops_out(module: PreTrainedModel) -> bool:
    settings = module.config.get_text_config().to_dict()
    return any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings.items())
