"""How long a run takes: its operations over what a machine does of them in a second.

Operations are those of matrix products (https://arxiv.org/abs/2001.08361, appendix B): two for each weight and token
forward, as many again for the input's gradient, and again for the weights' where they learn.
"""

from __future__ import annotations

from dataclasses import dataclass

from etude.planning.memory import Work
from etude.planning.shape import Shape


@dataclass(frozen=True, slots=True)
class Amount:
    """What is computed in all."""

    tokens: float
    """Through the model, forward and back; shared prefixes once."""
    sites: float
    """Through the head."""
    context: float
    """How many tokens a token sees, on average."""
    reference_tokens: float = 0.0
    """Forward alone: references, held-out looks, prompts and answers."""


def operations(shape: Shape, work: Work, amount: Amount) -> float:
    """Floating-point operations of the whole run."""
    attention = 4.0 * shape.layers * shape.heads * shape.head_size * amount.context
    forward_a_token = 2.0 * shape.linear + attention
    learn_all = work.in_place
    back = (2.0 if learn_all else 1.0) * 2.0 * shape.linear + 2.0 * attention
    again = forward_a_token if work.recompute else 0.0
    adapters = 0.0 if learn_all else 6.0 * work.trainable
    head = 2.0 * shape.hidden * shape.vocabulary * (3.0 if learn_all else 2.0)
    of_tokens = amount.tokens * (forward_a_token + back + again + adapters)
    return of_tokens + amount.sites * head + amount.reference_tokens * forward_a_token
