"""How likely a model finds the ends of rows, and whether it would have written them itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch

from etude.batch import Sample, TokenRow
from etude.models.scoring import CHUNK_NUMBERS, head_logits, site_states, windows
from etude.packing import pack

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]
Continued = tuple[Sequence[int], int]
"""A row's tokens, and how many of them, at its end, are the continuation (at least one, and not the first)."""


def score_continuations(
    model: LoadedModel,
    rows: Sequence[Continued],
    *,
    tokens_per_batch: int = 8192,
    on_progress: OnProgress | None = None,
) -> list[tuple[float, bool]]:
    """For each row (log-probability of its continuation in nats, whether each of its tokens is the likeliest one).

    Neighbouring rows that begin alike (the choices of a question) share what they have in common.
    """
    samples = [
        Sample(str(place), (TokenRow(tokens, (*[0.0] * (len(tokens) - count), *[1.0] * count)),))
        for place, (tokens, count) in enumerate(rows)
    ]
    found: list[tuple[float, bool]] = []
    for start, stop in windows([len(tokens) for tokens, _ in rows], tokens_per_batch):
        batch = pack(samples[start:stop]).to(model.module.device)
        with torch.no_grad():
            states = site_states(model.module, batch, way=model.way)
            nats, likeliest = _at_targets(model, states, batch.target_S)
        counts = [count for _, count in rows[start:stop]]
        for these, those in zip(nats.split(counts), likeliest.split(counts), strict=True):
            found.append((math.fsum(these.tolist()), bool(those.all())))
        if on_progress is not None:
            on_progress(stop, len(rows))
    return found


def _at_targets(model: LoadedModel, states_SE: Tensor, target_S: Tensor) -> tuple[Tensor, Tensor]:
    vocabulary = cast("int", model.module.get_output_embeddings().weight.shape[0])
    size = max(1, CHUNK_NUMBERS // vocabulary)
    nats, likeliest = [], []
    for states, targets in zip(states_SE.split(size), target_S.split(size), strict=True):
        logits = head_logits(model.module, states)
        nats.append(logits.log_softmax(-1).gather(1, targets[:, None])[:, 0].cpu())
        likeliest.append((logits.argmax(-1) == targets).cpu())
    return torch.cat(nats), torch.cat(likeliest)
