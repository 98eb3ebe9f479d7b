"""Scores, gains and intervals as people read them on a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from etude.evaluation.report import is_share


@dataclass(frozen=True, slots=True)
class Scale:
    """Percent and points for shares of 1, plain numbers for nats and rewards."""

    factor: float
    """From a difference of scores to a number that is written."""
    unit: str
    """` points`, or nothing."""

    @classmethod
    def of(cls, metric: str, *, higher_is_better: bool) -> Scale:
        share = is_share(metric, higher_is_better=higher_is_better)
        return cls(100.0, " points") if share else cls(1.0, "")

    def score(self, value: float) -> str:
        """91.5 % for shares, 1.2340 for nats and rewards."""
        return f"{100 * value:.1f} %" if self.unit else f"{value:.4f}"

    def gain(self, value: float) -> str:
        """+3.2 points for shares, +0.0123 for nats."""
        places = 1 if self.unit else 4
        return f"{round(self.factor * value, places) + 0.0:+.{places}f}{self.unit}"

    def amount(self, value: float) -> str:
        """3.2 points, 0.0123: a gain without its sign."""
        return self.gain(value).lstrip("+")

    def interval(self, difference: float, low: float, high: float) -> str:
        """+12.0 points [+8.1, +15.9]."""
        ends = ", ".join(self.gain(end).removesuffix(self.unit) for end in (low, high))
        return f"{self.gain(difference)} [{ends}]"


def shown_level(level: float) -> str:
    """95 %."""
    return f"{100 * level:.4g} %"


def shown_p(p_value: float) -> str:
    """p = 0.031, or p < 0.0001 below that."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def round_up(rows: int) -> int:
    """To two significant digits: more would pretend to know."""
    step: int = 10 ** max(0, len(str(rows)) - 2)
    return -(-rows // step) * step
