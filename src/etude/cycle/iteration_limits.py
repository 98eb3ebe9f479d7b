"""How far a run may be improved, with which rows, and when it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etude.diagnosis.iterations import IterationRecord


@dataclass(frozen=True, kw_only=True)
class IterateOptions:
    """How far a run may be improved, and with which rows."""

    pool: str | None = None
    """Rows that may be added, in the layout of the training rows: labelled, but not learned from yet."""
    model: str | None = None
    """Who writes rows that the pool lacks: an endpoint's settings (YAML), a base model, an adapter or a run."""
    task: str | None = None
    """The task of the run file by which is steered; the first one if left out."""
    iterations: int = 3
    """Retrainings, at most."""
    rows: int = 100
    """Rows added before each, at most."""
    most_rows: int | None = None
    """Rows added in all, at most."""
    minutes: float | None = None
    """No retraining is begun that would pass so many minutes, as long as the last one took."""
    final_share: float = 0.5
    """Share of the task's items that decide nothing before the end."""
    false_alarms: float = 0.05
    """Chance that even one of the slices that an iteration works on is no worse than the rest."""
    seed: int = 0
    """What the division of the items depends on."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found = []
        if self.pool is None and self.model is None:
            found.append(("pool", "rows must come from somewhere: give a pool, a model that writes them, or both"))
        for name in ("iterations", "rows", "most_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                found.append((name, f"must be at least 1, got {value}"))
        if self.minutes is not None and self.minutes <= 0:
            found.append(("minutes", f"must be above 0, got {self.minutes:g}"))
        for name in ("final_share", "false_alarms"):
            if not 0 < getattr(self, name) < 1:
                found.append((name, f"must lie between 0 and 1, got {getattr(self, name):g}"))
        return found


def limit_reached(options: IterateOptions, records: Sequence[IterationRecord]) -> str | None:
    """The limit that forbids another retraining, if one does."""
    if len(records) > options.iterations:
        return f"all {options.iterations} retrainings were made"
    if budget_left(options, records) < 1:
        return f"all {options.most_rows} rows were added"
    spent = sum(record.seconds for record in records)
    if options.minutes is not None and spent + records[-1].seconds > 60 * options.minutes:
        return f"another retraining would pass {options.minutes:g} minutes"
    return None


def budget_left(options: IterateOptions, records: Sequence[IterationRecord]) -> int:
    """Rows that may be added before the next retraining."""
    added = sum(sum(record.added.values()) for record in records)
    return options.rows if options.most_rows is None else min(options.rows, options.most_rows - added)
