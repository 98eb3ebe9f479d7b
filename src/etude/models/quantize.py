"""Weights in few bits: NF4 in blocks of 64 (https://arxiv.org/abs/2305.14314), or 8 bits a row.

Shape letters: N numbers of a weight, B blocks of 64 of them, O outputs, I inputs.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from etude.models import kernels

BLOCK = 64
SPELLED_AT_ONCE = 1 << 23
"""Numbers, a multiple of a block."""
SCALES_BLOCK = 256
"""Scales that share one of their own, where they are rounded too."""
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Quantiles of a normal distribution, zero among them, scaled to one (appendix E of the paper)."""


def to_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two codes a byte, the first in the high half [N / 2], and the largest magnitude of each block, float32 [B]."""
    if not kernels.computes(weight):
        return nf4_by_formula(weight)
    num_blocks = -(-weight.numel() // BLOCK)
    packed, scale_B = torch.empty(num_blocks * BLOCK // 2, dtype=torch.uint8), torch.empty(num_blocks)
    kernels.run("to_nf4", weight.detach().contiguous(), packed, scale_B, weight.numel())
    return packed, scale_B


def nf4_by_formula(weight: Tensor) -> tuple[Tensor, Tensor]:
    """What `to_nf4` gives, where no kernel does it."""
    flat = weight.detach().flatten().float()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scale_B = blocks.abs().amax(1)
    relative = blocks / scale_B.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    levels = torch.tensor(NF4, device=flat.device)
    code = torch.bucketize(relative, (levels[1:] + levels[:-1]) / 2).to(torch.uint8).flatten()
    return (code[::2] << 4) | code[1::2], scale_B


def from_nf4(packed: Tensor, scale_B: Tensor, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The weight, rounded."""
    out = torch.empty(size, dtype=dtype, device=packed.device)
    write_nf4(out, packed, scale_B)
    return out


def write_nf4(out: Tensor, packed: Tensor, scale_B: Tensor) -> None:
    """Writes the weight, rounded, into contiguous memory; a stretch at a time, so that codes and float32 numbers on the
    way there take little beside it."""
    levels, flat_N = torch.tensor(NF4, device=packed.device), out.view(-1)
    for start in range(0, len(flat_N), SPELLED_AT_ONCE):
        part_N = flat_N[start : start + SPELLED_AT_ONCE]
        scale = scale_B[start // BLOCK :][: SPELLED_AT_ONCE // BLOCK]
        codes = packed[start // 2 :][: SPELLED_AT_ONCE // 2]
        code = torch.stack([codes >> 4, codes & 15], dim=-1).view(-1, BLOCK)
        numbers = levels[code.int()].mul_(scale[:, None])
        part_N.copy_(numbers.flatten()[: len(part_N)])


def to_int8(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127 [O, I], and each row's factor, float32 [O]."""
    weight = weight_OI.detach().float()
    scale_O = weight.abs().amax(1) / 127
    return (weight / scale_O.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8), scale_O


def from_int8(code_OI: Tensor, scale_O: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight, rounded."""
    return (code_OI.float() * scale_O[:, None]).to(dtype)


@cache
def dynamic_levels() -> Tensor:
    """256 numbers from -1 to 1 that lie densest around zero: a sign, an exponent and what is left of 8 bits for linear
    steps (https://arxiv.org/abs/2110.02861), as bitsandbytes has them."""
    levels = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        steps = (10.0 ** (exponent - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
        levels += [*steps, *(-one for one in steps)]
    return torch.tensor(sorted(levels))


def scales_to_8_bits(scale_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of the scales, the largest magnitude of each 256 around their mean, and that mean."""
    mean = scale_B.mean()
    centred = scale_B - mean
    blocks = torch.nn.functional.pad(centred, (0, -len(centred) % SCALES_BLOCK)).view(-1, SCALES_BLOCK)
    largest = blocks.abs().amax(1)
    levels = dynamic_levels().to(scale_B.device)
    relative = blocks / largest.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    code = torch.bucketize(relative, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
    return code.flatten()[: len(scale_B)].clone(), largest, mean


def scales_from_8_bits(code_B: Tensor, largest: Tensor, mean: Tensor) -> Tensor:
    """The scales, rounded, float32 [B]."""
    levels = dynamic_levels().to(code_B.device)
    factor = largest.repeat_interleave(SCALES_BLOCK)[: len(code_B)]
    return levels[code_B.int()] * factor + mean
