"""Two ways to attend on a GPU: flex attention for any tree, a variable-length kernel for rows that share nothing.

Shape letters: T tokens, H query heads, K key/value heads, D head size, R rows, B blocks of `BLOCK` tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from etude.models.layout import Layout

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
"""Tokens of a block that flex attention skips or computes whole; batches on a GPU are padded to a multiple of it."""

Kernel = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Heads:
    """What a kernel is compiled for."""

    device: torch.device
    dtype: torch.dtype
    query: int
    key: int
    size: int
    value_size: int
    capped: bool
    learns: bool

    @staticmethod
    def of(q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, cap: float | None) -> Heads:
        return Heads(
            device=q_HTD.device,
            dtype=q_HTD.dtype,
            query=q_HTD.shape[0],
            key=k_KTD.shape[0],
            size=q_HTD.shape[2],
            value_size=v_KTD.shape[2],
            capped=cap is not None,
            learns=torch.is_grad_enabled() and any(x.requires_grad for x in (q_HTD, k_KTD, v_KTD)),
        )


def varlen(
    q_HTD: Tensor,
    k_KTD: Tensor,
    v_KTD: Tensor,
    layout: Layout,
    *,
    scale: float,
    window: int | None,
    cap: float | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """[T, H, D], each row by itself in one launch; `kernel` is like torch's `varlen_attn`, and by default that."""
    from torch.nn.attention.varlen import varlen_attn

    assert layout.rows is not None, "only for rows that share nothing"
    assert cap is None, "it cannot cap scores"
    starts_R, longest = layout.rows.starts_R, layout.rows.longest
    q, k, v = (x.transpose(0, 1) for x in (q_HTD, k_KTD, v_KTD))
    run = cast("Kernel", varlen_attn) if kernel is None else kernel
    return run(
        q,
        k,
        v,
        starts_R,
        starts_R,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )


def flex(
    q_HTD: Tensor,
    k_KTD: Tensor,
    v_KTD: Tensor,
    layout: Layout,
    *,
    scale: float,
    window: int | None,
    cap: float | None,
    kernel: Kernel | None = None,
) -> Tensor:
    """[T, H, D], the tree's mask by blocks; `kernel` is like torch's `flex_attention`, by default that, compiled."""
    num_tokens = q_HTD.shape[1]
    reach = window if window is not None and window < num_tokens else None
    if reach not in layout.masks:
        layout.masks[reach] = block_mask(layout, reach)
    divisible = num_tokens % BLOCK == 0
    if kernel is None:
        run = _compiled(Heads.of(q_HTD, k_KTD, v_KTD, cap), divisible)
    else:
        run = _scored(kernel, capped=cap is not None, divisible=divisible)
    factors = _on_device(scale, 1.0 if cap is None else cap, q_HTD.device)
    return run(q_HTD[None], k_KTD[None], v_KTD[None], layout.masks[reach], factors)[0].transpose(0, 1)


@cache
def _on_device(scale: float, cap: float, device: torch.device) -> Tensor:
    """A tensor, because torch.compile makes a kernel for each number; kept, because a copy waits for the GPU."""
    with torch.inference_mode(False):
        return torch.tensor([scale, cap], device=device)


@cache
def _compiled(heads: Heads, divisible: bool) -> Kernel:
    """flex attention for any number of tokens; each kind of heads counts its recompilations apart from all others."""
    from torch.nn.attention.flex_attention import flex_attention

    run = _scored(flex_attention, capped=heads.capped, divisible=divisible)
    compiled = torch.compile(run, fullgraph=True, dynamic=True, isolate_recompiles=True)  # type: ignore[call-overload]
    return cast("Kernel", compiled)


def _scored(kernel: Kernel, *, capped: bool, divisible: bool) -> Kernel:
    """`kernel` with scores multiplied by factors[0] and, if `capped`, softly held below factors[1]."""

    def run(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask, factors: Tensor) -> Tensor:
        if divisible:  # lets the compiler leave out what it does at the edge of the last block
            torch._check(q.shape[2] % BLOCK == 0)

        def score(raw: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            scaled = raw * factors[0]
            return torch.tanh(scaled / factors[1]) * factors[1] if capped else scaled

        return kernel(q, k, v, score_mod=score, block_mask=mask, scale=1.0, enable_gqa=True)

    return run


def block_mask(layout: Layout, window: int | None) -> BlockMask:
    """Which blocks of queries see none, some or all of which blocks of keys, from the blocks' extremes alone.

    Before its own block, a query block sees something of a key block iff the largest `end` there lies beyond its first
    token, and all of it iff the smallest `end` reaches its last one. A window hides what is too far by position.
    """
    from torch.nn.attention.flex_attention import BlockMask

    end_T, position_T = layout.end_T.int(), layout.position_T.int()
    num_tokens = len(end_T)
    lowest_T = position_T - (num_tokens if window is None else window - 1)
    first_B = torch.arange(0, num_tokens, BLOCK, dtype=torch.int32, device=end_T.device)
    stop_B = (first_B + BLOCK).clamp(max=num_tokens)
    token_BN = torch.arange(len(first_B) * BLOCK, device=end_T.device).clamp(max=num_tokens - 1).view(-1, BLOCK)
    (first_end, last_end), (low, high), (least, most) = (
        x[token_BN].aminmax(dim=1) for x in (end_T, position_T, lowest_T)
    )
    before_BB = first_B[:, None] > first_B[None]
    some_BB = before_BB & (last_end[None] > first_B[:, None]) & (high[None] >= least[:, None])
    all_BB = some_BB & (first_end[None] >= stop_B[:, None]) & (low[None] >= most[:, None])
    masked_BB = (some_BB & ~all_BB) | (first_B[:, None] == first_B[None])

    def visible(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (i < end_T[j]) & (position_T[j] >= lowest_T[i])

    return BlockMask.from_kv_blocks(
        *_listed(masked_BB), *_listed(all_BB), BLOCK_SIZE=BLOCK, mask_mod=visible, seq_lengths=(num_tokens, num_tokens)
    )


def _listed(chosen_BB: Tensor) -> tuple[Tensor, Tensor]:
    """For each block of queries how many blocks of keys are chosen, and the blocks' numbers with these first."""
    order_BB = chosen_BB.int().argsort(dim=1, descending=True, stable=True).int()
    return chosen_BB.sum(1, dtype=torch.int32)[None, None], order_BB[None, None]
