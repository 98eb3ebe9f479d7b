"""The matrix products of a decoder layer: on the tile registers of AMX processors by our kernels, elsewhere by torch.

A processor without bfloat16 products gets them through float32, a piece at a time: torch's own is a plain loop.
A product takes its low-rank addition and its residual along, so that the output is written once. On two threads of one
core the kernels reach about 2 TFLOP/s in bfloat16 whatever the shape, where the library falls to half of that for some.

Shape letters: T tokens, I inputs, O outputs, R ranks of all adapters together, F intermediate size.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from etude.models import kernels

TILE = 32
"""Rows and summed dimensions that the tiles take are multiples of this."""
Pair = tuple[Tensor, Tensor]
WIDENED_AT_ONCE = 1 << 23
"""Numbers of a weight that are in float32 at a time."""
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def computes_in_bfloat16() -> bool:
    """Whether the processor, or the GPU where there is one, multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _has_instructions()


def _has_instructions() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in BFLOAT16_INSTRUCTIONS)


@cache
def _processor_multiplies() -> bool:
    return _has_instructions()


def _needs_float32(one: Tensor) -> bool:
    return one.dtype == torch.bfloat16 and one.device.type == "cpu" and not _processor_multiplies()


def product(left: Tensor, right: Tensor, low: Pair | None = None, residual: Tensor | None = None) -> Tensor:
    """left [T, K] right [K, N], plus a pair's product, plus a residual [T, N] or [N]; rounded once through float32."""
    if _needs_float32(left):
        out = _through_float32(left, right)
        if low is not None:
            out.addmm_(low[0].float(), low[1].float())
        if residual is not None:
            out += residual
        return out.to(left.dtype)
    out = left @ right if residual is None else torch.addmm(residual, left, right)
    return out if low is None else out.addmm_(*low)


def _through_float32(left: Tensor, right: Tensor) -> Tensor:
    """left right in float32, of the right side a piece at a time, as it lies in memory."""
    wide_left = left.float()
    out = wide_left.new_zeros(len(left), right.shape[1])
    room = wide_left.new_empty(max(WIDENED_AT_ONCE, *right.shape))
    if right.t().is_contiguous():
        for into, piece in zip(out.split(*_step(right, 1)), right.split(*_step(right, 1)), strict=True):
            into.addmm_(wide_left, _widened(piece.t(), room).t())
    else:
        step, _ = _step(right, 0)
        for some, piece in zip(wide_left.split(step, 1), right.split(step), strict=True):
            out.addmm_(some, _widened(piece, room))
    return out


