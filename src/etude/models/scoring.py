"""The one place where hidden states become log-probabilities: at the sites only, in chunks, never [T, vocabulary].

Shape letters: T tokens of the tree, S sites, E hidden size, V vocabulary, C sites of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.batch import Batch, TokenRow
from etude.models import fused, kernels, products
from etude.models import recompute as recomputing
from etude.models.attention import tree_layout
from etude.models.gpu_kernels import BLOCK
from etude.models.layers.virtual import led
from etude.models.layout import Layout, layout_of
from etude.models.lengths import packs_at_this_length
from etude.models.loaded import Way
from etude.models.precision import dtype_of
from etude.models.rows import site_states_by_row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.loaded import LoadedModel
    from etude.models.options import Checkpointing

CHUNK_NUMBERS = 1 << 24
"""Most logits held at once."""
KEPT_NUMBERS = 1 << 23
"""Chunks of up to this many logits wait for their gradient (16 MiB in 16 bits)."""
COMPILED_STEP = 64
"""Token and site counts of 16-bit batches are rounded up to this."""
PLAIN_STEP = 8
"""The same for float32, whose products need no compiling."""


def step_of(dtype: torch.dtype) -> int:
    """Token and site counts are rounded up to this: for 16-bit products a CPU library compiles each new shape."""
    return PLAIN_STEP if dtype == torch.float32 else COMPILED_STEP


def score(
    module: PreTrainedModel, batch: Batch, *, way: Way = "tree", checkpointing: Checkpointing = "never"
) -> Tensor:
    """Log-probability in nats of each site's target, float32 [S], differentiable in every trainable weight."""
    return log_probabilities(module, site_states(module, batch, way=way, checkpointing=checkpointing), batch.target_S)


def log_distributions(module: PreTrainedModel, batch: Batch, *, way: Way = "tree") -> Tensor:
    """Log-probability in nats of every token at each site, float32 [S, V]: for a handful of sites."""
    return head_logits(module, site_states(module, batch, way=way)).log_softmax(-1)


def site_states(
    module: PreTrainedModel, batch: Batch, *, way: Way = "tree", checkpointing: Checkpointing = "never"
) -> Tensor:
    """Final hidden states at the sites, [S, E], before the head."""
    batch = led(module, batch)
    recompute = recomputing.is_wanted(module, len(batch.tokens_T), checkpointing)
    with _memory_given_back() if recompute else nullcontext():
        return _site_states(module, batch, way, recompute=recompute)


@contextmanager
def _memory_given_back() -> Iterator[None]:
    """Where a pass is long and memory short, pieces that the pass before and its forward half left are not kept."""
    kernels.give_back_memory()
    yield
    kernels.give_back_memory()


def _site_states(module: PreTrainedModel, batch: Batch, way: Way, *, recompute: bool) -> Tensor:
    if not packs_at_this_length(module, batch) or way == "rows":
        return site_states_by_row(module, batch)
    if way == "fused":
        step = products.TILE if products.takes_any_length(dtype_of(module)) else step_of(dtype_of(module))
        tokens, layout = _padded(module, batch, step=step)
        states = fused.site_states(module, tokens, layout, batch.site_S, step=step, recompute=recompute)
        if states is not None:
            return states
    return hidden_states(module, batch, recompute=recompute).index_select(0, batch.site_S)


def _padded(module: PreTrainedModel, batch: Batch, *, step: int | None = None) -> tuple[Tensor, Layout]:
    """Token ids and layout of a batch, rounded up to a length that comes again."""
    padding = -len(batch.tokens_T) % (BLOCK if batch.tokens_T.is_cuda else step or step_of(dtype_of(module)))
    return nn.functional.pad(batch.tokens_T, (0, padding)), layout_of(batch, padding=padding)


def hidden_states(module: PreTrainedModel, batch: Batch, *, recompute: bool = False) -> Tensor:
    """Final hidden states of a packed tree, [T, E], before the head."""
    tokens, layout = _padded(module, batch)
    with tree_layout(layout), recomputing.recomputed_layers(module, layout) if recompute else nullcontext():
        out = module.base_model(input_ids=tokens[None], position_ids=layout.position_T[None], use_cache=False)
    return cast("Tensor", out.last_hidden_state[0, : len(batch.tokens_T)])


