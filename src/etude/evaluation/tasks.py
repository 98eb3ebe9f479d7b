"""Tasks declared in a file: what to ask, what to compare the answers with, and by which metric.

name: banking77
data: test.csv                  # relative to this file; any layout that `etude data show` reads
columns: {prompt: "Query: {text}", completion: category}
metric: label                   # one of METRICS, or file.py:function
max_new_tokens: 24
limit: 500
labels: [card_arrival, ...]     # what the metric's own class in metrics/ declares
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from etude.data.options import Format
from etude.data.sources import REFUSED, ROWS, TEXTS, is_remote
from etude.errors import ConfigError, EtudeError, Problems
from etude.evaluation.metrics import METRICS, metric_class
from etude.evaluation.metrics.base import Kind

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from etude.yaml_text import Document, Plain, Where

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every task file may say, whatever its metric."""

    name: str
    """What reports and verdicts call it; also a file name."""
    data: str
    """Prompts with references (perplexity: conversations or texts): a file, a folder or a hub data-set name."""
    format: Format = "auto"
    """The rows' layout; `auto` detects it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the layout → column, or a template such as `"Classify: {text}"`."""
    system: str | None = None
    """System message put before prompts that have none."""
    max_new_tokens: int = 128
    """Longest answer, in tokens."""
    limit: int | None = None
    """Only so many items, evenly over the file."""