def _step(right: Tensor, dim: int) -> tuple[int, int]:
    return max(1, WIDENED_AT_ONCE // right.shape[1 - dim]), dim


def _widened(piece: Tensor, room: Tensor) -> Tensor:
    return room[: piece.numel()].view(piece.shape).copy_(piece)


def takes_any_length(dtype: torch.dtype) -> bool:
    """Whether no shape costs a compilation: any multiple of TILE rows will do."""
    return dtype == torch.bfloat16 and kernels.multiplies()


def rank_step(dtype: torch.dtype) -> int:
    """Ranks of thin matrices are rounded up to this, with zeros."""
    return TILE if takes_any_length(dtype) else 1


def _on_tiles(*lefts: Tensor) -> bool:
    """Whether left operands [T, K] suit the kernels."""
    return (
        all(
            one.dtype == torch.bfloat16 and len(one) % TILE == 0 and one.shape[1] % TILE == 0 and one.stride(1) == 1
            for one in lefts
        )
        and kernels.multiplies()
    )


def forward(x_TI: Tensor, weight_OI: Tensor, low: Pair | None = None, residual_TO: Tensor | None = None) -> Tensor:
    """x Wᵀ, plus low thinᵀ for a pair (low [T, R], thin [O, R]), plus the residual."""
    if _on_tiles(x_TI) and weight_OI.is_contiguous():
        return _by_kernel(x_TI, weight_OI, low, residual_TO, right_is_KN=False)
    return product(x_TI, weight_OI.t(), low and (low[0], low[1].t()), residual_TO)


def backward(dy_TO: Tensor, weight_OI: Tensor, low: Pair | None = None) -> Tensor:
    """dy W, plus d_low thin for a pair (d_low [T, R], thin [R, I])."""
    if _on_tiles(dy_TO) and weight_OI.is_contiguous():
        return _by_kernel(dy_TO, weight_OI, low, None, right_is_KN=True)
    return product(dy_TO, weight_OI, low)


def _by_kernel(left: Tensor, right: Tensor, low: Pair | None, residual: Tensor | None, *, right_is_KN: bool) -> Tensor:
    num_rows, depth = left.shape
    num_columns = right.shape[1] if right_is_KN else right.shape[0]
    out = left.new_empty(num_rows, num_columns)
    left2, right2 = low or (None, None)
    depth2 = 0 if left2 is None else left2.shape[1]
    strides = [0 if one is None else one.stride(0) for one in (left, right, left2, right2)]
    sizes = (num_rows, num_columns, depth, depth2)
    kernels.run("product", left, right, left2, right2, residual, out, *sizes, *strides, int(right_is_KN), strided=True)
    return out


def outer(left_TM: Tensor, right_TN: Tensor, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """scale · leftᵀ right, [M, N] in the given type: what a weight's gradient is."""
    is_bf16 = left_TM.dtype == right_TN.dtype == torch.bfloat16
    if not (is_bf16 and kernels.multiplies() and left_TM.stride(1) == right_TN.stride(1) == 1):
        if _needs_float32(left_TM):
            left_TM, right_TN = left_TM.float(), right_TN.float()
        found = (left_TM.t() @ right_TN).to(dtype)
        return found if scale == 1.0 else found.mul_(scale)
    out = left_TM.new_empty(left_TM.shape[1], right_TN.shape[1], dtype=dtype)
    sums, rounded = (out, None) if dtype == torch.float32 else (None, out)
    sizes = (*out.shape, len(left_TM), left_TM.stride(0), right_TN.stride(0))
    kernels.run("product_outer", left_TM, right_TN, sums, rounded, *sizes, float(scale), strided=True)
    return out


def forward_swiglu(x_TI: Tensor, weight_2FI: Tensor, bias_2F: Tensor | None, low: Pair | None) -> tuple[Tensor, Tensor]:
    """Gates and up-projections side by side, [T, 2F], and silu(gate) * up, [T, F]."""
    half = weight_2FI.shape[0] // 2
    if bias_2F is None and _on_tiles(x_TI) and weight_2FI.is_contiguous() and half % TILE == 0:
        gate_up, activated = x_TI.new_empty(len(x_TI), 2 * half), x_TI.new_empty(len(x_TI), half)
        left2, right2 = low or (None, None)
        sizes = (len(x_TI), half, x_TI.shape[1], 0 if left2 is None else left2.shape[1])
        kernels.run("product_swiglu", x_TI, weight_2FI, left2, right2, gate_up, activated, *sizes)
        return gate_up, activated
    gate_up = forward(x_TI, weight_2FI, low)
    if bias_2F is not None:
        gate_up += bias_2F
    activated = gate_up.new_empty(len(x_TI), half)
    kernels.run("swiglu", gate_up, activated, *activated.shape)
    return gate_up, activated


def backward_swiglu(dy_TO: Tensor, weight_OF: Tensor, low: Pair | None, gate_up: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of gates and up-projections through the layer after them, and the activation once more."""
    d_gate_up = torch.empty_like(gate_up)
    if _on_tiles(dy_TO) and weight_OF.is_contiguous() and weight_OF.shape[1] % TILE == 0:
        activated = dy_TO.new_empty(len(dy_TO), weight_OF.shape[1])
        left2, right2 = low or (None, None)
        sizes = (len(dy_TO), weight_OF.shape[1], dy_TO.shape[1], 0 if left2 is None else left2.shape[1])
        kernels.run("product_swiglu_backward", dy_TO, weight_OF, left2, right2, gate_up, d_gate_up, activated, *sizes)
        return d_gate_up, activated
    d_activated = backward(dy_TO, weight_OF, low)
    activated = torch.empty_like(d_activated)
    kernels.run("swiglu_backward", gate_up, d_activated, d_gate_up, activated, *activated.shape)
    return d_gate_up, activated
