"""Attention over a packed prefix tree on grids that the kernels lay out: [K, S, G, N, D] queries, [K, S, N, D] keys.

Shape letters as in `layout` and in kernels.c. Own segment and ancestors meet in one softmax but never in one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from etude.models import kernels
from etude.models.attention import RECOMPUTE_ABOVE
from etude.models.layout import BLOCK, Group, Layout

MOST_HEAD_SIZE = 128


@dataclass(frozen=True, slots=True)
class Heads:
    """The sizes of an attention layer."""

    query: int
    key: int
    size: int
    scale: float

    @property
    def width(self) -> int:
        """Columns of the joined queries, keys and values."""
        return (self.query + 2 * self.key) * self.size


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosine and sine of each token's rotary angles, float32 [T, D/2]."""

    cos: Tensor
    sin: Tensor


def attend(z: Tensor, heads: Heads, layout: Layout, rotation: Rotation) -> tuple[Tensor, list[Tensor | None]]:
    """Joined queries, keys and values, [T, (H + 2K) D], to outputs [T, H D]; and what `attend_backward` wants back."""
    if _in_blocks(z, heads):
        return _attend_in_blocks(z, heads, layout, rotation)
    out = z.new_zeros(len(z), heads.query * heads.size)
    kept: list[Tensor | None] = []
    for group in layout.groups:
        q, k, v = _grids(z, heads, group.rows_SN, group.num_segments, rotation)
        assert q is not None
        kp = vp = None
        if group.ancestors_A is not None:
            _, kp, vp = _grids(z, heads, group.ancestors_A, 1, rotation, queries=False)
        own, above = _weights(q, k, kp)
        mixed = torch.bmm(own, v)
        mixed_above = None if above is None or vp is None else torch.bmm(above, vp)
        kernels.run(
            "rows_scatter", mixed, mixed_above, group.rows_SN, out, *_sizes(group), heads.query, heads.key, heads.size
        )
        keep = own.numel() + (0 if above is None else above.numel()) <= RECOMPUTE_ABOVE
        kept += [q, k, v, kp, vp, own if keep else None, above if keep else None]
    return out, kept


def attend_backward(
    d_out: Tensor, kept: Sequence[Tensor | None], heads: Heads, layout: Layout, rotation: Rotation
) -> Tensor:
    """The gradient of z."""
    if _in_blocks(d_out, heads):
        return _attend_in_blocks_backward(d_out, kept, heads, layout, rotation)
    dz = d_out.new_zeros(len(d_out), heads.width)
    for i, group in enumerate(layout.groups):
        q, k, v, kp, vp, own, above = kept[7 * i : 7 * i + 7]
        assert q is not None
        assert k is not None
        assert v is not None
        if own is None:
            own, above = _weights(q, k, kp)
        sizes = (*_sizes(group), heads.query, heads.key, heads.size)
        g = torch.empty_like(q)
        kernels.run("rows_gather", d_out, group.rows_SN, g, *sizes)
        dv, d_own = torch.bmm(own.transpose(1, 2), g), torch.bmm(g, v.transpose(1, 2))
        dvp = d_above = None
        if above is not None and vp is not None:
            g_shared = g.view(heads.key, -1, heads.size)
            dvp, d_above = torch.bmm(above.transpose(1, 2), g_shared), torch.bmm(g_shared, vp.transpose(1, 2))
        num_rows, n, a = own.shape[0] * own.shape[1], own.shape[2], 0 if above is None else above.shape[2]
        kernels.run("tree_softmax_backward", own, above, d_own, d_above, num_rows, n, a)
        dq, dk = torch.bmm(d_own, k), torch.bmm(d_own.transpose(1, 2), q)
        if d_above is not None and kp is not None and group.ancestors_A is not None:
            q_shared = q.view(heads.key, -1, heads.size)
            dq += torch.bmm(d_above, kp).view_as(dq)
            dkp = torch.bmm(d_above.transpose(1, 2), q_shared)
            _add_gradients(dz, None, dkp, dvp, heads, group.ancestors_A, 1, rotation)
        _add_gradients(dz, dq, dk, dv, heads, group.rows_SN, group.num_segments, rotation)
    return dz


