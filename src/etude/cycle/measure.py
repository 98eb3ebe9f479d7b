"""A run's tasks, measured before training and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude import durable
from etude.comparison.plan import foreseen_gain
from etude.config import RunFile
from etude.cycle.show import Show
from etude.errors import ConfigError, EtudeError
from etude.evaluation.harness import asked, check_rows, evaluate
from etude.evaluation.options import EvaluationOptions
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task, as_task
from etude.models.loaded import Subject
from etude.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Measuring:
    """Where reports go, and how they are made."""

    run: RunDirectory
    evaluation: EvaluationOptions
    show: Show
    resume: bool
    retention: bool = False
    """Whether the tasks are probes of what a model should still know."""


TaskRows = tuple[Task, str]
"""A task and the hash of its rows."""


def tasks_of(run_file: RunFile) -> dict[str, TaskRows]:
    """The tasks by name: what is wrong with one is said before hours of training."""
    return named_tasks(run_file.evaluation.tasks, "evaluation.tasks")


def named_tasks(paths: Sequence[str], setting: str) -> dict[str, TaskRows]:
    """The tasks of these files, their rows read once.

    Raises:
        ConfigError: two tasks have the same name.
    """
    found: dict[str, TaskRows] = {}
    for path in paths:
        task = as_task(path)
        if task.name in found:
            raise ConfigError(f"two tasks are called {task.name!r}", where=setting, remedy="rename one")
        found[task.name] = (task, check_rows(task))
    return found


def measure(measuring: Measuring, subject: Subject, tasks: Mapping[str, TaskRows], *, base: bool) -> dict[str, Report]:
    """A report for each task; the base's that a resumed run has already is not made again."""
    reports: dict[str, Report] = {}
    evaluation = measuring.evaluation
    which = "base" if base else "tuned"
    folder = measuring.run.report("any", retention=measuring.retention).parent
    durable.make_directory(measuring.run.reports, exist_ok=True)
    durable.make_directory(folder, exist_ok=True)
    for name, (task, rows_sha256) in tasks.items():
        path = measuring.run.report(name, base=base, retention=measuring.retention)
        known = _known(path, task, rows_sha256, limit=evaluation.limit) if base and measuring.resume else None
        if known is not None:
            reports[name] = known
            continue
        with measuring.show.progress(f"measuring the {which} model on {task.name}") as on_progress:
            report = evaluate(
                subject, task, batch_rows=evaluation.batch_rows, limit=evaluation.limit, on_progress=on_progress
            )
        report.save(path)
        reports[name] = report
        measuring.show.say(f"{name}, {which}: {report.metric} {report.summary[report.metric]:.4g}")
        if base and not measuring.retention and (foreseen := foreseen_gain(report)):
            measuring.show.say(foreseen)
    return reports


def _known(path: Path, task: Task, rows_sha256: str, *, limit: int | None) -> Report | None:
    """A report that is there already, if it is whole and says what measuring again would."""
    try:
        report = Report.load(path)
    except EtudeError:
        return None
    same = report.data_sha256 == rows_sha256 and report.settings == asked(task, limit=limit)
    return report if same else None
