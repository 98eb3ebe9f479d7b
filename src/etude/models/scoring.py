"""The one place where hidden states become log-probabilities: at the sites only, in chunks, never [T, vocabulary].

Shape letters: T tokens of the tree, S sites, E hidden size, V vocabulary, C sites of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.batch import Batch, TokenRow
from etude.models.attention import tree_layout
from etude.models.layout import layout_of
from etude.models.rows import hidden_row_by_row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.loaded import LoadedModel

CHUNK_NUMBERS = 1 << 24
"""Most logits held at once."""
COMPILED_STEP = 64
"""Token and site counts of 16-bit batches are rounded up to this."""
PLAIN_STEP = 8
"""The same for float32, whose products need no compiling."""


def step_of(dtype: torch.dtype) -> int:
    """Token and site counts are rounded up to this: for 16-bit products a CPU library compiles each new shape."""
    return PLAIN_STEP if dtype == torch.float32 else COMPILED_STEP


def score(module: PreTrainedModel, batch: Batch, *, packs: bool = True) -> Tensor:
    """Log-probability in nats of each site's target, float32 [S], differentiable in every trainable weight."""
    hidden_TE = hidden_states(module, batch) if packs else hidden_row_by_row(module, batch)
    return _log_probabilities(module, hidden_TE.index_select(0, batch.site_S), batch.target_S)


def hidden_states(module: PreTrainedModel, batch: Batch) -> Tensor:
    """Final hidden states of a packed tree, [T, E], before the head."""
    num_tokens = len(batch.tokens_T)
    padding = -num_tokens % step_of(module.dtype)
    layout = layout_of(batch, padding=padding)
    tokens = nn.functional.pad(batch.tokens_T, (0, padding))
    position = nn.functional.pad(batch.position_T, (0, padding))
    with tree_layout(layout):
        out = module.base_model(input_ids=tokens[None], position_ids=position[None], use_cache=False)
    return cast("Tensor", out.last_hidden_state[0, :num_tokens])


def _log_probabilities(module: PreTrainedModel, hidden_SE: Tensor, target_S: Tensor) -> Tensor:
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


class HeadLogProbabilities(torch.autograd.Function):
    """log softmax(h Wᵀ + b) at the targets; logits are computed again in the backward pass rather than kept."""

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
        logits = _transformed(nn.functional.linear(hidden_CE, weight_VE, bias_V), scale, softcap)
        normalizer_C = logits.logsumexp(-1)
        ctx.save_for_backward(hidden_CE, weight_VE, bias_V, target_C, normalizer_C)
        ctx.scale, ctx.softcap = scale, softcap
        return logits.gather(1, target_C[:, None])[:, 0] - normalizer_C

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_CE, weight_VE, bias_V, target_C, normalizer_C = ctx.saved_tensors
        grad_C = gradients[0]
        logits = _transformed(nn.functional.linear(hidden_CE, weight_VE, bias_V), ctx.scale, ctx.softcap)
        slope = None if ctx.softcap is None else 1 - (logits / ctx.softcap).square()
        d_logits = logits.sub_(normalizer_C[:, None]).exp_().mul_(-grad_C[:, None])
        d_logits.scatter_add_(1, target_C[:, None], grad_C[:, None])
        if slope is not None:
            d_logits.mul_(slope)
        if ctx.scale != 1.0:
            d_logits.mul_(ctx.scale)
        d_logits = d_logits.to(hidden_CE.dtype)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        return (
            d_logits @ weight_VE if need_hidden else None,
            d_logits.t() @ hidden_CE if need_weight else None,
            d_logits.float().sum(0).to(hidden_CE.dtype) if need_bias and bias_V is not None else None,
            None,
            None,
            None,
        )


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
    for start, stop in _windows([len(row.tokens) for row in rows], tokens_per_batch):
        batch = pack(samples[start:stop])
        with torch.no_grad():
            log_probabilities_S = score(model.module, batch.to(model.module.device), packs=model.packs).cpu()
        scored += list(log_probabilities_S.split([len(row.tokens) - 1 for row in rows[start:stop]]))
        if on_progress is not None:
            on_progress(stop, len(rows))
    return scored


def _windows(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Consecutive runs of rows whose lengths add up to at most `limit` (at least one row each)."""
    windows: list[tuple[int, int]] = []
    start = total = 0
    for i, length in enumerate(lengths):
        if i > start and total + length > limit:
            windows.append((start, i))
            start, total = i, 0
        total += length
    return [*windows, (start, len(lengths))] if lengths else []
