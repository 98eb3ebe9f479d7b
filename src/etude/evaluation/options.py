"""The knobs of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from etude.evaluation.retention import SUITE


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
    retention: tuple[str, ...] = SUITE
    """What is asked before and after training to see what was forgotten: probes that ship with Etude, and task files of
    your own. `[]`: nothing. The suite asks 120 items; what that took stands in the report."""
    drift_rows: int = 16
    """Plain texts and held-out rows, so many of each, on which the tuned model's distance from its base is measured
    (KL a token). 0: not measured."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        counts = {"batch_rows": self.batch_rows, "limit": self.limit}
        found = [(name, f"must be at least 1, got {n}") for name, n in counts.items() if n is not None and n < 1]
        if self.drift_rows < 0:
            found.append(("drift_rows", f"must be at least 0, got {self.drift_rows}"))
        return found
