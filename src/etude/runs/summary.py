"""The facts of a run that people compare runs by, read from its folder; missing files leave them empty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etude.errors import RunError
from etude.runs.directory import RunDirectory, State
from etude.runs.manifest import Manifest


@dataclass(frozen=True, slots=True)
class TaskScore:
    """A task's primary score before and after, with the verdict on the difference."""

    task: str
    metric: str
    n: int
    base: float
    tuned: float
    difference: float
    low: float
    high: float
    answer: str
    """better, worse or not enough evidence."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in brief."""

    path: Path
    state: State
    trouble: str | None
    """What makes a damaged run unreadable."""
    manifest: Manifest | None
    settings: dict[str, Any]
    """The resolved run file."""
    heldout_loss: float | None
    """Lowest held-out loss, nats per learned token."""
    train_loss: float | None
    """Loss of the last update, nats per learned token."""
    steps: int
    """Updates done."""
    scores: tuple[TaskScore, ...]
    gap: float | None
    """Held-out loss minus training loss, nats per learned token."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def technique(self) -> str:
        """The technique and its rank, such as `lora r16`."""
        technique = self.settings.get("technique")
        if not isinstance(technique, dict):
            return str(technique or "")
        rank = technique.get("rank")
        return f"{technique.get('kind', '')} r{rank}" if rank is not None else str(technique.get("kind", ""))


def summarize(path: Path) -> RunSummary:
    """Read a run's folder. A damaged manifest is told in `trouble`; raises RunError when there is no run at all."""
    run = RunDirectory(path)
    if not run.manifest_file.is_file():
        raise RunError("holds no run (no manifest.json)", where=str(path))
    manifest, trouble = None, None
    try:
        manifest = run.manifest()
    except RunError as error:
        trouble = str(error)
    losses, heldout = _curves(run.metrics_file)
    scores, gap = _verdicts(run.verdict_file)
    return RunSummary(
        path=path.resolve(),
        state=run.state,
        trouble=trouble,
        manifest=manifest,
        settings=_settings(run.run_file),
        heldout_loss=min(heldout, default=None),
        train_loss=losses[-1][1] if losses else None,
        steps=losses[-1][0] if losses else 0,
        scores=scores,
        gap=gap,
    )


def find_runs(folder: Path, *, depth: int = 3) -> list[Path]:
    """The run folders in a folder (or the folder itself), in name order; a run's own folders are not searched."""
    if not folder.is_dir():
        return []
    if _looks_like_a_run(folder):
        return [folder]
    if not depth:
        return []
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            found += find_runs(entry, depth=depth - 1)
    return found


def _looks_like_a_run(folder: Path) -> bool:
    """A run file and a manifest, or a manifest that reads as a run's; a checkpoint has a manifest of another kind."""
    run = RunDirectory(folder)
    if not run.manifest_file.is_file():
        return False
    return run.run_file.is_file() or run.state != "damaged"


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _curves(path: Path) -> tuple[list[tuple[int, float]], list[float]]:
    """(step, loss) of each update, and the held-out losses; a torn line is passed over."""
    losses: list[tuple[int, float]] = []
    heldout: list[float] = []
    for line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "loss" in row:
            losses.append((int(row["step"]), float(row["loss"])))
        if "heldout_loss" in row:
            heldout.append(float(row["heldout_loss"]))
    return losses, heldout


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _verdicts(path: Path) -> tuple[tuple[TaskScore, ...], float | None]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        names = TaskScore.__dataclass_fields__
        scores = tuple(TaskScore(**{name: verdict[name] for name in names}) for verdict in raw["verdicts"])
        gap = raw.get("gap")
        return scores, float(gap["gap"]) if gap else None
    except (OSError, ValueError, KeyError, TypeError):
        return (), None
