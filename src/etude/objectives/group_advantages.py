"""From the rewards of groups of answers to how much better each was than expected.

Shape letters: P prompts, G answers to each. A reward that is not known (NaN) counts for nothing: advantage 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Baseline = Literal["group", "mean", "others", "batch"]
LEAST_DEVIATION = 1e-4


def advantages(rewards_PG: Tensor, baseline: Baseline) -> Tensor:
    """[P, G]; equal rewards give 0, never NaN."""
    known = ~rewards_PG.isnan()
    count = known.sum(1, keepdim=True).clamp(min=1)
    total = rewards_PG.nan_to_num(0.0).sum(1, keepdim=True)
    if baseline == "others":
        found = rewards_PG - (total - rewards_PG) / (count - 1).clamp(min=1)
        return found.nan_to_num(0.0) * (count > 1)
    if baseline == "batch":
        mean = rewards_PG[known].mean() if known.any() else rewards_PG.new_zeros(())
        found = rewards_PG - mean
        return (found / (_deviation(found[known]) + LEAST_DEVIATION)).nan_to_num(0.0)
    found = rewards_PG - total / count
    if baseline == "mean":
        return found.nan_to_num(0.0)
    squares = found.nan_to_num(0.0).square().sum(1, keepdim=True)
    deviation = (squares / (count - 1).clamp(min=1)).sqrt()
    return (found / (deviation + LEAST_DEVIATION)).nan_to_num(0.0)


def _deviation(found: Tensor) -> Tensor:
    return found.std() if found.numel() > 1 else found.new_zeros(())
