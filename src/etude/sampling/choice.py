"""From logits to one token a row: greedy, temperature, top-k, nucleus.

Shape letters: R rows, V vocabulary, W the likeliest tokens looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from etude.models import kernels
from etude.sampling.options import SampleOptions

FIRST_LOOK = 256
"""Likeliest tokens in which the nucleus is looked for first; sorting a whole vocabulary is slow."""


def choose(logits_RV: Tensor, uniforms_R: Sequence[float], options: SampleOptions) -> tuple[Tensor, Tensor]:
    """One token a row and its log-probability in nats, float32; `uniforms_R` in [0, 1) are read unless greedy.

    The log-probability is that of the model's own distribution (temperature 1, nothing cut off), whatever the options
    are, so that it equals scoring's. It is not finite where a row's logits are not. Greedy takes the lowest token id
    among equals.
    """
    if kernels.computes(logits_RV) and not options.top_k and options.top_p >= 1:
        return _choose_compiled(logits_RV.contiguous(), uniforms_R, options.temperature)
    logits_RV = logits_RV.float()
    total_R = logits_RV.logsumexp(-1)
    token_R = logits_RV.argmax(-1) if options.temperature == 0 else _draw(logits_RV, uniforms_R, options)
    logprob_R = logits_RV.gather(1, token_R[:, None])[:, 0] - total_R
    return token_R, torch.where(total_R.isfinite(), logprob_R, torch.nan)


def _choose_compiled(logits_RV: Tensor, uniforms_R: Sequence[float], temperature: float) -> tuple[Tensor, Tensor]:
    """The same in one kernel, where nothing is cut off."""
    token_R = torch.empty(len(logits_RV), dtype=torch.int64)
    logprob_R = torch.empty(len(logits_RV), dtype=torch.float32)
    uniforms = torch.tensor(uniforms_R, dtype=torch.float64)
    kernels.run("choose", logits_RV, uniforms, token_R, logprob_R, *logits_RV.shape, float(temperature))
    return token_R, torch.where(logprob_R.isfinite(), logprob_R, torch.nan)


def _draw(logits_RV: Tensor, uniforms_R: Sequence[float], options: SampleOptions) -> Tensor:
    """The token at which the running sum of probabilities, in the order of token ids, passes the uniform number."""
    scaled_RV = (logits_RV - logits_RV.amax(-1, keepdim=True)) / options.temperature
    weight_RV = scaled_RV.exp()
    if options.top_k or options.top_p < 1:
        weight_RV = weight_RV.masked_fill(~kept(scaled_RV, top_k=options.top_k, top_p=options.top_p), 0)
    running_RV = weight_RV.cumsum(-1, dtype=torch.float64)
    total_R = running_RV[:, -1]
    target_R = torch.tensor(uniforms_R, dtype=torch.float64, device=logits_RV.device) * total_R
    # Below the total even after rounding, so that the search always ends on a token with weight.
    target_R = target_R.minimum(total_R.nextafter(torch.zeros_like(total_R)))
    return torch.searchsorted(running_RV, target_R[:, None], right=True)[:, 0].clamp_(max=logits_RV.shape[1] - 1)


def kept(logits_RV: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Which tokens may be drawn, [R, V]: the k likeliest, and of those the fewest whose share reaches `top_p`.

    Shares are taken among the k likeliest. Of equally likely tokens the lower id comes first, so the number of tokens
    kept is exact. Nucleus sampling: https://arxiv.org/abs/1904.09751
    """
    num_tokens = logits_RV.shape[1]
    width = min(top_k, num_tokens) if top_k else num_tokens
    if top_p >= 1:
        best_RW = logits_RV.topk(width).values
        return _best(logits_RV, best_RW, torch.full_like(best_RW[:, 0], width, dtype=torch.int64))
    look = width if top_k else min(width, FIRST_LOOK)
    while True:
        best_RW = logits_RV.topk(look).values
        total_R = (best_RW if top_k else logits_RV).logsumexp(-1)
        share_RW = (best_RW - total_R[:, None]).exp().cumsum(-1, dtype=torch.float64)
        size_R = (share_RW < top_p).sum(-1) + 1
        if look == width or bool((size_R <= look).all()):
            return _best(logits_RV, best_RW, size_R.clamp(max=look))
        look = min(width, 8 * look)


def _best(logits_RV: Tensor, best_RW: Tensor, size_R: Tensor) -> Tensor:
    """The `size_R` likeliest tokens of each row; `best_RW` are the largest logits, falling."""
    least_R1 = best_RW.gather(1, size_R[:, None] - 1)
    above_RV = logits_RV > least_R1
    equal_RV = logits_RV == least_R1
    room_R1 = size_R[:, None] - above_RV.sum(-1, keepdim=True)
    return above_RV | (equal_RV & (equal_RV.cumsum(-1) <= room_R1))
