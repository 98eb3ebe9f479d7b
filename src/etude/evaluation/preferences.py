"""How often a model puts the better of two answers first: by its value head, else by how likely it finds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etude.batch import TokenRow
from etude.evaluation.intervals import mean_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from etude.evaluation.metrics.base import Scored, Summary
    from etude.models.loaded import LoadedModel


class Row(Protocol):
    """A row of tokens with what is learned of it."""

    @property
    def tokens(self) -> Sequence[int] | NDArray[np.int32]: ...

    @property
    def weights(self) -> Sequence[float] | NDArray[np.float32]: ...


PREFERENCE = "preference"
BINS = 5
OnProgress = Callable[[int, int], None]


def scored_pairs(
    model: LoadedModel,
    pairs: Sequence[tuple[Row, Row]],
    *,
    on_progress: OnProgress | None = None,
) -> list[Scored]:
    """For each (chosen, rejected), 1 where the chosen one is put first, 0 where the other is, 0.5 where neither is."""
    from etude.evaluation.metrics.base import Scored
    from etude.models.rewarding import likelihoods_of, rewards_of

    rows = [row for pair in pairs for row in pair]
    if model.value_head is not None:
        found = rewards_of(model, [[int(token) for token in row.tokens] for row in rows], on_progress=on_progress)
        by = "reward"
    else:
        plain = [TokenRow(row.tokens, row.weights) for row in rows]
        found = likelihoods_of(model, plain, on_progress=on_progress)
        by = "likelihood"
    scored = []
    for place, (chosen, rejected) in enumerate(pairs):
        margin = found[2 * place] - found[2 * place + 1]
        details = {"by": by, "chosen": found[2 * place], "rejected": found[2 * place + 1]}
        scores = {
            PREFERENCE: _before(margin),
            "margin": margin,
            "longer_first": _before(_num_learned(chosen) - _num_learned(rejected)),
        }
        scored.append(Scored(scores, details))
    return scored


def pair_summary(
    scored: Sequence[Scored], weights: Sequence[float], groups: Sequence[str | None] | None = None, *, has_rewards: bool
) -> Summary:
    """Weighted means with their intervals; for rewards also how far they are to be trusted.

    `weights` are what the rows count: less where people disagreed.
    """
    from etude.evaluation.metrics.base import Summary

    uneven = None if all(weight == 1 for weight in weights) else weights
    values = {name: [one.scores[name] for one in scored] for name in scored[0].scores}
    scores = {name: _weighted(found, weights) for name, found in values.items()}
    intervals = {name: mean_interval(found, uneven, groups=groups) for name, found in values.items()}
    tables = {}
    if has_rewards:
        tables["calibration"] = calibration(scored)
        scores["calibration_error"] = calibration_error(tables["calibration"])
    return Summary(scores, tables, intervals)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / math.fsum(weights)


def _num_learned(row: Row) -> int:
    return sum(weight > 0 for weight in row.weights)


def _before(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def calibration(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Pairs by how sure the rewards were (σ of the margin's size): what was promised, and what came true."""
    sure = sorted((1 / (1 + math.exp(-min(abs(one.scores["margin"]), 50.0))), one.scores[PREFERENCE]) for one in scored)
    size = max(1, -(-len(sure) // BINS))
    parts = [sure[at : at + size] for at in range(0, len(sure), size)]
    return [
        {
            "count": len(part),
            "promised": sum(promised for promised, _ in part) / len(part),
            "came_true": sum(true for _, true in part) / len(part),
        }
        for part in parts
    ]


def calibration_error(table: Sequence[dict[str, Any]]) -> float:
    """Mean distance between promised and come true, over pairs (https://arxiv.org/abs/1706.04599)."""
    total = sum(part["count"] for part in table)
    return float(sum(part["count"] * abs(part["promised"] - part["came_true"]) for part in table) / total)
