"""What is known of each iteration of a run: its rows, its scores on both parts of the items, what was worse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from etude import durable
from etude.errors import EtudeError


@dataclass(frozen=True, slots=True)
class IterationRecord:
    """One training, and what came of it."""

    number: int
    """0: the given rows."""
    run: str
    rows: int
    added: Mapping[str, int]
    """Rows that were added before it, by the slice that they are for."""
    metric: str
    higher_is_better: bool
    steering: float
    steering_interval: tuple[float, float]
    steering_items: int
    final: float
    final_interval: tuple[float, float]
    final_items: int
    worse: tuple[str, ...]
    """Slices of the steering part that are worse than the rest."""
    seconds: float

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        durable.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> IterationRecord:
        """Reads it. Raises EtudeError where it is damaged."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            tuples = {name: tuple(held[name]) for name in ("steering_interval", "final_interval", "worse")}
            return cls(**{**held, **tuples})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EtudeError(f"is no record of an iteration ({error})", where=str(path), remedy="remove it") from error


def best_of(records: tuple[IterationRecord, ...]) -> IterationRecord:
    """The one with the best score on the steering part; of equal ones the first. The final part has no say."""
    sign = 1 if records[0].higher_is_better else -1
    return max(records, key=lambda record: (sign * record.steering, -record.number))
