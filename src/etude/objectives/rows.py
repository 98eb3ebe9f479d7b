"""From scores of tokens to scores of rows and pairs.

Shape letters: S sites (learned tokens), R rows, P samples of two rows each: an answer and what it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etude.batch import Batch, Loss, Scores
from etude.errors import EtudeError

if TYPE_CHECKING:
    from torch import Tensor


def row_sums(batch: Batch, scores_S: Tensor, *, tail_share: float = 1.0) -> Tensor:
    """Weighted sum over each row's learned tokens, [R]; tokens past the pair's shorter answer count `tail_share`."""
    weighted_S = batch.weight_S * scores_S
    if tail_share != 1.0:
        weighted_S = weighted_S * (1 - (1 - tail_share) * _in_tail(batch))
    return weighted_S.new_zeros(batch.num_rows).index_add(0, batch.row_S, weighted_S)


def row_lengths(batch: Batch) -> Tensor:
    """Learned tokens of each row, at least 1, [R]."""
    learned_S = (batch.weight_S != 0).to(batch.weight_S.dtype)
    return learned_S.new_zeros(batch.num_rows).index_add(0, batch.row_S, learned_S).clamp(min=1)


def row_means(batch: Batch, scores_S: Tensor) -> Tensor:
    """Mean over each row's learned tokens, [R]."""
    return row_sums(batch, scores_S) / row_lengths(batch)


def pairs(rows_R: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's first and second row, [P] each."""
    return rows_R[0::2], rows_R[1::2]


def on_policy(batch: Batch, scores: Scores) -> Tensor:
    """How likely the policy is to write both answers of each pair, over what is usual for it, without gradient, [P]
    (https://arxiv.org/abs/2406.11827, equation 2)."""
    chosen, rejected = pairs(row_means(batch, (scores.policy_S - scores.need("squares")).detach()))
    return (chosen + rejected).exp()


def token_loss(batch: Batch, loss_S: Tensor, figures_S: Mapping[str, Tensor]) -> Loss:
    """Tokens added up by weight: their loss, and what is logged of them."""
    return Loss(
        (batch.weight_S * loss_S).sum(), {name: (batch.weight_S * one).sum() for name, one in figures_S.items()}
    )


def unweighted(batch: Batch, why: str) -> None:
    """EtudeError where samples have weights, which this objective could only ignore."""
    if bool((batch.sample_weight_P != 1).any()):
        raise EtudeError(f"{why}, so rows cannot have weights of their own", remedy="leave the column weight out")


def log_sigmoid(x: Tensor) -> Tensor:
    """log σ(x), torch's own, brought in when it is needed."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def smoothed(x: Tensor, smoothing: float) -> Tensor:
    """−log σ(x), as if this share of the labels were the wrong way round."""
    return -(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x)


def _in_tail(batch: Batch) -> Tensor:
    """1 for sites past the shorter answer of their pair (sites come row by row)."""
    import torch

    lengths_R = row_lengths(batch)
    starts_R = lengths_R.cumsum(0) - lengths_R
    place_S = torch.arange(len(batch.row_S), device=batch.row_S.device) - starts_R[batch.row_S]
    shorter_R = torch.minimum(*pairs(lengths_R)).repeat_interleave(2)
    return (place_S >= shorter_R[batch.row_S]).to(batch.weight_S.dtype)
