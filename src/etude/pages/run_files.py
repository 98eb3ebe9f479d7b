"""Everything that a run directory holds, read without trusting it: what is missing or torn is said, never fatal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etude.comparison.gap import Gap
from etude.comparison.gates import GateResult
from etude.comparison.retention import Retention
from etude.comparison.verdict import Verdict, load_gates, load_verdicts
from etude.errors import EtudeError, RunError
from etude.evaluation.report import Report
from etude.pages.figures import Curve
from etude.runs.directory import RunDirectory
from etude.runs.manifest import Manifest

KNOWN = (
    "step", "epoch", "loss", "learning_rate", "grad_norm", "rows", "tokens", "tokens_computed", "micro_batches",
    "seconds", "time", "skipped", "warning", "memory",
)  # fmt: skip
"""What every update's line in the diary says."""
LIVE = ("heldout_score", "heldout_score_low", "heldout_score_high")


@dataclass(frozen=True)
class TaskReports:
    """One task's reports; either can be missing."""

    name: str
    base: Report | None
    tuned: Report | None

    @property
    def either(self) -> Report:
        found = self.tuned or self.base
        assert found is not None
        return found


@dataclass(frozen=True)
class Metrics:
    """The lines of metrics.jsonl as curves and totals."""

    loss: Curve
    heldout: Curve
    learning_rate: Curve
    grad_norm: Curve
    tokens_per_second: Curve
    rows: int = 0
    tokens: int = 0
    tokens_computed: int = 0
    seconds: float = 0.0
    figures: Mapping[str, Curve] = field(default_factory=dict)
    """What the objective told of each update, by name."""
    heldout_figures: Mapping[str, Curve] = field(default_factory=dict)
    """The same on held-out samples."""
    live: Mapping[str, Curve] = field(default_factory=dict)
    """Score of the task that was asked during training, and the ends of its interval; by the names in LIVE."""
    warnings: tuple[str, ...] = ()
    """What was odd about an update: too little memory, why it was skipped, a spike."""


@dataclass(frozen=True)
class RunFiles:
    """What could be read of a run, and a notice for each part that could not."""

    folder: Path
    state: str
    """`runs.directory.State`, or `no manifest`."""
    manifest: Manifest | None
    run_file: str | None
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Metrics
    tasks: tuple[TaskReports, ...]
    verdicts: tuple[Verdict, ...]
    gap: Gap | None
    gates: tuple[GateResult, ...]
    notices: tuple[str, ...]
    retention: Retention | None = None
    memorization: Mapping[str, Any] = field(default_factory=dict)
    """What was found of what the model recites; empty where nobody asked."""
    looks: tuple[Mapping[str, Any], ...] = ()
    """Answers to the task that was asked during training, look by look."""

    def setting(self, path: str) -> Any:
        """A setting of the run file by its dotted path, or None."""
        found: Any = self.settings
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def read_run_files(folder: Path) -> RunFiles:
    """Reads a run directory. Raises RunError only when the folder is not there or holds nothing of a run."""
    run = RunDirectory(folder)
    if not folder.is_dir():
        raise RunError("no such run", where=str(folder))
    if not run.manifest_file.exists() and not run.metrics_file.exists():
        raise RunError("holds no run (neither manifest.json nor metrics.jsonl)", where=str(folder))
    notices: list[str] = []
    manifest = _manifest(folder, notices)
    run_file = _text(run.run_file, notices)
    verdicts, gap = _verdicts(run.verdict_file, notices)
    retention = _retention(run.retention_file, notices)
    return RunFiles(
        folder=folder,
        state=run.state if run.manifest_file.exists() else "no manifest",
        manifest=manifest,
        run_file=run_file,
        settings=_settings(run_file, notices),
        data=_data(run.data_file, notices),
        metrics=_metrics(run.metrics_file, notices),
        tasks=_tasks(run.reports, [verdict.task for verdict in verdicts], notices),
        verdicts=verdicts,
        gap=gap,
        gates=_gates(run.verdict_file),
        notices=tuple(notices),
        retention=retention,
        looks=_looks(run.answers_file, notices),
        memorization=_data(run.memorization_file, notices) if run.memorization_file.exists() else {},
    )


def _retention(path: Path, notices: list[str]) -> Retention | None:
    try:
        return Retention.load(path) if path.exists() else None
    except EtudeError as error:
        notices.append(f"{path.name}: {error.found}")
        return None


def _manifest(folder: Path, notices: list[str]) -> Manifest | None:
    try:
        return Manifest.load(folder)
    except RunError as error:
        notices.append(f"manifest.json: {error.found}")
        return None


