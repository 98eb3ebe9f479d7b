"""The knobs of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etude.evaluation.retention import SUITE

LiveRows = Literal["heldout", "task"]


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
    """Only so many items of each task, evenly over its file."""
    retention: tuple[str, ...] = SUITE
    """What is asked before and after training to see what was forgotten: probes that ship with Etude, and task files of
    your own. `[]`: nothing. The suite asks 120 items; what that took stands in the report."""
    live: str | None = None
    """A task file that is asked during training too, at each look at held-out rows, with some of the answers kept;
    `training.keep_best_by: score` keeps the weights that did best there."""
    live_rows: LiveRows = "heldout"
    """What it is asked: the run's `heldout` rows (their prompts, their answers as references), or the rows of the
    `task` file. The best weights are never chosen by rows that `tasks` measure."""
    live_items: int = 64
    """The first so many of those rows."""
    drift_rows: int = 16
    """Plain texts and held-out rows, so many of each, on which the tuned model's distance from its base is measured
    (KL a token). 0: not measured."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        counts = {"batch_rows": self.batch_rows, "limit": self.limit, "live_items": self.live_items}
        found = [(name, f"must be at least 1, got {n}") for name, n in counts.items() if n is not None and n < 1]
        if self.drift_rows < 0:
            found.append(("drift_rows", f"must be at least 0, got {self.drift_rows}"))
        if self.live is None:
            unread = {"live_rows": self.live_rows != "heldout", "live_items": self.live_items != 64}
            found += [(name, "nothing reads it without `live`, a task file") for name, given in unread.items() if given]
        return found
