"""Attention over a packed prefix tree, registered with transformers under the name `etude_tree`.

On a GPU one of torch's kernels does it where it can (`gpu_attention`); elsewhere the products here, by hand.

Shape letters: T tokens, H query heads, K key/value heads, G query heads per key head, D head size, S segments of a
group, N their padded length, A ancestor tokens. Sibling segments share one product with their ancestors' keys and are
padded to one length only in here. The backward pass is written by hand: on a CPU in bf16 it takes about a quarter of
the time of scaled_dot_product_attention's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from etude.models import gpu_attention
from etude.models.asked import now_asked, refuse_unknown
from etude.models.layout import Group, Layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "etude_tree"
RECOMPUTE_ABOVE = 1 << 25
"""Attention weights of a layer larger than this many numbers are computed again in the backward pass, not kept."""

_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def tree_layout(layout: Layout) -> Iterator[None]:
    """Inside the block, forward passes treat their one row of tokens as the packed tree of this layout."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


@contextmanager
def attention_set_to(module: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Inside the block the model attends with this implementation; afterwards with whatever was set before."""
    config = module.config
    parts = {name: part for name in config.sub_configs if (part := config.__dict__.get(name)) is not None}
    before = {"": config._attn_implementation, **{name: part._attn_implementation for name, part in parts.items()}}
    module.set_attn_implementation(implementation)
    try:
        yield
    finally:
        module.set_attn_implementation(before)


def register_tree_attention() -> None:
    """Makes `attn_implementation="etude_tree"` known to transformers; without a layout it is plain attention."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(IMPLEMENTATION, attend)
    AttentionMaskInterface.register(IMPLEMENTATION, _mask)


def follow(module: PreTrainedModel) -> None:
    """Makes a model attend with `etude_tree`, if it lets attention be chosen; some families have only their own."""
    register_tree_attention()
    module.set_attn_implementation(IMPLEMENTATION)


def follows(module: PreTrainedModel) -> bool:
    """Whether the model attends with `etude_tree`."""
    return bool(module.config._attn_implementation == IMPLEMENTATION)


def _mask(*arguments: Any, **settings: Any) -> Tensor | None:
    from transformers.masking_utils import sdpa_mask

    asked = now_asked()
    if _layout.get() is not None:
        return None
    if asked is None:
        return sdpa_mask(*arguments, **settings)
    mask = sdpa_mask(*arguments, **{**settings, "allow_is_causal_skip": False})
    if mask is not None:
        asked.note_mask(mask, settings["mask_function"])
    return mask


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
    **settings: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature: query [1, H, T, D], key and value [1, K, T, D] to [1, T, H, D].

    Raises ModelError for a setting that it would have to ignore.
    """
    refuse_unknown(module, settings if dropout == 0.0 else {**settings, "dropout": dropout})
    layout, asked = _layout.get(), now_asked()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if layout is None:
        if asked is not None:
            asked.note_layer(module, attention_mask, sliding_window)
        return _attend_plainly(module, query, key, value, attention_mask, scale, softcap, settings), None
    if query.is_cuda:
        on_gpu = gpu_attention.attend(
            query[0], key[0], value[0], layout, scale=scale, window=sliding_window, cap=softcap
        )
        if on_gpu is not None:
            return on_gpu[None], None
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    if sliding_window is None and softcap is None:
        out = cast("Tensor", TreeAttention.apply(q, k, v, layout, scale))  # type: ignore[no-untyped-call]
    else:
        rows = [_group_with_window(q, k, v, group, layout, scale, sliding_window, softcap) for group in layout.groups]
        out = _in_tree_order(rows, layout)
    return out[None], None


def _attend_plainly(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    softcap: float | None,
    settings: dict[str, Any],
) -> Tensor:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if softcap is None:
        out, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scale, **settings)
        return out
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.tanh((query @ key.transpose(-1, -2)).float() * (scale / softcap)) * softcap
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril(
            scores.shape[-1] - scores.shape[-2]
        )
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1).to(query.dtype)
    return (weights @ value).transpose(1, 2)


def _future_NN(length: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).triu_(1)


def _heads_first(x: Tensor, group: Group, kv_heads: int) -> Tensor:
    """[T, H, D] gathered to the group's padded grid: [S*K, G*N, D]."""
    s, n, d = group.num_segments, group.length, x.shape[-1]
    grid = x.index_select(0, group.token_of_slot_SN).view(s, n, kv_heads, -1, d)
    return grid.permute(0, 2, 3, 1, 4).reshape(s * kv_heads, -1, d)


def _tokens_first(x: Tensor, group: Group, kv_heads: int) -> Tensor:
    """The inverse of `_heads_first`, padding left out: [tokens of the group, H, D] in the group's order."""
    s, n, d = group.num_segments, group.length, x.shape[-1]
    grid = x.view(s, kv_heads, -1, n, d).permute(0, 3, 1, 2, 4).reshape(s * n, -1, d)
    return grid.index_select(0, group.slot_of_token)


def _in_tree_order(rows: list[Tensor], layout: Layout) -> Tensor:
    zeros = rows[0].new_zeros(1, *rows[0].shape[1:])
    return torch.cat([*rows, zeros]).index_select(0, layout.order_T)


def _shared(x: Tensor, group: Group, kv_heads: int) -> Tensor:
    """[S*K, M, D] to [K, S*M, D], so that all segments meet the ancestors' keys in one product."""
    s = group.num_segments
    return x.view(s, kv_heads, -1, x.shape[-1]).transpose(0, 1).reshape(kv_heads, -1, x.shape[-1])


def _unshared(x: Tensor, group: Group, kv_heads: int) -> Tensor:
    """[K, S*M, X] back to [S*K, M, X]."""
    s = group.num_segments
    return x.view(kv_heads, s, -1, x.shape[-1]).transpose(0, 1).reshape(s * kv_heads, -1, x.shape[-1])


def _weights(q: Tensor, k: Tensor, group: Group, kv_heads: int, kp: Tensor | None) -> Tensor:
    """Attention weights [S*K, G*N, A+N] of already scaled queries; ancestors' columns come first."""
    n = group.length
    own = torch.bmm(q, k.transpose(1, 2))
    own.view(q.shape[0], -1, n, n).masked_fill_(_future_NN(n, q.device), torch.finfo(q.dtype).min)
    if kp is None:
        return torch.softmax(own, -1)
    above = _unshared(torch.bmm(_shared(q, group, kv_heads), kp.transpose(1, 2)), group, kv_heads)
    return torch.softmax(torch.cat([above, own], -1), -1)


class TreeAttention(torch.autograd.Function):
    """softmax(q kᵀ scale) v where token i sees its ancestors in the tree and itself; q [T, H, D], k and v [T, K, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
        kv_heads = k.shape[1]
        rows: list[Tensor] = []
        kept: list[Tensor | None] = []
        for group in layout.groups:
            qs, ks, vs = (
                _heads_first(q, group, kv_heads).mul_(scale),
                _heads_first(k, group, kv_heads),
                _heads_first(v, group, kv_heads),
            )
            kp, vp = _ancestors(k, group), _ancestors(v, group)
            p = _weights(qs, ks, group, kv_heads, kp)
            a = 0 if kp is None else kp.shape[1]
            out = torch.bmm(p[..., a:], vs)
            if vp is not None:
                out += _unshared(torch.bmm(_shared(p[..., :a], group, kv_heads), vp), group, kv_heads)
            rows.append(_tokens_first(out, group, kv_heads))
            kept.append(p if p.numel() <= RECOMPUTE_ABOVE else None)
        ctx.layout, ctx.scale = layout, scale
        ctx.save_for_backward(q, k, v, *kept)
        return _in_tree_order(rows, layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        layout: Layout = ctx.layout
        kv_heads = k.shape[1]
        dq_rows: list[Tensor] = []
        dk_rows: list[Tensor] = []
        dv_rows: list[Tensor] = []
        above: list[tuple[Tensor, Tensor, Tensor]] = []
        grad = gradients[0]
        for group, p in zip(layout.groups, kept, strict=True):
            dq, dk, dv, dkp, dvp = _group_backward(q, k, v, grad, group, ctx.scale, p)
            dq_rows.append(_tokens_first(dq, group, kv_heads))
            dk_rows.append(_tokens_first(dk, group, kv_heads))
            dv_rows.append(_tokens_first(dv, group, kv_heads))
            if group.ancestors_A is not None and dkp is not None and dvp is not None:
                above.append((group.ancestors_A, dkp, dvp))
        dq, dk, dv = (_in_tree_order(rows, layout) for rows in (dq_rows, dk_rows, dv_rows))
        for ancestors, dkp, dvp in above:
            dk.index_add_(0, ancestors, dkp.transpose(0, 1))
            dv.index_add_(0, ancestors, dvp.transpose(0, 1))
        return dq, dk, dv, None, None


def _ancestors(x: Tensor, group: Group) -> Tensor | None:
    """[T, K, D] to the ancestors' rows, [K, A, D]."""
    if group.ancestors_A is None:
        return None
    return x.index_select(0, group.ancestors_A).transpose(0, 1).contiguous()


def _group_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, group: Group, scale: float, p: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    kv_heads = k.shape[1]
    qs, ks, vs = (
        _heads_first(q, group, kv_heads).mul_(scale),
        _heads_first(k, group, kv_heads),
        _heads_first(v, group, kv_heads),
    )
    kp, vp = _ancestors(k, group), _ancestors(v, group)
    if p is None:
        p = _weights(qs, ks, group, kv_heads, kp)
    padded = grad.new_zeros(len(group.token_of_slot_SN), *grad.shape[1:])
    padded[group.slot_of_token] = grad.index_select(0, group.token_of_slot_SN[group.slot_of_token])
    s, n, d = group.num_segments, group.length, grad.shape[-1]
    g = padded.view(s, n, kv_heads, -1, d).permute(0, 2, 3, 1, 4).reshape(s * kv_heads, -1, d)
    a = 0 if kp is None else kp.shape[1]
    dv = torch.bmm(p[..., a:].transpose(1, 2), g)
    dp = torch.bmm(g, vs.transpose(1, 2))
    if kp is None or vp is None:
        ds = (dp - (dp * p).sum(-1, keepdim=True)).mul_(p)
        return torch.bmm(ds, ks).mul_(scale), torch.bmm(ds.transpose(1, 2), qs), dv, None, None
    gf = _shared(g, group, kv_heads)
    dvp = torch.bmm(_shared(p[..., :a], group, kv_heads).transpose(1, 2), gf)
    dp = torch.cat([_unshared(torch.bmm(gf, vp.transpose(1, 2)), group, kv_heads), dp], -1)
    ds = (dp - (dp * p).sum(-1, keepdim=True)).mul_(p)
    ds_above, ds_own = _shared(ds[..., :a], group, kv_heads), ds[..., a:]
    dkp = torch.bmm(ds_above.transpose(1, 2), _shared(qs, group, kv_heads))
    dq = torch.bmm(ds_own, ks) + _unshared(torch.bmm(ds_above, kp), group, kv_heads)
    return dq.mul_(scale), torch.bmm(ds_own.transpose(1, 2), qs), dv, dkp, dvp


def _group_with_window(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    group: Group,
    layout: Layout,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One group with a sliding window by position, a soft cap, or both, in plain differentiable products."""
    kv_heads, n = k.shape[1], group.length
    qs = _heads_first(q, group, kv_heads)
    ks, vs = _heads_first(k, group, kv_heads), _heads_first(v, group, kv_heads)
    position_SN = layout.position_T[group.token_of_slot_SN].view(-1, n)
    hidden = _future_NN(n, q.device).expand(len(position_SN), n, n)
    scores, values_position = torch.bmm(qs, ks.transpose(1, 2)), position_SN
    if group.ancestors_A is not None:
        kp = _ancestors(k, group)
        assert kp is not None
        above = _unshared(torch.bmm(_shared(qs, group, kv_heads), kp.transpose(1, 2)), group, kv_heads)
        scores = torch.cat([above, scores], -1)
        values_position = torch.cat(
            [layout.position_T[group.ancestors_A].expand(len(position_SN), -1), position_SN], -1
        )
        hidden = torch.cat([hidden.new_zeros(len(position_SN), n, above.shape[-1]), hidden], -1)
    if window is not None:
        hidden = hidden | (position_SN[:, :, None] - values_position[:, None, :] >= window)
    scores = scores.float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.view(len(position_SN), kv_heads, -1, n, scores.shape[-1])
    p = scores.masked_fill(hidden[:, None, None], torch.finfo(scores.dtype).min).softmax(-1).to(q.dtype)
    p = p.view(len(position_SN) * kv_heads, -1, p.shape[-1])
    out = torch.bmm(p[..., -n:], vs)
    vp = _ancestors(v, group)
    if vp is not None:
        out = out + _unshared(torch.bmm(_shared(p[..., :-n], group, kv_heads), vp), group, kv_heads)
    return _tokens_first(out, group, kv_heads)