def _text(path: Path, notices: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        notices.append(f"{path.name} is not there")
    except (OSError, UnicodeDecodeError) as error:
        notices.append(f"{path.name} cannot be read ({error})")
    return None


def _settings(run_file: str | None, notices: list[str]) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(run_file or "")
    except yaml.YAMLError:
        notices.append("run.yaml is not readable YAML")
        return {}
    return found if isinstance(found, dict) else {}


def _data(path: Path, notices: list[str]) -> Mapping[str, Any]:
    text = _text(path, notices)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        notices.append(f"{path.name} is not whole")
        return {}
    return found if isinstance(found, dict) else {}


def _metrics(path: Path, notices: list[str]) -> Metrics:
    updates: dict[int, dict[str, Any]] = {}
    heldout: dict[int, dict[str, Any]] = {}
    torn = 0
    for line in (_text(path, notices) or "").splitlines():
        row = _row(line)
        if row is None:
            torn += bool(line.strip())
        elif _finite(row.get("heldout_loss")):
            heldout[row["step"]] = row
        elif "loss" in row:
            updates[row["step"]] = row  # a step done again after a resume counts once
    if torn:
        notices.append(f"{path.name}: {torn} unreadable line{'s' * (torn > 1)} left out")
    odd = sum(not _finite(row["loss"]) for row in updates.values())
    if odd:
        notices.append(f"{path.name}: {odd} update{'s' * (odd > 1)} with a loss that is not a number, not drawn")
    rows = [updates[step] for step in sorted(updates)]
    looks = [heldout[step] for step in sorted(heldout)]
    return Metrics(
        loss=_curve(rows, "loss"),
        heldout=_curve(looks, "heldout_loss"),
        learning_rate=_curve(rows, "learning_rate"),
        grad_norm=_curve(rows, "grad_norm"),
        tokens_per_second=_speed(rows),
        rows=int(_total(rows, "rows")),
        tokens=int(_total(rows, "tokens")),
        tokens_computed=int(_total(rows, "tokens_computed")),
        seconds=_total(rows, "seconds"),
        figures={name: _curve(rows, name) for name in _names(rows, KNOWN)},
        heldout_figures={
            name.removeprefix("heldout_"): _curve(looks, name)
            for name in _names(looks, (*KNOWN, *LIVE, "heldout_loss"))
        },
        live={name: _curve(looks, name) for name in LIVE},
        warnings=tuple(
            f"update {row['step']}: {row[key]}"
            for row in rows
            for key in ("memory", "skipped", "warning")
            if key in row
        ),
    )


def _looks(path: Path, notices: list[str]) -> tuple[Mapping[str, Any], ...]:
    """A look done again after a resume counts once; none where no task was asked."""
    if not path.exists():
        return ()
    rows = [row for line in (_text(path, notices) or "").splitlines() if (row := _row(line)) and "answers" in row]
    by_step = {row["step"]: row for row in rows}
    return tuple(by_step[step] for step in sorted(by_step))


def _names(rows: list[dict[str, Any]], known: Sequence[str]) -> list[str]:
    """Names of the further numbers in the rows, in the order in which they come."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in known]


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _curve(rows: list[dict[str, Any]], name: str) -> Curve:
    kept = [(row["step"], float(row[name])) for row in rows if _finite(row.get(name))]
    return Curve(tuple(step for step, _ in kept), tuple(value for _, value in kept))


def _speed(rows: list[dict[str, Any]]) -> Curve:
    kept = [row for row in rows if _finite(row.get("tokens")) and _finite(row.get("seconds")) and row["seconds"] > 0]
    return Curve(tuple(row["step"] for row in kept), tuple(row["tokens"] / row["seconds"] for row in kept))


def _total(rows: list[dict[str, Any]], name: str) -> float:
    return sum(float(row[name]) for row in rows if _finite(row.get(name)))


def _tasks(folder: Path, first: list[str], notices: list[str]) -> tuple[TaskReports, ...]:
    files = (
        {path.name.removesuffix(".jsonl"): path for path in sorted(folder.glob("*.jsonl"))} if folder.is_dir() else {}
    )
    read = dict(_reports(files, notices))
    known = dict.fromkeys(name.removesuffix(".base") for name in read)
    names = dict.fromkeys([*(name for name in first if name in known), *known])  # in the verdicts' order
    return tuple(TaskReports(name, base=read.get(f"{name}.base"), tuned=read.get(name)) for name in names)


def _reports(files: Mapping[str, Path], notices: list[str]) -> Iterator[tuple[str, Report]]:
    for name, path in files.items():
        try:
            yield name, Report.load(path)
        except EtudeError as error:
            notices.append(f"reports/{path.name}: {error.found}")


def _verdicts(path: Path, notices: list[str]) -> tuple[tuple[Verdict, ...], Gap | None]:
    if not path.exists():
        notices.append(f"{path.name} is not there")
        return (), None
    try:
        return load_verdicts(path)
    except EtudeError as error:
        notices.append(f"{path.name}: {error.found}")
        return (), None


def _gates(path: Path) -> tuple[GateResult, ...]:
    """What is wrong with the file has been said with its verdicts."""
    try:
        return load_gates(path)
    except EtudeError:
        return ()