def log_probabilities(module: PreTrainedModel, hidden_SE: Tensor, target_S: Tensor) -> Tensor:
    """Of each site's target in nats, from the states before the head: float32 [S]."""
    head = module.get_output_embeddings()
    scale, softcap = _head_transform(module)
    vocabulary = cast("int", head.weight.shape[0])
    step = step_of(hidden_SE.dtype)
    chunk = max(step, CHUNK_NUMBERS // vocabulary // step * step)
    parts: list[Tensor] = []
    for start in range(0, len(target_S), chunk):
        hidden, target = hidden_SE[start : start + chunk], target_S[start : start + chunk]
        padding = -len(target) % step
        hidden = nn.functional.pad(hidden, (0, 0, 0, padding))
        target = nn.functional.pad(target, (0, padding))
        if type(head) is nn.Linear:
            out = HeadLogProbabilities.apply(hidden, head.weight, head.bias, target, scale, softcap)  # type: ignore[no-untyped-call]
            part = cast("Tensor", out)
        else:
            part = cast("Tensor", checkpoint(_through_head, head, hidden, target, scale, softcap, use_reentrant=False))
        parts.append(part[: len(target) - padding])
    return torch.cat(parts) if parts else hidden_SE.new_zeros(0, dtype=torch.float32)


@torch.no_grad()
def log_squares(module: PreTrainedModel, hidden_SE: Tensor) -> Tensor:
    """Logarithm of the sum of all tokens' squared probabilities at each site, float32 [S], without gradient."""
    chunk = max(1, CHUNK_NUMBERS // cast("int", module.get_output_embeddings().weight.shape[0]))
    parts = [(2 * head_logits(module, part).log_softmax(-1)).logsumexp(-1) for part in hidden_SE.split(chunk)]
    return torch.cat(parts) if parts else hidden_SE.new_zeros(0, dtype=torch.float32)


def head_logits(module: PreTrainedModel, hidden_SE: Tensor) -> Tensor:
    """Logits as the family makes them, float32 [S, V]: for a chunk of sites."""
    head = cast("Any", module.get_output_embeddings())
    return _transformed(head(hidden_SE), *_head_transform(module))


def _head_transform(module: PreTrainedModel) -> tuple[float, float | None]:
    """What a family does to its logits: a factor (cohere, granite) and a soft cap (gemma2)."""
    config = module.config.get_text_config()
    settings = config.to_dict()
    scale = float(settings.get("logit_scale") or 1.0) / float(settings.get("logits_scaling") or 1.0)
    return scale, settings.get("final_logit_softcapping")


def _transformed(logits: Tensor, scale: float, softcap: float | None) -> Tensor:
    logits = logits.float()
    if scale != 1.0:
        logits = logits * scale
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


def _through_head(head: nn.Module, hidden: Tensor, target: Tensor, scale: float, softcap: float | None) -> Tensor:
    logits = _transformed(head(hidden), scale, softcap)
    return logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(-1)


def _gradient_of_logits(
    raw: Tensor, target_C: Tensor, normalizer_C: Tensor, grad_C: Tensor, scale: float, softcap: float | None
) -> Tensor:
    logits = _transformed(raw, scale, softcap)
    slope = None if softcap is None else 1 - (logits / softcap).square()
    found = (logits - normalizer_C[:, None]).exp_().mul_(-grad_C[:, None])
    found.scatter_add_(1, target_C[:, None], grad_C[:, None])
    if slope is not None:
        found.mul_(slope)
    return found.mul_(scale).to(raw.dtype)


class HeadLogProbabilities(torch.autograd.Function):
    """log softmax(h Wᵀ + b) at the targets.

    Under a frozen head the gradient of h is known up to each site's factor as soon as the logits are there, so it is
    what is kept; else the logits are, if they are few, or are computed again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_CE: Tensor,
        weight_VE: Tensor,
        bias_V: Tensor | None,
        target_C: Tensor,
        scale: float,
        softcap: float | None,
    ) -> Tensor:
        logits = _logits(hidden_CE, weight_VE, bias_V)
        ctx.scale, ctx.softcap, ctx.logits, ctx.plain = scale, softcap, None, scale == 1.0 and softcap is None
        if ctx.plain and kernels.computes(logits):
            at_target_C, normalizer_C = (torch.empty(len(logits)) for _ in range(2))
            kernels.run("log_softmax_at", logits, target_C, at_target_C, normalizer_C, *logits.shape)
        else:
            transformed = _transformed(logits, scale, softcap)
            normalizer_C = transformed.logsumexp(-1)
            at_target_C = transformed.gather(1, target_C[:, None])[:, 0] - normalizer_C
        slope_CE = None
        if ctx.needs_input_grad[:3] == (True, False, False):
            ones_C = torch.ones_like(at_target_C)
            d_logits = _logits_gradient(ctx, logits, target_C, normalizer_C, ones_C)
            slope_CE = products.product(d_logits, weight_VE)
        elif any(ctx.needs_input_grad) and logits.numel() <= KEPT_NUMBERS:
            ctx.logits = logits
        ctx.save_for_backward(hidden_CE, weight_VE, bias_V, target_C, normalizer_C, slope_CE)
        return at_target_C

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_CE, weight_VE, bias_V, target_C, normalizer_C, slope_CE = ctx.saved_tensors
        grad_C = gradients[0].contiguous()
        if slope_CE is not None:
            return slope_CE * grad_C[:, None].to(slope_CE.dtype), None, None, None, None, None
        logits, ctx.logits = ctx.logits, None  # the gradient takes their memory
        if logits is None:
            logits = _logits(hidden_CE, weight_VE, bias_V)
        d_logits = _logits_gradient(ctx, logits, target_C, normalizer_C, grad_C)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        return (
            products.product(d_logits, weight_VE) if need_hidden else None,
            products.product(d_logits.t(), hidden_CE) if need_weight else None,
            d_logits.float().sum(0).to(hidden_CE.dtype) if need_bias and bias_V is not None else None,
            None,
            None,
            None,
        )


def _logits(hidden_CE: Tensor, weight_VE: Tensor, bias_V: Tensor | None) -> Tensor:
    return products.product(hidden_CE, weight_VE.t(), residual=bias_V)


def _logits_gradient(ctx: Any, logits: Tensor, target_C: Tensor, normalizer_C: Tensor, grad_C: Tensor) -> Tensor:
    """The gradient of the logits, in their own memory where that can be."""
    if not (ctx.plain and kernels.computes(logits)):
        return _gradient_of_logits(logits, target_C, normalizer_C, grad_C, ctx.scale, ctx.softcap)
    kernels.run("log_softmax_gradient", logits, target_C, normalizer_C, grad_C, *logits.shape)
    return logits


def score_rows(
    model: LoadedModel,
    rows: Sequence[TokenRow],
    *,
    tokens_per_batch: int = 8192,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """For each row, the log-probabilities in nats of its tokens 1..n-1 given those before; float32, no gradient."""
    from etude.batch import Sample
    from etude.packing import pack

    scored: list[Tensor] = []
    samples = [
        Sample(str(i), (TokenRow(row.tokens, (0.0, *[1.0] * (len(row.tokens) - 1))),)) for i, row in enumerate(rows)
    ]
    for start, stop in windows([len(row.tokens) for row in rows], tokens_per_batch):
        batch = pack(samples[start:stop])
        with torch.no_grad():
            log_probabilities_S = score(model.module, batch.to(model.module.device), way=model.way).cpu()
        scored += list(log_probabilities_S.split([len(row.tokens) - 1 for row in rows[start:stop]]))
        if on_progress is not None:
            on_progress(stop, len(rows))
    return scored


def windows(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Consecutive runs of rows whose lengths add up to at most `limit` (at least one row each)."""
    windows: list[tuple[int, int]] = []
    start = total = 0
    for i, length in enumerate(lengths):
        if i > start and total + length > limit:
            windows.append((start, i))
            start, total = i, 0
        total += length
    return [*windows, (start, len(lengths))] if lengths else []
