"""Arms as if they had been measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from etude.advice.arms import Arm
from etude.comparison.judgement import Answer
from etude.comparison.verdict import Verdict

PROMPTED = Arm(
    "few-shot", "big, 8 examples", "prompt", "big", "accuracy", True, 0.80, (0.75, 0.85), 300, 900.0, 5.0, 0.8, cost=4.0
)  # fmt: skip
TUNED = Arm(
    "tuned", "small, fine-tuned on 300 rows", "tuned", "small", "accuracy", True, 0.92, (0.88, 0.95), 300, 30.0, 5.0,
    0.1, cost=1.0, one_off=30.0, rows=300,
)  # fmt: skip


def arm(base: Arm, **changed: object) -> Arm:
    return replace(base, **changed)  # type: ignore[arg-type]  # fields by name


@dataclass(frozen=True)
class Says:
    """A judge that has made up its mind; intervals widen by a point for each arm that shares the level."""

    answer: Answer

    def compared(self, tuned: Sequence[Arm], prompted: Sequence[Arm]) -> Verdict:
        gain = tuned[0].quality - prompted[0].quality
        return Verdict(
            task="tickets", metric=tuned[0].metric, n=300, base=prompted[0].score, tuned=tuned[0].score,
            difference=gain, low=gain - 0.05, high=gain + 0.05, level=0.95, p_value=0.01, method="by heart",
            answer=self.answer, smallest_gain=0.02, detectable=0.06, rows_enough=871,
            higher_is_better=tuned[0].higher_is_better,
        )  # fmt: skip

    def interval(self, arm: Arm, level: float) -> tuple[float, float]:
        shared = 0.01 * (0.05 / (1 - level) - 1)
        return arm.interval[0] - shared, arm.interval[1] + shared
