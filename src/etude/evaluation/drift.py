"""How far training moved a model's distribution: KL(tuned‖base) a token, on text and on rows of its own task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from etude.batch import Sample, TokenRow
from etude.evaluation.intervals import bootstrap_ratio
from etude.evaluation.report import ItemResult, Report
from etude.packing import pack

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.loaded import LoadedModel, Subject

METRIC = "kl_per_token"
MOST_SITES = 128
"""Places of a row that are compared: a distribution over the vocabulary each."""
MOST_BYTES = 128 << 20
"""Of distributions that wait for the other model's turn."""
OnProgress = Callable[[int, int], None]


def drift(
    task: str, tuned: Subject, base: Subject, rows: Sequence[TokenRow], *, on_progress: OnProgress | None = None
) -> Report:
    """KL(tuned‖base) in nats at the learned tokens of each row (of all tokens, where none is learned).

    Both subjects may share their memory: neither is asked while the other is in use, and several rows go through one
    before the other's turn, because a change may read all weights from disk.
    """
    left = [_places(row) for row in rows]
    items: list[ItemResult] = []
    while left:
        with tuned.use() as model:
            most = max(1, MOST_BYTES // (4 * MOST_SITES * model.module.config.get_text_config().vocab_size))
            several, left = left[:most], left[most:]
            mine, model_hash = [_distributions(model, row) for row in several], model.base_hash
        with base.use() as model:
            for row, ours in zip(several, mine, strict=True):
                apart = (ours.exp() * (ours - _distributions(model, row))).sum(-1).clamp(min=0)
                name, scores = f"row {len(items) + 1}", {METRIC: float(apart.mean())}
                items.append(ItemResult(name, "", None, None, scores=scores, weight=float(len(apart))))
                if on_progress is not None:
                    on_progress(len(items), len(rows))
    weights = [item.weight for item in items]
    nats = [item.scores[METRIC] * item.weight for item in items]
    ends = {METRIC: bootstrap_ratio(nats, weights).interval(0.95)} if len(items) > 1 else {}
    return Report(
        task=task,
        metric=METRIC,
        subject=tuned.name,
        model_hash=model_hash,
        items=tuple(items),
        summary={METRIC: sum(nats) / sum(weights), "num_tokens": sum(weights)},
        data_sha256="",
        higher_is_better=False,
        intervals=ends,
    )


def _places(row: TokenRow) -> TokenRow:
    """With weight 1 where it is compared, and only up to the last such place."""
    wanted = [at for at, weight in enumerate(row.weights) if weight and at] or list(range(1, len(row.tokens)))
    wanted = wanted[:MOST_SITES]
    weights = [0.0] * (wanted[-1] + 1)
    for at in wanted:
        weights[at] = 1.0
    return replace(row, tokens=row.tokens[: len(weights)], weights=tuple(weights))


def _distributions(model: LoadedModel, row: TokenRow) -> Tensor:
    import torch

    from etude.models.scoring import log_distributions

    batch = pack([Sample("", (row,))]).to(model.module.device)
    with torch.no_grad():
        return log_distributions(model.module, batch, way=model.way)
