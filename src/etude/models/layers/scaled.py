"""A linear layer with a learned factor on each of its outputs, or of its inputs (https://arxiv.org/abs/2205.05638)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from etude.models.layers.attached import Attached


class ScaledLinear(Attached):
    """y = l ∘ (x Wᵀ + b), or with `inputs` y = (l ∘ x) Wᵀ + b; l starts at ones."""

    stored: ClassVar[Mapping[str, str]] = {"factor": "ia3_l"}

    def __init__(self, base: nn.Linear, *, inputs: bool) -> None:
        super().__init__(base)
        self.inputs = inputs
        size = base.in_features if inputs else base.out_features
        self.factor = nn.Parameter(torch.ones(size, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return cast("Tensor", self.base(x))
        if self.inputs:
            return cast("Tensor", self.base((x.to(self.factor.dtype) * self.factor).to(x.dtype)))
        return cast("Tensor", self.base(x).to(self.factor.dtype) * self.factor).to(x.dtype)

    def state(self) -> dict[str, Tensor]:
        """The vector as a row for inputs, as a column for outputs."""
        return {"ia3_l": self.factor.detach().reshape((1, -1) if self.inputs else (-1, 1))}

    def take(self, state: Mapping[str, Tensor]) -> None:
        self.factor.data.copy_(state["ia3_l"].flatten())

    def merged(self) -> nn.Module:
        weight, bias, factor = self.base.weight, self.base.bias, self.factor.detach()
        weight.data.copy_((weight.float() * (factor if self.inputs else factor[:, None])).to(weight.dtype))
        if bias is not None and not self.inputs:
            bias.data.copy_((bias.float() * factor).to(bias.dtype))
        return cast("nn.Module", self.base)
