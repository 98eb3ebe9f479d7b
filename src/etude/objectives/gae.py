"""Generalised advantage estimation (https://arxiv.org/abs/1506.02438) and the other arithmetic of PPO's rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEAST_DEVIATION = 1e-8


def gae(rewards: Tensor, values: Tensor, *, discount: float, decay: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns of one answer's tokens; nothing comes after the last one."""
    import torch

    advantages = torch.zeros_like(values)
    running = 0.0
    for at in range(len(values) - 1, -1, -1):
        following = float(values[at + 1]) if at + 1 < len(values) else 0.0
        surprise = float(rewards[at]) + discount * following - float(values[at])
        running = surprise + discount * decay * running
        advantages[at] = running
    return advantages, advantages + values


def whitened(parts: Sequence[Tensor], *, shift: bool = True) -> list[Tensor]:
    """All numbers with deviation 1, and mean 0 unless it is to stay; too few to tell stay as they are."""
    import torch

    whole = torch.cat(list(parts)) if parts else torch.zeros(0)
    if len(whole) < 2:
        return list(parts)
    mean, deviation = whole.mean(), whole.std() + LEAST_DEVIATION
    return [(part - mean) / deviation + (0.0 if shift else mean) for part in parts]


def adapted(coefficient: float, kl: float, *, target: float, horizon: float, answers: int) -> float:
    """The penalty's next coefficient: up where the policy is further away than wanted
    (https://arxiv.org/abs/1909.08593, section 2.2)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * answers / horizon)
