"""What policy-gradient objectives share: clipped ratios, the distance to a reference, and what is logged.

Shape letter: S sites (tokens that were written).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from etude.batch import Batch
from etude.objectives.rows import row_means

if TYPE_CHECKING:
    from torch import Tensor

Level = Literal["token", "sequence"]


def ratios(batch: Batch, policy_S: Tensor, old_S: Tensor, level: Level) -> Tensor:
    """How much likelier each token, or its whole answer per token, is than when it was written, [S]."""
    gained_S = policy_S - old_S
    if level == "token":
        return gained_S.exp()
    return row_means(batch, gained_S).exp()[batch.row_S]


def surrogate(
    options: Any, batch: Batch, policy_S: Tensor, old_S: Tensor, advantage_S: Tensor
) -> tuple[Tensor, Tensor]:
    """The clipped loss of each token (https://arxiv.org/abs/1707.06347), and its ratio."""
    import torch

    ratio_S = ratios(batch, policy_S, old_S, options.level)
    if options.loss_type == "cispo":
        return -ratio_S.detach().clamp(max=1 + options.clip_high) * advantage_S * policy_S, ratio_S
    clipped_S = ratio_S.clamp(1 - options.clip_low, 1 + options.clip_high)
    return -torch.minimum(ratio_S * advantage_S, clipped_S * advantage_S), ratio_S


def value_loss(value_S: Tensor, wanted_S: Tensor, expected_S: Tensor, clip: float) -> Tensor:
    """Half the squared error of a critic, the larger one with and without holding it near what it expected before
    (https://arxiv.org/abs/2005.12729, appendix A.1); clip 0: without."""
    near_S = expected_S + (value_S - expected_S).clamp(-clip, clip) if clip else value_S
    return 0.5 * (value_S - wanted_S).square().maximum((near_S - wanted_S).square())


def reverse_kl(policy_S: Tensor, reference_S: Tensor) -> Tensor:
    """An unbiased, never negative estimate of KL(policy‖reference) at tokens that the policy wrote."""
    gained_S = reference_S - policy_S
    return gained_S.exp() - gained_S - 1


def counted(batch: Batch, loss_type: str, constant_length: int) -> float:
    """What the summed loss is divided by."""
    if loss_type == "grpo":
        return float(batch.num_rows)
    if loss_type == "dr_grpo":
        return float(batch.num_rows * constant_length)
    return float(batch.weight_S.sum())


def gradient_figures(
    options: Any, batch: Batch, ratio_S: Tensor, advantage_S: Tensor, policy_S: Tensor
) -> dict[str, Tensor]:
    """Per token: how many are clipped, how far the ratio is from 1, how sure the policy was of what it wrote, and how
    scoring weighs what the sampler wrote: its ratio, the ratio's square, and the sampler's distance to it in nats."""
    ratio_S = ratio_S.detach()
    low, high = ratio_S < 1 - options.clip_low, ratio_S > 1 + options.clip_high
    figures = {
        "clipped": ((low & (advantage_S < 0)) | (high & (advantage_S > 0))).to(ratio_S.dtype),
        "ratio_off": (ratio_S - 1).abs(),
        "surprise": -policy_S.detach(),
    }
    sampled_S = batch.given("sampled", policy_S.detach())
    apart_S = batch.given("old", policy_S.detach()) - sampled_S
    weight_S = apart_S.clamp(-20, 20).exp()
    figures |= {"mismatch": apart_S.abs(), "sampler_kl": -apart_S}
    return figures | {"sampler_weight": weight_S, "sampler_weight_squared": weight_S.square()}
