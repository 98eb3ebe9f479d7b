"""What an online objective is told of the answers that the policy wrote, and what it makes of it.

Shape letters: P prompts, G answers to each; lists have an entry for each of the P·G answers, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Experience:
    """Answers with their rewards; scores of their tokens where the objective asked for them."""

    rewards_PG: Tensor
    """NaN where there is none."""
    lengths: Sequence[int]
    """Tokens of each answer."""
    old: Sequence[Tensor] = ()
    """Log-probabilities by the policy that wrote them, nats."""
    reference: Sequence[Tensor] = ()
    """Log-probabilities by the model before training, nats."""
    values: Sequence[Tensor] = ()
    """What the critic expected from each token on."""
    number: int = 0
    """How many batches of answers came before."""


@dataclass(frozen=True, slots=True)
class Credit:
    """How much each token is to be thanked."""

    given: Mapping[str, Sequence[Tensor]]
    """Numbers for each token of each answer, by name."""
    state: Mapping[str, float] = field(default_factory=dict)
    """What the next batch of answers goes on with."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """For the diary."""
