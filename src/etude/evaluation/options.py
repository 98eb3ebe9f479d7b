"""The knobs of evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What a run is measured on, before and after training."""

    tasks: tuple[str, ...] = ()
    """Task files (`*.task.yaml`), relative to the run file."""
    base: bool = True
    """Measure the base model before training, so that the verdict has something to compare with."""
    batch_rows: int = 32
    """Prompts decoded together."""
    limit: int | None = None
    """Only the first so many items of each task."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        counts = {"batch_rows": self.batch_rows, "limit": self.limit}
        return [(name, f"must be at least 1, got {n}") for name, n in counts.items() if n is not None and n < 1]
