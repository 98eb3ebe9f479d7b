"""A probe batch decides, once per model, whether packing is exact for it and whether its head is understood."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.batch import Batch, Sample, TokenRow
from etude.errors import ModelError
from etude.models.asked import windows_of
from etude.models.attention import attention_set_to, follows
from etude.models.precision import dtype_of
from etude.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.loaded import Way

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-6}
ROUNDING, FURTHEST = 0.2, 2.0
"""Nats, mean and largest: products of other shapes round differently in 16 bits (seen: 0.08 and 0.4, as far as each way
is from float32), a wrong mask differs by whole nats."""
LONGEST_WINDOW = 128
"""Sliding windows up to this length are looked beyond; what longer ones ask for is read off the model's masks."""


def proven_way(module: PreTrainedModel, *, where: str) -> Way:
    """The fastest way that gives this model's own log-probabilities; says so where that is not a packed one.

    A model that is not packed attends with its own implementation from then on.

    Raises:
        ModelError: not even unpacked rows agree, so the model does something that scoring does not know.
    """
    from etude.models.scoring import score

    if module.base_model is module:
        raise ModelError(f"the layers of {type(module).__name__} cannot be asked without its head", where=where)
    trouble, windows = _asked(module)
    batch = probe_batch(module.config.get_text_config().vocab_size, beyond=_reach(windows)).to(module.device)
    distance = float("inf")
    with torch.no_grad():
        with attention_set_to(module, "eager") if follows(module) else nullcontext():
            plain_S = _plain_log_probabilities(module, batch, where)
        for way in _candidates(module, packs=trouble is None):
            if way == "rows" and follows(module):
                module.set_attn_implementation(module.get_correct_attn_implementation(None))
            agrees, distance = _compare(score(module, batch, way=way), plain_S, dtype_of(module))
            if agrees:
                if way == "rows":
                    why = trouble or "own masks or state"
                    log.warning("%s cannot be packed (%s): rows are padded, which is slower", where, why)
                return way
    raise ModelError(
        f"its log-probabilities cannot be reproduced (difference {distance:.2g} nats)",
        where=where,
        remedy="the architecture changes its logits in a way that scoring does not know yet",
    )


def _candidates(module: PreTrainedModel, *, packs: bool) -> tuple[Way, ...]:
    from etude.models import fused

    if not packs:
        return ("rows",)
    return ("fused", "tree", "rows") if fused.prepare(module) else ("tree", "rows")


def _asked(module: PreTrainedModel) -> tuple[str | None, set[int | None]]:
    """Why packed attention cannot be what this model asks for, or None; and the windows that it asks for."""
    if not follows(module):
        return f"{type(module).__name__} attends in its own way", set()
    try:
        return None, windows_of(module)
    except ModelError as error:
        return error.found, set()


def _reach(windows: set[int | None]) -> int:
    """The shortest window that a probe can afford to look beyond."""
    return min((one for one in windows if one is not None and one <= LONGEST_WINDOW), default=0)


def probe_batch(vocabulary: int, *, beyond: int = 0) -> Batch:
    """Four rows, all but one longer than `beyond`, with a shared prefix and a nested branch; all tokens are learned."""
    generator = torch.Generator().manual_seed(7)
    low = min(16, vocabulary // 4)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, vocabulary, (n,), generator=generator).tolist())

    prefix, branch = draw(max(11, beyond - 8)), draw(9)
    rows = [prefix + draw(7), prefix + branch + draw(5), prefix + branch + draw(12), draw(14)]
    return pack(
        [Sample(str(i), (TokenRow(row, (0.0, *[1.0] * (len(row) - 1))),)) for i, row in enumerate(rows)], min_shared=4
    )


def _plain_log_probabilities(module: PreTrainedModel, batch: Batch, where: str) -> Tensor:
    """By the model's own forward pass, each path from the root alone, the whole vocabulary.

    Raises:
        ModelError: the same prefix has other log-probabilities where something else follows.
    """
    from etude.models.rows import leaf_paths

    log_probability_at: dict[int, Tensor] = {}
    for path in leaf_paths(batch):
        logits = module(input_ids=batch.tokens_T[path.to(module.device)][None], use_cache=False).logits[0]
        log_probabilities = logits.float().log_softmax(-1).cpu()
        for token, found in zip(path.tolist(), log_probabilities, strict=True):
            agrees, distance = _compare(log_probability_at.setdefault(token, found), found, dtype_of(module))
            if not agrees and not math.isnan(distance):
                raise ModelError(
                    "its predictions depend on the tokens that follow",
                    where=where,
                    remedy="fine-tuning needs a causal language model",
                )
    sites = zip(batch.site_S.tolist(), batch.target_S.tolist(), strict=True)
    return torch.stack([log_probability_at[site][target] for site, target in sites])


def _compare(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[bool, float]:
    """Whether log-probabilities are the same but for rounding, and the largest difference."""
    difference = (a.cpu() - b.cpu()).abs()
    largest, mean = float(difference.max()), float(difference.mean())
    if dtype in TOLERANCE:
        return largest <= TOLERANCE[dtype], largest
    return mean <= ROUNDING and largest <= FURTHEST, largest
