"""The fast way through llama-like models on a CPU: each decoder layer as two hand-differentiated halves.

It computes what transformers' own layers compute, from the same weights, with joined products, the packed tree's
attention and the C kernels in between; adapters are part of the products. The last layer's feed-forward half, the norm
and the head see the scored sites alone. `models.load` proves it equal on a probe batch before it is used.

Shape letters: T tokens of the tree, S sites, E hidden size, I intermediate size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from etude.models import kernels, products
from etude.models.fused_attention import Heads, Rotation, attend, attend_backward
from etude.models.layers.virtual import PrefixedLinear
from etude.models.layout import Layout
from etude.models.projections import Projections, adopt
from etude.models.recompute import GIVE_BACK_EVERY, GivenBack, again

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYERS = frozenset({"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer"})
QKV = ("q_proj", "k_proj", "v_proj")
GATE_UP = ("gate_proj", "up_proj")


@dataclass(frozen=True, slots=True)
class Norm:
    """A root-mean-square norm (https://arxiv.org/abs/1910.07467)."""

    weight_E: Tensor
    eps: float

    @staticmethod
    def read(module: Any) -> Norm:
        return Norm(module.weight, float(module.variance_epsilon))

    def forward(self, x_TE: Tensor) -> tuple[Tensor, Tensor]:
        """The normed rows, and the reciprocal of each row's root mean square, float32 [T]."""
        out, rstd = torch.empty_like(x_TE), torch.empty(len(x_TE), dtype=torch.float32)
        kernels.run("rms_norm", x_TE, self.weight_E.detach(), out, rstd, *x_TE.shape, self.eps)
        return out, rstd

    def backward(
        self, dy_TE: Tensor, x_TE: Tensor, rstd: Tensor, residual_TE: Tensor, *, need_weight: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient of the input added to the residual's, and of the weight where it is wanted."""
        dx = torch.empty_like(x_TE)
        parts = torch.zeros(torch.get_num_threads(), x_TE.shape[1]) if need_weight else None
        kernels.run("rms_norm_backward", dy_TE, x_TE, self.weight_E.detach(), rstd, residual_TE, dx, parts, *x_TE.shape)
        return dx, None if parts is None else parts.sum(0).to(self.weight_E.dtype)


@dataclass(frozen=True, slots=True)
class AttentionHalf:
    """x + out(attention(qkv(norm(x))))."""

    norm: Norm
    qkv: Projections
    out: Projections
    heads: Heads
    window: int | None
    prefix: Tensor | None = None
    """Keys and values of the first tokens that are learned outright."""

    @property
    def parameters(self) -> list[Tensor]:
        prefix = [] if self.prefix is None else [self.prefix]
        return [self.norm.weight_E, *self.qkv.parameters, *self.out.parameters, *prefix]


@dataclass(frozen=True, slots=True)
class FeedForwardHalf:
    """x + down(silu(gate(norm(x))) * up(norm(x))) (https://arxiv.org/abs/2002.05202)."""

    norm: Norm
    gate_up: Projections
    down: Projections

    @property
    def parameters(self) -> list[Tensor]:
        return [self.norm.weight_E, *self.gate_up.parameters, *self.down.parameters]


def prepare(module: PreTrainedModel) -> bool:
    """Joins the weights of a model that could go the fast way; whether it could."""
    if not kernels.computes(module.get_input_embeddings().weight):  # type: ignore[arg-type]
        return False
    layers = getattr(module.base_model, "layers", None)
    if layers is None or any(type(layer).__name__ not in LAYERS for layer in layers):
        return False
    for layer in layers:
        adopt([getattr(layer.self_attn, name) for name in QKV])
        adopt([getattr(layer.mlp, name) for name in GATE_UP])
        kernels.give_back_memory()  # else all parts wait beside their wholes
    return read_halves(module) is not None


def read_halves(module: PreTrainedModel) -> list[tuple[AttentionHalf, FeedForwardHalf]] | None:
    """The layers as they are now, with what a technique attached; None where it attached what is not known here."""
    config = module.config.get_text_config()
    found: list[tuple[AttentionHalf, FeedForwardHalf]] = []
    for layer in cast("Sequence[Any]", module.base_model.layers):
        attention, mlp, is_mistral = layer.self_attn, layer.mlp, type(layer).__name__ == "MistralDecoderLayer"
        if config.hidden_act not in ("silu", "swish") or attention.head_dim % 2:
            return None
        groups = (
            [getattr(attention, name) for name in QKV],
            [attention.o_proj],
            [getattr(mlp, name) for name in GATE_UP],
            [mlp.down_proj],
        )
        prefix = _prefix(groups[0])
        qkv, out, gate_up, down = (Projections.read(group) for group in groups)
        if qkv is None or out is None or gate_up is None or down is None:
            return None
        q, k, _ = (one.out_features // attention.head_dim for one in qkv.linears)
        heads = Heads(query=q, key=k, size=attention.head_dim, scale=attention.scaling)
        norms = layer.input_layernorm, layer.post_attention_layernorm
        if not all(hasattr(norm, "variance_epsilon") for norm in norms):
            return None
        first, second = map(Norm.read, norms)
        window = getattr(attention, "sliding_window", None) or (config.sliding_window if is_mistral else None)
        attention_half = AttentionHalf(first, qkv, out, heads, window, prefix)
        found.append((attention_half, FeedForwardHalf(second, gate_up, down)))
    return found


def _prefix(qkv: list[Any]) -> Tensor | None:
    """The learned keys and values of virtual tokens beside each other, and the base's projections in their place."""
    prefixed = [one for one in qkv if isinstance(one, PrefixedLinear)]
    qkv[:] = [one.base if isinstance(one, PrefixedLinear) else one for one in qkv]
    return torch.cat([one.prefix for one in prefixed], dim=1) if prefixed and prefixed[0].enabled else None


def site_states(
    module: PreTrainedModel, tokens_T: Tensor, layout: Layout, site_S: Tensor, *, step: int, recompute: bool
) -> Tensor | None:
    """Final hidden states at the sites, [S, E]; None where this model or batch must go another way.

    Where only the sites are computed their number is rounded up to a multiple of `step`. With `recompute` a layer keeps
    its input alone, and computes the rest again in the backward pass.
    """
    halves = read_halves(module)
    windows = [one.window for one, _ in halves or () if one.window is not None]
    if halves is None or (windows and int(layout.position_T.max()) >= min(windows)):
        return None
    base = cast("Any", module.base_model)
    x = base.embed_tokens(tokens_T)
    cos, sin = base.rotary_emb(torch.empty(0, dtype=torch.float32), layout.position_T[None])
    half = cos.shape[-1] // 2
    rotation = Rotation(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())
    padded_S = torch.nn.functional.pad(site_S, (0, -len(site_S) % step))
    *most, last = halves
    for at, halves_of_layer in enumerate(most):
        if recompute and at and at % GIVE_BACK_EVERY == 0:
            x = GivenBack.apply(x)  # type: ignore[no-untyped-call]
        arguments = (x, halves_of_layer, layout, rotation)
        x = again(_layer, *arguments) if recompute else _layer(*arguments)
    attention, feed_forward = last
    x = _attend(x, attention, layout, rotation)
    if len(padded_S) < len(tokens_T):
        x = x.index_select(0, padded_S)
    x = _feed_forward(x, feed_forward)
    if len(padded_S) >= len(tokens_T):
        x = x.index_select(0, site_S)
    out = _FinalNorm.apply(x, Norm.read(base.norm), base.norm.weight)  # type: ignore[no-untyped-call]
    return cast("Tensor", out)[: len(site_S)]


def _layer(x: Tensor, halves: tuple[AttentionHalf, FeedForwardHalf], layout: Layout, rotation: Rotation) -> Tensor:
    return _feed_forward(_attend(x, halves[0], layout, rotation), halves[1])


def _attend(x: Tensor, half: AttentionHalf, layout: Layout, rotation: Rotation) -> Tensor:
    return cast("Tensor", _Attention.apply(x, half, layout, rotation, *half.parameters))  # type: ignore[no-untyped-call]


def _feed_forward(x: Tensor, half: FeedForwardHalf) -> Tensor:
    return cast("Tensor", _FeedForward.apply(x, half, *half.parameters))  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, half: AttentionHalf, layout: Layout, rotation: Rotation, *parameters: Tensor
    ) -> Tensor:
        h, rstd = half.norm.forward(x)
        z, kept_qkv = half.qkv.forward(h)
        if half.prefix is not None:
            z[: len(half.prefix), -half.prefix.shape[1] :] = half.prefix.detach()
        mixed, kept_attention = attend(z, half.heads, layout, rotation)
        y, kept_out = half.out.forward(mixed, residual_TO=x)
        ctx.half, ctx.layout, ctx.rotation = half, layout, rotation
        ctx.sizes = 3, len(kept_qkv), len(kept_out), len(kept_attention)
        ctx.save_for_backward(x, rstd, mixed, *kept_qkv, *kept_out, *kept_attention)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        half: AttentionHalf = ctx.half
        (x, rstd, mixed), kept_qkv, kept_out, kept_attention = _parts(ctx)
        dy = gradients[0].contiguous()
        need_x, needs = ctx.needs_input_grad[0], ctx.needs_input_grad[4:]
        split = 1 + len(half.qkv.parameters)
        end = split + len(half.out.parameters)
        d_low = half.out.low_gradient(dy, kept_out)
        d_mixed = half.out.input_gradient(dy, kept_out, d_low)
        of_out = half.out.gradients(dy, mixed, kept_out, d_low, needs[split:end])
        dz = attend_backward(d_mixed, kept_attention, half.heads, ctx.layout, ctx.rotation)
        d_prefix: list[Tensor | None] = []
        if half.prefix is not None:
            part = dz[: len(half.prefix), -half.prefix.shape[1] :]
            d_prefix = [part.to(torch.float32, copy=True)]
            part.zero_()
        h, _ = half.norm.forward(x)
        d_low = half.qkv.low_gradient(dz, kept_qkv)
        of_qkv = half.qkv.gradients(dz, h, kept_qkv, d_low, needs[1:split])
        dx = dw = None
        if need_x or needs[0]:
            dh = half.qkv.input_gradient(dz, kept_qkv, d_low)
            dx, dw = half.norm.backward(dh, x, rstd, dy, need_weight=needs[0])
        return dx, None, None, None, dw, *of_qkv, *of_out, *d_prefix


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: FeedForwardHalf, *parameters: Tensor) -> Tensor:
        h, rstd = half.norm.forward(x)
        kept_gate_up = half.gate_up.low_rank(h)
        low = half.gate_up.added(kept_gate_up)
        gate_up, activated = products.forward_swiglu(h, half.gate_up.weight_OI, half.gate_up.bias_O, low)
        y, kept_down = half.down.forward(activated, residual_TO=x)
        ctx.half = half
        ctx.sizes = 3, len(kept_gate_up), len(kept_down)
        ctx.save_for_backward(x, rstd, gate_up, *kept_gate_up, *kept_down)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        half: FeedForwardHalf = ctx.half
        (x, rstd, gate_up), kept_gate_up, kept_down = _parts(ctx)
        dy = gradients[0].contiguous()
        needs = ctx.needs_input_grad[2:]
        split = 1 + len(half.gate_up.parameters)
        d_low = half.down.low_gradient(dy, kept_down)
        low = None if d_low is None else (d_low, kept_down[0])
        d_gate_up, activated = products.backward_swiglu(dy, half.down.weight_OI, low, gate_up)
        of_down = half.down.gradients(dy, activated, kept_down, d_low, needs[split:])
        h, _ = half.norm.forward(x)
        d_low = half.gate_up.low_gradient(d_gate_up, kept_gate_up)
        of_gate_up = half.gate_up.gradients(d_gate_up, h, kept_gate_up, d_low, needs[1:split])
        dh = half.gate_up.input_gradient(d_gate_up, kept_gate_up, d_low)
        dx, dw = half.norm.backward(dh, x, rstd, dy, need_weight=needs[0])
        return dx, None, dw, *of_gate_up, *of_down


def _parts(ctx: Any) -> Iterator[tuple[Any, ...]]:
    """The saved tensors, cut as they were put together."""
    saved, start = ctx.saved_tensors, 0
    for size in ctx.sizes:
        yield saved[start : start + size]
        start += size


class _FinalNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Norm, weight: Tensor) -> Tensor:
        out, rstd = norm.forward(x)
        ctx.norm = norm
        ctx.save_for_backward(x, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, rstd = ctx.saved_tensors
        dy = gradients[0].contiguous()
        dx, dw = ctx.norm.backward(dy, x, rstd, torch.zeros_like(x), need_weight=ctx.needs_input_grad[2])
        return dx, None, dw
