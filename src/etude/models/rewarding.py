"""What a value head says of whole rows, and how likely a model finds their answers: no gradient, many rows a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from etude.batch import Sample, TokenRow
from etude.errors import ModelError
from etude.models.loaded import LoadedModel
from etude.models.scoring import log_probabilities, site_states, windows
from etude.packing import pack

TOKENS_PER_PASS = 4096
OnProgress = Callable[[int, int], None]


def rewards_of(
    model: LoadedModel, rows: Sequence[Sequence[int]], *, on_progress: OnProgress | None = None
) -> list[float]:
    """The value head's number at the last token of each row.

    Raises:
        ModelError: the model has no value head.
    """
    head = model.value_head
    if head is None:
        raise ModelError(
            "is no reward model: it has no value head", where=model.name, remedy="train with objective.kind=reward"
        )
    ended = [TokenRow((*row, row[-1]), (*[0.0] * len(row), 1.0)) for row in rows]
    found: list[float] = []
    for start, stop in windows([len(row) for row in rows], TOKENS_PER_PASS):
        batch = pack([Sample(str(at), (ended[at],)) for at in range(start, stop)]).to(model.module.device)
        with torch.no_grad():
            found += head(site_states(model.module, batch, way=model.way)).tolist()
        if on_progress is not None:
            on_progress(stop, len(rows))
    return found


def likelihoods_of(
    model: LoadedModel, rows: Sequence[TokenRow], *, on_progress: OnProgress | None = None
) -> list[float]:
    """Mean log-probability of each row's learned tokens, in nats."""
    found: list[float] = []
    for start, stop in windows([len(row.tokens) for row in rows], TOKENS_PER_PASS):
        batch = pack([Sample(str(at), (rows[at],)) for at in range(start, stop)]).to(model.module.device)
        with torch.no_grad():
            hidden = site_states(model.module, batch, way=model.way)
            scores_S = log_probabilities(model.module, hidden, batch.target_S)
        sums_R, counts_R = (
            torch.zeros(batch.num_rows).index_add(0, batch.row_S.cpu(), one.cpu())
            for one in (scores_S, torch.ones_like(scores_S))
        )
        found += (sums_R / counts_R.clamp(min=1)).tolist()
        if on_progress is not None:
            on_progress(stop, len(rows))
    return found
