"""Attention while decoding, registered with transformers under the name `etude_decode`.

Shape letters: B rows, Q queries, T cached tokens, H query heads, G key/value heads, D head size. Who sees whom comes
from positions alone, never from the place in the cache, so padding and shared prefixes cannot change a result. One
query at a time runs as plain batched products: on a CPU that takes a tenth of scaled_dot_product_attention's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from etude.errors import ModelError
from etude.models.attention import attention_set_to

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "etude_decode"
PADDING = torch.iinfo(torch.int64).max
"""The position of a key that nobody may see."""


class Sight:
    """Who may see whom in one forward pass; masks are made once a pass, not once a layer."""

    def __init__(self, query_BQ: Tensor, key_BT: Tensor, *, padded: bool, longest: int) -> None:
        self.query_BQ = query_BQ
        self.key_BT = key_BT
        self.padded = padded
        self.longest = longest
        """The largest query position."""
        self._bias: dict[tuple[int | None, torch.dtype], Tensor | None] = {}

    @property
    def num_queries(self) -> int:
        return self.query_BQ.shape[1]

    def is_plainly_causal(self, window: int | None) -> bool:
        """Whether torch's own causal flag says it all: nothing cached before, no padding, no window in reach."""
        fresh = self.num_queries == self.key_BT.shape[1]
        return fresh and not self.padded and (window is None or self.longest < window)

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What to add to the scores, [B, 1, Q, T]: 0 or a number that leaves no weight; None: all is visible."""
        reach = window if window is not None and window <= self.longest else None
        if (reach, dtype) not in self._bias:
            self._bias[reach, dtype] = self._make_bias(reach, dtype)
        return self._bias[reach, dtype]

    def _make_bias(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        if self.num_queries == 1 and window is None and not self.padded:
            return None
        query, key = self.query_BQ[:, :, None], self.key_BT[:, None, :]
        visible = key <= query
        if window is not None:
            visible &= key > query - window
        if self.num_queries > 1:
            # A padding token sees itself, so that no row of weights is empty.
            visible.diagonal(offset=key.shape[2] - query.shape[1], dim1=1, dim2=2).fill_(True)
        bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return bias.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


_sight: ContextVar[Sight | None] = ContextVar("sight", default=None)


@contextmanager
def seeing(sight: Sight) -> Iterator[None]:
    """Inside the block, forward passes follow this geometry."""
    token = _sight.set(sight)
    try:
        yield
    finally:
        _sight.reset(token)


def decoding_attention(module: PreTrainedModel) -> AbstractContextManager[None]:
    """Inside the block the model attends with `attend`; afterwards with whatever was set before."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, attend)
    return attention_set_to(module, IMPLEMENTATION)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature: query [B, H, Q, D], key and value [B, G, T, D] to [B, Q, H, D].

    `s_aux` holds a learned sink per head (gpt-oss). Raises ModelError for a learned position bias.
    """
    sight = _sight.get()
    assert sight is not None, "etude_decode is only for sampling"
    if position_bias is not None:
        raise ModelError(
            f"{type(module).__name__} adds a position bias to its attention scores, which decoding does not support",
            remedy="a LoadedModel whose way is 'rows' decodes row by row",
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.shape[2] > 1 and softcap is None and s_aux is None:
        causal = sight.is_plainly_causal(sliding_window)
        out = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if causal else sight.bias(sliding_window, query.dtype),
            is_causal=causal,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out.transpose(1, 2), None
    return _attend_in_products(
        query, key, value, sight.bias(sliding_window, torch.float32), scale, softcap, s_aux
    ), None


def _attend_in_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """All query heads of a key head meet its keys in one product, so keys are never repeated."""
    b, h, q, d = query.shape
    g, t = key.shape[1], key.shape[2]
    scores = (query.reshape(b, g, h // g * q, d) @ key.transpose(-1, -2)).float().mul_(scale)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    scores = scores.view(b, g, h // g, q, t)
    if bias is not None:
        scores += bias[:, None]
    if sinks_H is not None:
        sinks = sinks_H.float().view(1, g, h // g, 1, 1).expand(b, g, h // g, q, 1)
        weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    out = weights.to(value.dtype).reshape(b, g, h // g * q, t) @ value
    return out.view(b, h, q, value.shape[-1]).transpose(1, 2)
