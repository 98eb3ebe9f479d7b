"""The low-rank linear layer: y = x Wᵀ + b + s (x Aᵀ) Bᵀ (https://arxiv.org/abs/2106.09685).

Shape letters: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A frozen linear layer with a low-rank addition held in float32."""

    def __init__(self, base: nn.Linear, *, rank: int, scale: float, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        self.enabled = True
        place = base.weight.device
        a_RI = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(a_RI, a=math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(a_RI.to(place))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=place))

    @property
    def weight(self) -> Tensor:
        """The frozen weight, [O, I]; some families look at it for their data type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return cast("Tensor", self.base(x))
        if self.dropout and self.training:
            dropped = nn.functional.dropout(x, self.dropout).to(self.lora_A.dtype)
            added = (dropped @ self.lora_A.t()) @ self.lora_B.t() * self.scale
            return cast("Tensor", self.base(x) + added.to(x.dtype))
        out = LowRankProduct.apply(  # type: ignore[no-untyped-call]  # torch declares no types for it
            x.reshape(-1, x.shape[-1]), self.base.weight, self.base.bias, self.lora_A, self.lora_B, self.scale
        )
        return cast("Tensor", out).view(*x.shape[:-1], -1)

    def delta_OI(self) -> Tensor:
        """What is added to the frozen weight, float32 [O, I]."""
        return self.scale * (self.lora_B.float() @ self.lora_A.float())


class LowRankProduct(torch.autograd.Function):
    """The whole layer as one node: the adapter's products run in the input's precision, its gradients are float32."""

    @staticmethod
    def forward(
        ctx: Any, x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        a, b = a_RI.to(x_TI.dtype), b_OR.to(x_TI.dtype)
        low_TR = x_TI @ a.t()
        out_TO = nn.functional.linear(x_TI, weight_OI, bias_O)
        out_TO.addmm_(low_TR, b.t(), alpha=scale)
        ctx.save_for_backward(x_TI, weight_OI, a, b, low_TR)
        ctx.scale = scale
        return out_TO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, weight_OI, a, b, low_TR = ctx.saved_tensors
        grad_TO = gradients[0]
        grad_low_TR = grad_TO @ b
        grad_a = (grad_low_TR.t() @ x_TI).float().mul_(ctx.scale)
        grad_b = (grad_TO.t() @ low_TR).float().mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.addmm(grad_TO @ weight_OI, grad_low_TR, a, alpha=ctx.scale)
        return grad_x, None, None, grad_a, grad_b, None
