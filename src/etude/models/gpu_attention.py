"""Attention over a packed prefix tree on a GPU: which kernel does it is decided by a trial, once, and said.

Shape letters: T tokens, H query heads, K key/value heads, D head size.
"""

from __future__ import annotations

import logging
from functools import cache
from subprocess import CalledProcessError
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from etude.batch import Sample, TokenRow
from etude.models.gpu_kernels import BLOCK, Heads, Kernel, flex, varlen
from etude.models.layout import Layout, layout_of
from etude.packing import pack

log = logging.getLogger(__name__)

Name = Literal["varlen", "flex"]
KERNELS: dict[Name, Kernel] = {"varlen": varlen, "flex": flex}

OLDEST = (8, 0)
"""The first compute capability that multiplies bfloat16, which both kernels are made for."""
SMALLEST_HEAD = 16
LARGEST_HEAD = 256
TOLERANCE = {torch.float32: 1e-4}
ROUNDING = 0.03
"""Share of the largest number by which 16-bit results may differ from float32 ones."""
FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, ImportError, OSError, CalledProcessError)
"""What a kernel raises that cannot be compiled or run here."""


def attend(
    q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, layout: Layout, *, scale: float, window: int | None, cap: float | None
) -> Tensor | None:
    """[T, H, D], or None where no kernel works and the hand-written products have to do it."""
    heads = Heads.of(q_HTD, k_KTD, v_KTD, cap)
    for name, kernel in KERNELS.items():
        if (name != "varlen" or layout.rows is not None) and is_proven(name, heads):
            return kernel(q_HTD, k_KTD, v_KTD, layout, scale=scale, window=window, cap=cap)
    return None


@cache
def is_proven(name: Name, heads: Heads) -> bool:
    """Whether a kernel gives what plain products give, values and gradients, on this GPU; says what was found."""
    capability = torch.cuda.get_device_capability(heads.device) if heads.device.type == "cuda" else OLDEST
    trouble = unfit(name, heads, capability) or failure(name, heads, KERNELS[name])
    kind = f"{heads.query}/{heads.key} heads of {heads.size}, {str(heads.dtype).removeprefix('torch.')}"
    if trouble is None:
        log.info("%s attention on %s (%s)", name, heads.device, kind)
    elif name == "flex":
        log.warning("no flex attention on %s (%s): %s; slower products do it", heads.device, kind, trouble)
    else:
        log.info("no %s attention on %s (%s): %s", name, heads.device, kind, trouble)
    return trouble is None


def unfit(name: Name, heads: Heads, capability: tuple[int, int]) -> str | None:
    """What a kernel is known not to do, or None."""
    largest, smallest = max(heads.size, heads.value_size), min(heads.size, heads.value_size)
    if capability < OLDEST:
        return f"compute capability {capability[0]}.{capability[1]} is below {OLDEST[0]}.{OLDEST[1]}"
    if largest > LARGEST_HEAD:
        return f"heads are larger than {LARGEST_HEAD}"
    if name == "flex":
        return f"heads are smaller than {SMALLEST_HEAD}" if smallest < SMALLEST_HEAD else None
    if heads.capped:
        return "scores are capped"
    if heads.dtype not in (torch.bfloat16, torch.float16):
        return "not in 16 bits"
    return "keys and values need one size, a multiple of 8" if largest != smallest or largest % 8 else None


def failure(name: Name, heads: Heads, kernel: Kernel) -> str | None:
    """Runs a kernel on a small batch, with and without a window; what went wrong, or None."""
    layout = _trial_layout(heads.device, share=name == "flex")
    for window in (None, BLOCK // 2):
        try:
            worst = _distance(kernel, heads, layout, window)
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        if not worst <= TOLERANCE.get(heads.dtype, ROUNDING):
            return f"its results differ by {worst:.1g} of the largest"
    return None


def _distance(kernel: Kernel, heads: Heads, layout: Layout, window: int | None) -> float:
    """The largest difference from plain products, as a share of the largest number; NaN if there is one."""
    generator = torch.Generator().manual_seed(0)
    shapes = (heads.query, heads.size), (heads.key, heads.size), (heads.key, heads.value_size)
    drawn = [torch.randn(len(layout.end_T), *shape, generator=generator).transpose(0, 1) for shape in shapes]
    q, k, v = (x.to(heads.device, heads.dtype).requires_grad_(heads.learns) for x in drawn)
    cap = 5.0 if heads.capped else None
    # A trial can fall into a pass whose activations are made again: what it saves is no part of that.
    with torch.set_grad_enabled(heads.learns), saved_tensors_hooks(_as_it_is, _as_it_is):
        ours, plain = (run(q, k, v, layout, scale=0.2, window=window, cap=cap) for run in (kernel, plainly))
        pairs = [(ours, plain)]
        if heads.learns:
            weight = torch.linspace(-1, 1, heads.value_size, device=heads.device)
            gradients = [torch.autograd.grad((out * weight).sum(), (q, k, v)) for out in (ours, plain)]
            pairs += zip(*gradients, strict=True)
    pairs = [(a.detach().float(), b.detach().float()) for a, b in pairs]
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


def _as_it_is(saved: Tensor) -> Tensor:
    return saved


def plainly(
    q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, layout: Layout, *, scale: float, window: int | None, cap: float | None
) -> Tensor:
    """What the kernels must give, from the definition: in float32, with every score in memory."""
    q, k, v = (x.float() for x in (q_HTD, k_KTD, v_KTD))
    k, v = (x.repeat_interleave(len(q) // len(x), 0) for x in (k, v))
    scores_HTT = q @ k.transpose(1, 2) * scale
    if cap is not None:
        scores_HTT = torch.tanh(scores_HTT / cap) * cap
    index_T, position_T = torch.arange(len(layout.end_T), device=q.device), layout.position_T
    visible_TT = (index_T[None] <= index_T[:, None]) & (index_T[:, None] < layout.end_T[None])
    if window is not None:
        visible_TT &= position_T[:, None] - position_T[None] < window
    weights_HTT = scores_HTT.masked_fill(~visible_TT, float("-inf")).softmax(-1)
    return (weights_HTT @ v).transpose(0, 1)


def _trial_layout(device: torch.device, *, share: bool) -> Layout:
    """Rows longer than a block, nested branches, and some padding."""
    prefix, branch, *ends = ((token,) * n for token, n in enumerate((150, 40, 30, 70, 90, 100)))
    rows = [prefix + branch + ends[0], prefix + branch + ends[1], prefix + ends[2], ends[3]]
    samples = [Sample(str(i), (TokenRow(row, (*[0.0] * (len(row) - 1), 1.0)),)) for i, row in enumerate(rows)]
    batch = pack(samples, share=share)
    return layout_of(batch.to(device), padding=-len(batch.tokens_T) % BLOCK)
