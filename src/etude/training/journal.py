"""The run's diary: a line of figures and a line of sample ids for each update, cut back to the checkpoint on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from etude.durable import append_line, fsync_file, truncate
from etude.training.live import Live
from etude.training.progress import Progress

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
ANSWERS = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Journal:
    """Appends to the diary in a run's folder; only the main rank holds one."""

    folder: Path

    def update(self, progress: Progress, sample_ids: Sequence[str]) -> None:
        """Writes down one update."""
        line = {
            "step": progress.step,
            "epoch": round(progress.epoch, 6),
            "loss": _number(progress.loss),
            "learning_rate": progress.learning_rate,
            "grad_norm": _number(progress.grad_norm),
            "rows": progress.rows,
            "tokens": progress.tokens,
            "tokens_computed": progress.tokens_computed,
            "micro_batches": progress.micro_batches,
            "seconds": round(progress.seconds, 6),
            "time": _now(),
            **{name: _number(value) for name, value in progress.figures.items()},
        }
        notes = {"skipped": progress.skipped, "warning": progress.warning, "memory": progress.memory}
        line.update({key: note for key, note in notes.items() if note is not None})
        append_line(self.folder / METRICS, json.dumps(line))
        append_line(self.folder / SAMPLES, json.dumps({"step": progress.step, "ids": list(sample_ids)}))

    def heldout(self, step: int, loss: float, figures: Mapping[str, float], live: Live | None = None) -> None:
        """Writes down a look at the held-out loss, what else was found there, and what a task's answers were."""
        every = {**figures, **(live.figures if live is not None else {})}
        told = {f"heldout_{name}": _number(value) for name, value in every.items()}
        line = {"step": step, "heldout_loss": _number(loss), **told, "time": _now()}
        append_line(self.folder / METRICS, json.dumps(line))

        if live is not None and live.details:
            append_line(self.folder / ANSWERS, json.dumps({"step": step, **live.details}))

    def lengths(self) -> dict[str, int]:
        """Bytes of each file, on disk for sure: where a resumed run goes on."""
        found: dict[str, int] = {}
        for name in (METRICS, SAMPLES, ANSWERS):
            path = self.folder / name
            if path.exists():
                fsync_file(path)
            found[name] = path.stat().st_size if path.exists() else 0
        return found

    def cut_back(self, lengths: dict[str, int]) -> None:
        """Forgets what was written after the checkpoint: those updates are done again."""
        for name, length in lengths.items():
            path = self.folder / name
            if path.exists():
                truncate(path, length)


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