@dataclass(frozen=True, kw_only=True)
class Task(Settings):
    """One thing to measure a model on."""

    metric: Kind
    """How an answer is judged; its own fields are settings of the task file."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            found.append(("name", f"must be usable as a file name, got {self.name!r}"))
        if self.name.endswith(".base"):
            found.append(("name", "must not end in '.base'; that is what reports of the base model are called"))
        if self.max_new_tokens < 1:
            found.append(("max_new_tokens", f"must be at least 1, got {self.max_new_tokens}"))
        if self.limit is not None and self.limit < 1:
            found.append(("limit", f"must be at least 1, got {self.limit}"))
        return found + self.metric.problems()


def load_task(path: str | Path) -> Task:
    """Read and check a task file; a `data` that is a path comes back relative to where the task file is.

    Raises ConfigError for a file that cannot be read and Problems with everything wrong inside it, all at once.
    """
    from etude import yaml_text

    file = Path(path)
    needs = "a task needs at least name, data and metric"
    document = yaml_text.parse(yaml_text.read_text(file, needs=needs), where=str(file))
    if not isinstance(document.value, dict):
        raise ConfigError("holds no settings", where=str(file), remedy=needs)
    task, found = _read(document.value)
    found = [*document.problems, *found]
    if found or task is None:
        raise Problems(str(file), [_with_line(where, cause, document) for where, cause in found])
    folder = file.parent
    return dataclasses.replace(task, data=_resolve(task.data, folder), metric=task.metric.beside(folder))


def task_from(values: Mapping[str, Plain]) -> Task:
    """The task that a file with these settings declares. Raises Problems with everything wrong in them."""
    task, found = _read(values)
    if found or task is None:
        raise Problems("task", [EtudeError(cause, where=".".join(map(str, where))) for where, cause in found])
    return task


def _read(values: Mapping[str, Plain]) -> tuple[Task | None, list[tuple[Where, str]]]:
    found: list[tuple[Where, str]] = []
    kind = _kind(values, found)
    found += _unknown_settings(values, kind)
    common, options = _parts(values, kind)
    settings = _decode(Settings, common, found)
    metric = None if kind is None else _decode(kind, options, found)
    if settings is None or metric is None:
        return None, found
    task = Task(**{name: getattr(settings, name) for name in _names(Settings)}, metric=metric)
    return task, found + [((setting,), cause) for setting, cause in task.problems()]


def _kind(values: Mapping[str, Plain], found: list[tuple[Where, str]]) -> type[Kind] | None:
    """The class that `metric` names; what is wrong with it goes to `found`."""
    name = values.get("metric")
    if name is None:
        found.append((("metric",), "missing; every task needs it"))
        return None
    kind = metric_class(name) if isinstance(name, str) else None
    if kind is None:
        known = f"known: {', '.join(METRICS)}, file.py:function"
        found.append((("metric",), f"{name!r} is unknown; {_near(str(name), list(METRICS)) or known}"))
    return kind


def _parts(values: Mapping[str, Plain], kind: type[Kind] | None) -> tuple[dict[str, Plain], dict[str, Plain]]:
    """Settings of every task, and those of the metric."""
    common = {name: value for name, value in values.items() if name in _names(Settings)}
    options = {name: value for name, value in values.items() if kind is not None and name in _names(kind)}
    if isinstance(metric := values.get("metric"), str) and "function" in _names(kind):
        options["function"] = metric
    return common, options


def _with_line(where: Where, cause: str, document: Document) -> str:
    from etude.yaml_text import show

    line = document.lines.get(where)
    return f"{show(where)}{f' (line {line})' if line else ''}: {cause}"


def _resolve(data: str, folder: Path) -> str:
    """A file beside the task file; otherwise, unless it looks like a path, a URL or a hub data-set name."""
    if is_remote(data):
        return data
    beside = folder / Path(data).expanduser()
    ends_as_file = beside.suffix.lower() in {**ROWS, **TEXTS, **REFUSED}
    in_a_folder = "/" in data and beside.parent.is_dir()
    return str(beside) if beside.exists() or ends_as_file or in_a_folder or data.startswith(("./", "../")) else data


def _names(chosen: type | None) -> list[str]:
    return [item.name for item in dataclasses.fields(chosen)] if dataclasses.is_dataclass(chosen) else []


def _unknown_settings(values: Mapping[str, Plain], kind: type[Kind] | None) -> list[tuple[Where, str]]:
    known = ["metric", *_names(Settings), *_names(kind)]
    found: list[tuple[Where, str]] = []
    for name in values:
        if name in known:
            continue
        readers = [metric for metric in METRICS if name in _names(metric_class(metric))]
        if readers and kind is not None:
            listed = " or ".join(map(repr, readers))
            found.append(((name,), f"only the metric {listed} reads it, and this task's is {values['metric']!r}"))
        elif not readers:
            near = _near(name, known)
            found.append(((name,), f"unknown setting; {near or 'known: ' + ', '.join(known)}"))
    return found


def _decode(chosen: type[T], values: Mapping[str, Plain], found: list[tuple[Where, str]]) -> T | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        # Strict JSON mode: lists may become tuples, but a number is never taken for a text or the other way round.
        return TypeAdapter(chosen).validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        found += [_explain(problem) for problem in error.errors(include_url=False)]
        return None


_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "dict_type": "a table of name: value",
}


def _explain(problem: ErrorDetails) -> tuple[Where, str]:
    where = tuple(part for part in problem["loc"] if part != "[key]")
    found = problem["input"]
    if problem["type"] == "missing":
        return where, "missing; every task needs it"
    if problem["type"] == "unexpected_keyword_argument":
        return where, "unknown setting"
    if problem["type"] == "literal_error":
        options = [choice.strip("'") for choice in problem["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return where, f"{found!r} is unknown; {_near(str(found), options) or 'known: ' + ', '.join(options)}"
    cause = f"expected {_EXPECTED.get(problem['type'], problem['msg'])}, got {found!r}"
    quotes = problem["type"] == "string_type" and isinstance(found, bool | int | float)
    return where, f"{cause}; put it in quotes" if quotes else cause


def _near(name: str, known: Sequence[str]) -> str | None:
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def as_task(task: Task | str | Path) -> Task:
    """The task itself, or the one in the file that is named; a task made in code is checked as well."""
    if not isinstance(task, Task):
        return load_task(task)
    if problems := task.problems():
        raise Problems(f"task {task.name!r}", [EtudeError(cause, where=setting) for setting, cause in problems])
    return task
