"""A linear layer of whose weights a few learn, in place.

Shape letters: K weights that learn, O outputs, I inputs.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from etude.models.layers.attached import Attached


class SparseLinear(Attached):
    """The layer's weight is its own, changed at K places; gradients of the others are dropped as they come."""

    stored: ClassVar[Mapping[str, str]] = {"values": "values"}

    def __init__(self, base: nn.Linear, index_K: Tensor) -> None:
        super().__init__(base)
        self.index = index_K.to(base.weight.device)
        self.before = base.weight.detach().flatten()[self.index].clone()
        self.values = nn.Parameter(self.before.to(torch.float32, copy=True))
        base.weight.requires_grad_(True)
        self._hook = base.weight.register_post_accumulate_grad_hook(self._gather)

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """The values under a name that tells other choices apart."""
        return {f"values.{zlib.crc32(self.index.cpu().numpy().tobytes()):08x}": self.values}

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.base(x))

    def _gather(self, weight: Tensor) -> None:
        assert weight.grad is not None
        found = weight.grad.flatten()[self.index].float()
        self.values.grad = found if self.values.grad is None else self.values.grad + found
        weight.grad = None

    @torch.no_grad()
    def put(self, values_K: Tensor) -> None:
        """Writes values into the weight."""
        weight = self.base.weight
        weight.view(-1)[self.index] = values_K.to(weight.dtype)

    def state(self) -> dict[str, Tensor]:
        """Places, learned values and what stood there before, the latter two as the base holds its weights."""
        return {
            "index": self.index,
            "values": self.values.detach().to(self.before.dtype, copy=True),
            "before": self.before,
        }

    def take(self, state: Mapping[str, Tensor]) -> None:
        self.values.data.copy_(state["values"])
        self.put(self.values)

    def merged(self) -> nn.Module:
        self.put(self.values)
        self._hook.remove()
        self.base.weight.requires_grad_(False)
        return cast("nn.Module", self.base)
