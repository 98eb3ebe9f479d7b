"""Losses of preference pairs, each a function of how much likelier both answers became than under the reference.

Shape letter: P pairs. `chosen` and `rejected` [P] are log-ratios to the reference in nats, summed over the answer
(`ipo`, `sigmoid_norm`: their means). AOT sorts the micro-batch: its loss, alone of all, depends on how a step is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from etude.batch import Batch
from etude.objectives.rows import log_sigmoid, pairs, row_lengths, smoothed, unweighted

if TYPE_CHECKING:
    from torch import Tensor

Name = Literal[
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sigmoid_norm",
]  # fmt: skip
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
BY_LENGTH = frozenset({"ipo", "sigmoid_norm"})
"""Losses of means over an answer's tokens."""
SORTED = frozenset({"aot", "aot_unpaired"})
"""Losses in which a term belongs to no pair of its own."""
DISCOPOP_TAU = 0.05
LARGEST_EXPONENT = 80.0

PairLoss = Callable[["Tensor", "Tensor", float, float], "Tensor"]
"""(chosen_P, rejected_P, beta, label smoothing) → loss of each pair."""


def _sigmoid(chosen: Tensor, rejected: Tensor, beta: float, smoothing: float) -> Tensor:
    """https://arxiv.org/abs/2305.18290; with smoothing cDPO."""
    return smoothed(beta * (chosen - rejected), smoothing)


def _hinge(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """SLiC, https://arxiv.org/abs/2305.10425."""
    return (1 - beta * (chosen - rejected)).relu()


def _ipo(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2310.12036, equation 17, on means over tokens."""
    return (chosen - rejected - 1 / (2 * beta)).square()


def _robust(chosen: Tensor, rejected: Tensor, beta: float, smoothing: float) -> Tensor:
    """https://arxiv.org/abs/2403.00409: unbiased where this share of the labels is wrong."""
    x = beta * (chosen - rejected)
    return (-(1 - smoothing) * log_sigmoid(x) + smoothing * log_sigmoid(-x)) / (1 - 2 * smoothing)


def _exo(chosen: Tensor, rejected: Tensor, beta: float, smoothing: float) -> Tensor:
    """https://arxiv.org/abs/2402.00856, equation 16."""
    x = beta * (chosen - rejected)
    right, wrong = log_sigmoid(x), log_sigmoid(-x)
    return right.exp() * (right - math.log1p(-smoothing)) + wrong.exp() * (wrong - math.log(smoothing))


def _nca(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2402.05369."""
    return (
        -log_sigmoid(beta * chosen) - 0.5 * log_sigmoid(-beta * chosen) - 0.5 * log_sigmoid(-beta * rejected)
    )  # fmt: skip


def _bco(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2404.04656, without its running mean."""
    return -log_sigmoid(beta * chosen) - log_sigmoid(-beta * rejected)


def _sppo(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2405.00675, with the winner's probability 1."""
    return (chosen - 0.5 / beta).square() + (rejected + 0.5 / beta).square()


def _aot_unpaired(chosen: Tensor, rejected: Tensor, beta: float, smoothing: float) -> Tensor:
    """https://arxiv.org/abs/2406.05882: order statistics of the micro-batch against each other."""
    return smoothed(beta * (chosen.sort().values - rejected.sort().values), smoothing)


def _apo_zero(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2408.06266, equation 7."""
    return 1 - (beta * chosen).sigmoid() + (beta * rejected).sigmoid()


def _apo_down(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2408.06266, equation 8."""
    return (beta * chosen).sigmoid() + 1 - (beta * (chosen - rejected)).sigmoid()


def _discopop(chosen: Tensor, rejected: Tensor, beta: float, _: float) -> Tensor:
    """https://arxiv.org/abs/2406.08414, equation 5."""
    x = beta * (chosen - rejected)
    share = (x / DISCOPOP_TAU).sigmoid()
    return -log_sigmoid(x) * (1 - share) + (-x).exp() * share


LOSSES: Mapping[Name, PairLoss] = {
    "sigmoid": _sigmoid, "hinge": _hinge, "ipo": _ipo, "robust": _robust, "exo_pair": _exo, "nca_pair": _nca,
    "bco_pair": _bco, "sppo_hard": _sppo, "aot_unpaired": _aot_unpaired, "apo_zero": _apo_zero,
    "apo_down": _apo_down, "discopop": _discopop, "sigmoid_norm": _sigmoid,
}  # fmt: skip
"""`aot` needs both models' log-probabilities apart: it is below."""


def aot(policy_P: Tensor, reference_P: Tensor, beta: float, smoothing: float) -> Tensor:
    """https://arxiv.org/abs/2406.05882, paired: the policy's sorted margins against the reference's."""
    return smoothed(beta * (policy_P.sort().values - reference_P.sort().values), smoothing)


def diverged(ratio: Tensor, divergence: Divergence, alpha: float) -> Tensor:
    """f′ of the divergence that holds the policy to its reference, at e^ratio (https://arxiv.org/abs/2309.16240)."""
    if divergence == "forward_kl":
        return 1 - (-ratio).exp()
    if divergence == "js_divergence":
        return math.log(2) + log_sigmoid(ratio)
    if divergence == "alpha_divergence" and abs(alpha - 1) > 1e-6:
        return (((alpha - 1) * ratio).clamp(max=LARGEST_EXPONENT).exp() - 1) / (alpha - 1)
    return ratio


def family_losses(options: Any, batch: Batch, policy_R: Tensor, reference_R: Tensor) -> Tensor:
    """Of each pair, by the member of the family that the options name, [P].

    Raises:
        EtudeError: a member that sorts pairs, and rows with weights.
    """
    if options.loss_type in SORTED:
        unweighted(batch, f"loss_type {options.loss_type!r} sorts a batch's pairs")
    if options.loss_type == "aot":
        policy_P, reference_P = (one - other for one, other in map(pairs, (policy_R, reference_R)))
        return aot(policy_P, reference_P, options.beta, options.label_smoothing)
    by_R = row_lengths(batch) if options.loss_type in BY_LENGTH else 1.0
    gained_R = diverged(policy_R - reference_R, options.divergence, options.divergence_alpha) / by_R
    return LOSSES[options.loss_type](*pairs(gained_R), options.beta, options.label_smoothing)


def family_problems(options: Any) -> list[tuple[str, str]]:
    """(setting, what is wrong with it) where a member does not go with another setting."""
    found: list[tuple[str, str]] = []
    if options.loss_type == "exo_pair" and not options.label_smoothing:
        found.append(("label_smoothing", "must be above 0 with exo_pair, such as 0.001"))
    if options.loss_type in SORTED and options.weighting:
        found.append(("weighting", f"weighs pairs, which {options.loss_type} sorts against each other"))
    return found
