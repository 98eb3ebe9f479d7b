"""The knobs of an explanation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """How failures are looked for and told."""

    by: tuple[str, ...] = ()
    """Columns of the task's rows whose values are slices; all with few values where nothing is said."""
    false_alarms: float = 0.05
    """Chance that even one of the slices named worse is not."""
    topics: int = 0
    """Topics into which the items are clustered; 0: as many as suit their number."""
    fewest: int = 5
    """Smallest slice, in items."""
    training_rows: int = 20_000
    """Training rows among which the nearest ones are looked for, drawn evenly from all."""
    seed: int = 0
    """What clusters and that draw depend on."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found = []
        if not 0 < self.false_alarms < 1:
            found.append(("false_alarms", f"must lie between 0 and 1, got {self.false_alarms:g}"))
        lowest = {"topics": 0, "fewest": 2, "training_rows": 1}
        found += [
            (name, f"must be at least {low}, got {getattr(self, name)}")
            for name, low in lowest.items()
            if getattr(self, name) < low
        ]
        return found
