"""Arms as if they had been measured."""

from __future__ import annotations

from dataclasses import replace

from etude.advice.arms import Arm

PROMPTED = Arm(
    "few-shot", "big, 8 examples", "prompt", "big", "accuracy", True, 0.80, (0.75, 0.85), 300, 900.0, 5.0, 0.8, cost=4.0
)  # fmt: skip
TUNED = Arm(
    "tuned", "small, fine-tuned on 300 rows", "tuned", "small", "accuracy", True, 0.92, (0.88, 0.95), 300, 30.0, 5.0,
    0.1, cost=1.0, one_off=30.0, rows=300,
)  # fmt: skip


def arm(base: Arm, **changed: object) -> Arm:
    return replace(base, **changed)  # type: ignore[arg-type]  # fields by name
