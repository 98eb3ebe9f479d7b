"""Asks a model every item of a task and scores what it answers: the base, a tuned model, a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.errors import EtudeError
from etude.evaluation.answers import answer_prompts, usable_prompts
from etude.evaluation.choices import questions_of, score_choices
from etude.evaluation.items import limited, read_rows, settings_of
from etude.evaluation.pairs import score_pairs
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task, as_task
from etude.evaluation.texts import score_texts
from etude.records import Conversation, Preference, Prompt, Text

if TYPE_CHECKING:
    from etude.models.loaded import Subject

OnProgress = Callable[[int, int], None]


def evaluate(
    subject: Subject,
    task: Task | str | Path,
    *,
    batch_rows: int = 32,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Every item of a task, asked and scored: greedy answers, or how likely texts, pairs or choices are.

    `limit` takes so many items, evenly over the file (as the task's own does; the smaller one counts), `on_progress`
    hears (done, total). Nothing is left out in silence: a row that cannot be used, a reference that the metric cannot
    use and a prompt that does not fit the model's context raise Problems, all of them at once.
    """
    task = as_task(task)
    if limit is not None and limit < 1:
        raise EtudeError(f"must be at least 1, got {limit}", where="limit")
    if batch_rows < 1:
        raise EtudeError(f"must be at least 1, got {batch_rows}", where="batch_rows")
    task = limited(task, limit)
    with subject.use() as model:
        if task.metric.asks == "answers":
            return answer_prompts(subject.name, model, task, batch_rows=batch_rows, on_progress=on_progress)
        score = {"texts": score_texts, "pairs": score_pairs, "choices": score_choices}[task.metric.asks]
        started = time.perf_counter()
        report = score(subject.name, model, task, on_progress=on_progress)
        return replace(report, seconds=round(time.perf_counter() - started, 6))


def check_rows(task: Task) -> str:
    """Reads a task's rows as `evaluate` does, without a model, and gives their sha256: mistakes are found early."""
    if task.metric.asks == "answers":
        return usable_prompts(task)[0].sha256
    if task.metric.asks == "choices":
        return questions_of(task)[0].sha256
    return read_rows(task, (Conversation, Text) if task.metric.asks == "texts" else Preference).sha256


def num_items(task: Task, *, limit: int | None = None) -> int:
    """How many items would be asked, without a model."""
    kind = {"texts": (Conversation, Text), "pairs": (Preference,)}.get(task.metric.asks, (Prompt,))
    there = len(read_rows(task, kind).rows)
    return min([there, *(most for most in (task.limit, limit) if most is not None)])


def asked(task: Task, *, limit: int | None = None) -> dict[str, Any]:
    """The `settings` of the report that `evaluate` would make."""
    return settings_of(limited(task, limit))
