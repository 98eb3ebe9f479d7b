"""What the loop asks of a task while it trains: a score on held-out items, and some of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from etude.techniques.policy import Policy
    from etude.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Live:
    """One look at a task."""

    score: float
    """Higher is better."""
    figures: Mapping[str, float]
    """For the diary: the score with the ends of its interval."""
    says: str
    """The same for a person."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What is written beside it, JSON-able: some of the answers, of the same items at each look."""


class Scorer(Protocol):
    """Asks the policy the same items at each look. Uses no random state, so that a resumed run sees the same."""

    def score(self, policy: Policy) -> Live: ...


def score_together(scorer: Scorer, policy: Policy, ranks: Ranks) -> Live:
    """The main rank's look, on all ranks, which must agree on the best weights. Details stay on the main one."""
    found = scorer.score(policy) if ranks.is_main else None
    told = "" if found is None else json.dumps([found.score, dict(found.figures), found.says])
    score, figures, says = json.loads(ranks.tell(told))
    return found or Live(score, figures, says)
