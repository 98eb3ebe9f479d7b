"""One way to do the task, measured: how good, how fast, what it costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from etude import durable
from etude.errors import EtudeError

Way = Literal["prompt", "retrieval", "tuned", "tuned with retrieval"]


@dataclass(frozen=True, slots=True)
class Arm:
    """A measured arm; all are measured on the same items."""

    name: str
    """Its file's name."""
    title: str
    way: Way
    model: str
    metric: str
    higher_is_better: bool
    score: float
    interval: tuple[float, float]
    items: int
    prompt_tokens: float
    """Mean of a request."""
    answer_tokens: float
    latency: float | None
    """Median seconds of a request that is alone."""
    cost: float | None
    """Of 1,000 requests; None where nobody said what the machine or the endpoint costs."""
    one_off: float = 0.0
    """What it costs before the first request: training and rows, where they have a price."""
    rows: int = 0
    """Training rows that were learned from."""
    training_seconds: float = 0.0

    @property
    def is_tuned(self) -> bool:
        return self.way in ("tuned", "tuned with retrieval")

    @property
    def quality(self) -> float:
        """Its score, turned so that more is better."""
        return self.score if self.higher_is_better else -self.score

    def save(self, path: Path, key: str) -> None:
        """Writes it with the hash of everything that it depends on."""
        durable.write_json(path, {"key": key, "arm": asdict(self)})

    @classmethod
    def known(cls, path: Path, key: str) -> Arm | None:
        """The arm in the file, if it was measured under the same conditions."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["key"] != key:
                return None
            return cls(**{**held["arm"], "interval": tuple(held["arm"]["interval"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EtudeError(f"is no measured arm ({error})", where=str(path), remedy="remove it") from error


def break_even(dear: Arm, cheap: Arm) -> float | None:
    """Requests from which on `dear`, with its higher one-off cost, is the cheaper one; 0: at once, None: never.

    Costs that nobody knows decide nothing: None.
    """
    if dear.cost is None or cheap.cost is None:
        return None
    ahead, saved = dear.one_off - cheap.one_off, (cheap.cost - dear.cost) / 1000
    if ahead <= 0 and saved >= 0:
        return 0.0
    return ahead / saved if saved > 0 else None


def total_cost(arm: Arm, requests: float) -> float | None:
    """One-off cost and so many requests."""
    return None if arm.cost is None else arm.one_off + arm.cost * requests / 1000
