"""A small network behind a layer: y + up(act(down(y))) with y = layer(x) (https://arxiv.org/abs/1902.00751).

Shape letters: T tokens, E hidden size, N size of the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from etude.models.layers.attached import Attached

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(Attached):
    """Behind the layer that writes a half's result, before the residual is added; it starts as the identity."""

    stored: ClassVar[Mapping[str, str]] = {
        "down": "down.weight",
        "down_bias": "down.bias",
        "up": "up.weight",
        "up_bias": "up.bias",
    }

    def __init__(
        self, base: nn.Module, *, width: int, size: int, activation: str, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__(base)
        self.activation, self.scale = activation, scale
        place = self.weight.device
        down_NE = torch.empty(size, width)
        nn.init.kaiming_uniform_(down_NE, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down_NE.to(place))
        self.down_bias = nn.Parameter(torch.zeros(size, device=place))
        self.up = nn.Parameter(torch.zeros(width, size, device=place))
        self.up_bias = nn.Parameter(torch.zeros(width, device=place))

    def forward(self, x: Tensor) -> Tensor:
        y = cast("Tensor", self.base(x))
        if not self.enabled:
            return y
        down, down_bias, up, up_bias = (one.to(y.dtype) for one in (self.down, self.down_bias, self.up, self.up_bias))
        inside = ACTIVATIONS[self.activation](nn.functional.linear(y, down, down_bias))
        return y + self.scale * nn.functional.linear(inside, up, up_bias)