def _in_blocks(x: Tensor, heads: Heads) -> bool:
    """Whether the kernels can attend block by block, in memory that does not grow with the square of the tokens."""
    return kernels.multiplies() and x.dtype == torch.bfloat16 and heads.size % 32 == 0 and heads.size <= MOST_HEAD_SIZE


def _block_sizes(x: Tensor, heads: Heads, layout: Layout) -> tuple[int | float, ...]:
    return len(x), len(layout.segments), heads.query, heads.key, heads.size, layout.blocks.number, float(heads.scale)


def _attend_in_blocks(
    z: Tensor, heads: Heads, layout: Layout, rotation: Rotation
) -> tuple[Tensor, list[Tensor | None]]:
    out = z.new_empty(len(z), heads.query * heads.size)
    out[layout.num_tokens :].zero_()
    normalizer_HT = torch.empty(heads.query, len(z))
    sizes = _block_sizes(z, heads, layout)
    kernels.run("tree_attention", z, rotation.cos, rotation.sin, layout.blocks.tree_S4, out, normalizer_HT, *sizes)
    return out, [z, out, normalizer_HT]


def _attend_in_blocks_backward(
    d_out: Tensor, kept: Sequence[Tensor | None], heads: Heads, layout: Layout, rotation: Rotation
) -> Tensor:
    z, out, normalizer_HT = kept
    dz = d_out.new_empty(len(d_out), heads.width)
    dz[layout.num_tokens :].zero_()
    sums = torch.empty(heads.query * 2 * layout.blocks.number * BLOCK * heads.size)
    tensors = (z, rotation.cos, rotation.sin, layout.blocks.tree_S4, out, d_out, normalizer_HT, sums, dz)
    kernels.run("tree_attention_backward", *tensors, *_block_sizes(d_out, heads, layout))
    return dz


def _sizes(group: Group) -> tuple[int, int]:
    return group.num_segments, group.length


def _grids(
    z: Tensor, heads: Heads, rows: Tensor, segments: int, rotation: Rotation, *, queries: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Rotated queries [K S, G N, D] (already scaled), keys and values [K S, N, D] of the rows."""
    length = len(rows) // segments
    k, v = (z.new_empty(heads.key * segments, length, heads.size) for _ in range(2))
    q = z.new_empty(heads.key * segments, heads.query // heads.key * length, heads.size) if queries else None
    sizes = (segments, length, heads.query, heads.key, heads.size)
    kernels.run("rope_gather", z, rotation.cos, rotation.sin, rows, q, k, v, *sizes, float(heads.scale))
    return q, k, v


def _weights(q: Tensor, k: Tensor, kp: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Attention weights over the own segment [K S, G N, N] and over the ancestors [K, S G N, A]."""
    own = torch.bmm(q, k.transpose(1, 2))
    above = None if kp is None else torch.bmm(q.view(kp.shape[0], -1, q.shape[-1]), kp.transpose(1, 2))
    num_rows, n, a = own.shape[0] * own.shape[1], own.shape[2], 0 if above is None else above.shape[2]
    kernels.run("tree_softmax", own, above, num_rows, n, a)
    return own, above


def _add_gradients(
    dz: Tensor,
    dq: Tensor | None,
    dk: Tensor,
    dv: Tensor | None,
    heads: Heads,
    rows: Tensor,
    segments: int,
    rotation: Rotation,
) -> None:
    length = len(rows) // segments
    parts = [None if one is None else one.contiguous() for one in (dq, dk, dv)]
    sizes = (segments, length, heads.query, heads.key, heads.size)
    kernels.run("rope_scatter", dz, *parts, rotation.cos, rotation.sin, rows, *sizes, float(heads.scale))
