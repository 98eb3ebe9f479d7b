"""A frozen linear layer whose weight is held in few bits and spelled out where a product needs it.

Shape letters: T tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from etude.models import kernels, quantize
from etude.models.options import Held


class HeldLinear(nn.Module):
    """y = x Wᵀ + b; W stands in memory for the length of one product."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, *, held: Held, dtype: torch.dtype) -> None:
        super().__init__()
        self.out_features, self.in_features = weight_OI.shape
        self.dtype = dtype
        self.held = held
        parts: dict[str, Tensor | None] = {
            "code": None,
            "scale": None,
            "scale_code": None,
            "largest": None,
            "mean": None,
        }
        if held == "int8":
            parts["code"], parts["scale"] = quantize.to_int8(weight_OI)
        else:
            parts["code"], scale = quantize.to_nf4(weight_OI)
            if held == "nf4":
                parts["scale"] = scale
            else:
                parts["scale_code"], parts["largest"], parts["mean"] = quantize.scales_to_8_bits(scale)
        for name, part in parts.items():
            self.register_buffer(name, part, persistent=False)
        self.register_buffer("bias", bias_O, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The weight spelled out, [O, I]; a copy."""
        out = torch.empty(
            self.out_features, self.in_features, dtype=self.dtype, device=cast("Tensor", self.code).device
        )
        self.spell_out(out)
        return out

    def spell_out(self, out_OI: Tensor) -> None:
        """Writes the weight into contiguous memory."""
        code = cast("Tensor", self.code)
        if self.held == "int8":
            out_OI.copy_(code)
            out_OI.mul_(cast("Tensor", self.scale)[:, None])
            return
        scale = self._scales()
        if kernels.computes(out_OI):
            kernels.run("from_nf4", out_OI, code, scale, out_OI.numel())
        else:
            quantize.write_nf4(out_OI, code, scale)

    def _scales(self) -> Tensor:
        if self.held == "nf4":
            return cast("Tensor", self.scale)
        parts = (cast("Tensor", one) for one in (self.scale_code, self.largest, self.mean))
        return quantize.scales_from_8_bits(*parts)

    def forward(self, x: Tensor) -> Tensor:
        out = HeldProduct.apply(x.reshape(-1, x.shape[-1]), self)  # type: ignore[no-untyped-call]
        return cast("Tensor", out).view(*x.shape[:-1], -1)


class HeldProduct(torch.autograd.Function):
    """The backward pass spells the weight out again instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, layer: HeldLinear) -> Tensor:
        ctx.layer = layer
        return nn.functional.linear(x_TI, layer.weight, cast("Tensor | None", layer.bias))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0] @ ctx.layer.weight, None


def held_layers(module: nn.Module) -> list[HeldLinear]:
    """A model's layers that hold their weights in few bits."""
    return [one for one in module.modules() if isinstance(one, HeldLinear)]
