"""A probe batch decides, once per model, whether packing is exact for it and whether its head is understood."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.batch import Batch, Sample, TokenRow
from etude.errors import ModelError
from etude.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.loaded import Way

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-6}
ROUNDING, FURTHEST = 0.2, 2.0
"""Nats, mean and largest: products of other shapes round differently in 16 bits (seen: 0.08 and 0.4, as far as each way
is from float32), a wrong mask differs by whole nats."""


def proven_way(module: PreTrainedModel, *, where: str) -> Way:
    """The fastest way that gives this model's own log-probabilities; says so where that is not a packed one.

    Raises:
        ModelError: not even unpacked rows agree, so the model's head does something that scoring does not know.
    """
    from etude.models import fused
    from etude.models.scoring import score

    batch = probe_batch(module.config.get_text_config().vocab_size).to(module.device)
    candidates: tuple[Way, ...] = ("fused", "tree", "rows") if fused.prepare(module) else ("tree", "rows")
    distance = float("inf")
    with torch.no_grad():
        plain_S = _plain_log_probabilities(module, batch)
        for way in candidates:
            mean, distance = _distances(score(module, batch, way=way), plain_S)
            exact = TOLERANCE.get(module.dtype)
            if distance <= exact if exact is not None else mean <= ROUNDING and distance <= FURTHEST:
                if way == "rows":
                    log.warning("%s cannot be packed (own masks or state): rows are padded, which is slower", where)
                return way
    raise ModelError(
        f"its log-probabilities cannot be reproduced (difference {distance:.2g} nats)",
        where=where,
        remedy="the architecture changes its logits in a way that scoring does not know yet",
    )


def probe_batch(vocabulary: int) -> Batch:
    """Four rows with a shared prefix, a nested branch and a row that starts apart; all tokens are learned."""
    generator = torch.Generator().manual_seed(7)
    low = min(16, vocabulary // 4)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, vocabulary, (n,), generator=generator).tolist())

    prefix, branch = draw(11), draw(9)
    rows = [prefix + draw(7), prefix + branch + draw(5), prefix + branch + draw(12), draw(14)]
    return pack(
        [Sample(str(i), (TokenRow(row, (0.0, *[1.0] * (len(row) - 1))),)) for i, row in enumerate(rows)], min_shared=4
    )


def _plain_log_probabilities(module: PreTrainedModel, batch: Batch) -> Tensor:
    """By the model's own forward pass, each path from the root alone, the whole vocabulary."""
    from etude.models.rows import leaf_paths

    log_probability_at: dict[int, Tensor] = {}
    for path in leaf_paths(batch):
        logits = module(input_ids=batch.tokens_T[path.to(module.device)][None], use_cache=False).logits[0]
        log_probabilities = logits.float().log_softmax(-1).cpu()
        log_probability_at.update(zip(path.tolist(), log_probabilities, strict=True))
    return torch.stack([log_probability_at[int(s)][t] for s, t in zip(batch.site_S, batch.target_S, strict=True)])


def _distances(a_S: Tensor, b_S: Tensor) -> tuple[float, float]:
    """Mean and largest difference; infinite where one is not a number."""
    difference = (a_S.cpu() - b_S.cpu()).abs()
    if bool(difference.isnan().any()):
        return float("inf"), float("inf")
    return float(difference.mean()), float(difference.max())
