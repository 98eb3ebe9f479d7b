"""Why a run fails where it does: its report, its task's rows and its training rows brought together."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.config import RunFile, load_run_file
from etude.cycle.show import Show
from etude.data.audit.example import Sample, example
from etude.data.audit.vectors import Embed
from etude.data.raw import raw_rows
from etude.data.read import content_of, read
from etude.diagnosis.explaining import Training, explain
from etude.diagnosis.explanation import Explanation
from etude.diagnosis.nearest import TrainingRow
from etude.diagnosis.options import ExplainOptions
from etude.errors import EtudeError, RunError
from etude.evaluation.items import item_id
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task, load_task
from etude.runs.directory import is_run, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT_ANSWER = 200
"""Letters of an answer that may be a label; longer ones are not counted by what they are."""


def explain_run(
    folder: Path, options: ExplainOptions, show: Show, *, task: str | None = None, embed: Embed | None = None
) -> Explanation:
    """Explains a finished run's report on a task, the first one if none is named.

    Raises:
        RunError: no run, no such task, or a task that was not measured.
    """
    run = open_run(folder)
    run_file = load_run_file(run.run_file, check_files=False)
    tasks = {Path(path): None for path in run_file.evaluation.tasks if Path(path).is_file()}
    found = {one.name: one for one in map(load_task, tasks)}
    name = task or next(iter(found), None)
    if name is None:
        raise RunError("has no task to explain", where=str(folder), remedy="etude evaluate --explain asks it one")
    file = run.report(name)
    if not file.is_file():
        known = ", ".join(sorted(found)) or "none"
        raise RunError(f"has no report on {name!r}", where=str(folder), remedy=f"its tasks are {known}")
    return explain_report(
        Report.load(file), options, show, task=found.get(name), path=str(file), run_file=run_file, embed=embed
    )


def explain_report(
    report: Report,
    options: ExplainOptions,
    show: Show,
    *,
    task: Task | None,
    path: str = "",
    run_file: RunFile | None = None,
    embed: Embed | None = None,
) -> Explanation:
    """Explains any report; with the run file that the model was trained from, training rows are looked at too."""
    training = None if run_file is None else training_of(run_file, options, show)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
    columns = {} if task is None else columns_of(task, report.data_sha256)
    show.say(f"explaining {len(report.items):,} items of {report.task}")
    return explain(report, columns=columns, training=training, embed=embed, options=options, path=path, sha256=digest)


def run_file_of(subject: str) -> RunFile | None:
    """The run file of a run by its folder; None for anything else."""
    folder = Path(subject)
    return load_run_file(open_run(folder).run_file, check_files=False) if is_run(folder) else None


def columns_of(task: Task, data_sha256: str) -> dict[str, Mapping[str, Any]]:
    """The task's rows by item id; none where the data has changed since it was measured."""
    try:
        if content_of(task.data).sha256 != data_sha256:
            return {}
        return {item_id(row, task): row.columns for row in raw_rows(task.data)}
    except EtudeError:
        return {}


def training_of(run_file: RunFile, options: ExplainOptions, show: Show) -> Training | None:
    """The rows that a run learns from, an even sample if there are many; None where they are no longer there."""
    data = run_file.data
    if Path(data.train).is_absolute() and not Path(data.train).exists():
        return None
    records = read(
        data.train, run_file.objective.learns_from, format=data.format, columns=data.columns, system=data.system,
        max_bad_share=data.max_bad_share, streams=True,
    )  # fmt: skip
    sample = Sample(options.training_rows, options.seed)
    answers: Counter[str] = Counter()
    with show.progress("reading training rows") as on_progress:
        for number, record in enumerate(records):
            one = example(record, {})
            sample.take(one)
            if len(one.answer) <= SHORT_ANSWER:
                answers[one.answer.strip().casefold()] += 1
            if not number % 1000:
                on_progress(number, len(records))
        on_progress(len(records), len(records))
    rows = [TrainingRow(one.origin, one.question, one.answer) for one in sample.finish()]
    reading = {"format": data.format, "columns": dict(data.columns), "system": data.system}
    return Training(data.train, reading, rows, sample.seen, answers)
