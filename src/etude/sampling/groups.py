"""Prompts, and the answers to each of them with what they were rewarded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt with what is known of its answer."""

    id: str
    tokens: tuple[int, ...]
    text: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt with their rewards."""

    asked: Asked
    answers: tuple[tuple[int, ...], ...]
    sampled: tuple[tuple[float, ...], ...]
    """The sampler's log-probability of each token."""
    finished: tuple[bool, ...]
    texts: tuple[str, ...]
    rewards: tuple[float, ...]
    parts: tuple[Mapping[str, float], ...]

    @property
    def is_dead(self) -> bool:
        """Whether all rewards are the same, so that nothing can be learned."""
        known = [reward for reward in self.rewards if not math.isnan(reward)]
        return len(known) < 2 or max(known) - min(known) < 1e-8
