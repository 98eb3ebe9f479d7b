"""The items of a task: its rows read, their ids, and what makes them unusable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from etude.data.raw import raw_rows
from etude.data.read import Records, read
from etude.errors import DataError, Problems
from etude.evaluation.metrics import metric_name
from etude.evaluation.tasks import Settings, Task
from etude.records import Message, Prompt

if TYPE_CHECKING:
    from etude.data.rows import RawRow
    from etude.models.loaded import LoadedModel
    from etude.records import Record

SHOWN_PROBLEMS = 20
Item = TypeVar("Item")


def read_rows(task: Task, kind: type | tuple[type, ...]) -> Records:
    """The task's rows; with rows left out it would be another task, so one bad row is too many."""
    columns = {name: column for name, column in task.columns.items() if name not in task.metric.reads}
    records = read(task.data, kind, format=task.format, columns=columns, system=task.system, max_bad_share=1.0)
    if records.bad:
        refuse(task, [*map(str, records.bad), "a task is measured on all of its rows: mend these or take them out"])
    if not records.rows:
        raise DataError("holds no rows", where=task.data, remedy=f"the task {task.name!r} needs at least one")
    return records


def prompts_of(task: Task) -> tuple[Records, list[Prompt], list[str]]:
    """The task's rows as prompts, each with its reference; empty where it has none.

    Raises:
        Problems: rows that cannot be used, or that lack a column which the metric reads.
    """
    records = read_rows(task, Prompt)
    prompts = [record for record in records.rows if isinstance(record, Prompt)]
    if not task.metric.reads:
        return records, prompts, [prompt.reference or "" for prompt in prompts]
    wanted = {name: task.columns.get(name, name) for name in task.metric.reads}
    held = {(row.origin.path, row.origin.line): row.columns for row in raw_rows(task.data)}
    references, missing = [], []
    for prompt in prompts:
        columns = held[prompt.origin.path, prompt.origin.line]
        missing += [f"{prompt.origin}: has no column {column!r}" for column in wanted.values() if column not in columns]
        references.append(json.dumps({name: columns.get(column) for name, column in wanted.items()}, default=str))
    refuse(task, missing)
    return records, prompts, references


def refuse(task: Task, problems: Sequence[str]) -> None:
    """Raises Problems that name the task and its data, if there are any; of many, the first ones."""
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        shown = [*problems[:SHOWN_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])]
        raise Problems(f"task {task.name!r} ({task.data})", shown)


def too_long(model: LoadedModel, records: Sequence[Record], rows: Sequence[Sized], *, room: int) -> list[str]:
    """A line for each row that, with `room` more tokens, does not fit the model's context."""
    most = context_tokens(model)
    if most is None:
        return []
    remedy = "lower max_new_tokens or shorten the prompt" if room else "split the text"
    plus = f" and {room} for the answer" if room else ""
    return [
        f"{record.origin}: {len(row)} tokens{plus} do not fit the model's context of {most}; {remedy}"
        for record, row in zip(records, rows, strict=True)
        if len(row) + room > most
    ]


def context_tokens(model: LoadedModel) -> int | None:
    """Longest sequence that the model was made for; None where its config sets no limit."""
    try:
        return int(model.module.config.get_text_config().max_position_embeddings)
    except AttributeError:
        return None


def item_id(record: Record | RawRow, task: Task) -> str:
    """File and line, the file named from the task's data on, so that reports of a moved data set still pair."""
    path, root = Path(record.origin.path), Path(task.data)
    if path == root:
        return f"{path.name}:{record.origin.line}"
    for above in (root, Path(root.name)):
        if path.is_relative_to(above):
            path = path.relative_to(above)
    return f"{path.as_posix()}:{record.origin.line}"


def shown(messages: Sequence[Message]) -> str:
    """The messages as people read them: a single one is its text, several carry their role."""
    if len(messages) == 1:
        return messages[0].text
    return "\n".join(f"{message.role}: {message.text}" for message in messages)


def settings_of(task: Task) -> dict[str, Any]:
    """What was asked and how, JSON-able, without the name and the data's place."""
    held = {item.name: getattr(task, item.name) for item in dataclasses.fields(Settings)}
    del held["name"], held["data"]
    options = task.metric.settings()
    return {name: _plain(value) for name, value in {**held, "metric": metric_name(task.metric), **options}.items()}


def some(items: Sequence[Item], limit: int | None) -> list[Item]:
    """So many of them, evenly over all: files are often sorted by what they hold, and begin with one kind of it."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def limited(task: Task, limit: int | None) -> Task:
    """With the smaller one of both limits."""
    return dataclasses.replace(
        task, limit=min((most for most in (task.limit, limit) if most is not None), default=None)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
