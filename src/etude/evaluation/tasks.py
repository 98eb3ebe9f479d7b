"""Tasks declared in a file: what to ask, what to compare the answers with, and by which metric.

name: banking77
data: test.csv                  # relative to this file; any layout that `etude data show` reads
columns: {prompt: "Query: {text}", completion: category}
metric: label                   # exact_match normalized_match label json regex rouge_l perplexity preference
labels: [card_arrival, ...]     # label: left out, the data's own references are the labels
fields: [intent, order.id]      # json: left out, every field of the reference counts
pattern: '#### (-?\\d+)'         # regex
max_new_tokens: 24
limit: 500
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from etude.data.options import Format
from etude.data.sources import REFUSED, ROWS, TEXTS
from etude.errors import ConfigError, EtudeError, Problems

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from etude.yaml_text import Document, Plain, Where

MetricName = Literal["exact_match", "normalized_match", "label", "json", "regex", "rouge_l", "perplexity", "preference"]
ONLY_FOR = {"labels": "label", "fields": "json", "pattern": "regex"}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to measure a model on."""

    name: str
    """What reports and verdicts call it; also a file name."""
    data: str
    """Prompts with references (perplexity: conversations or texts): a file, a folder or a hub data-set name."""
    metric: MetricName
    """How an answer is compared with its reference."""
    format: Format = "auto"
    """The rows' layout; `auto` detects it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the layout → column, or a template such as `"Classify: {text}"`."""
    system: str | None = None
    """System message put before prompts that have none."""
    labels: tuple[str, ...] = ()
    """label: the possible answers; left out, the references that occur."""
    fields: tuple[str, ...] = ()
    """json: the fields that count, `a.b` inside objects; left out, all of them."""
    pattern: str | None = None
    """regex: found in the answer is right; with a group, the group's text must equal the reference."""
    max_new_tokens: int = 128
    """Longest answer, in tokens."""
    limit: int | None = None
    """Only the first so many items."""

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
        for setting, metric in ONLY_FOR.items():
            if getattr(self, setting) and self.metric != metric:
                found.append(
                    (setting, f"only the metric {metric!r} reads it, and this task's metric is {self.metric!r}")
                )
        return found + _pattern_problems(self)


def _pattern_problems(task: Task) -> list[tuple[str, str]]:
    import re

    if task.metric != "regex":
        return []
    if not task.pattern:
        return [("pattern", "missing; the metric 'regex' needs one")]
    try:
        groups = re.compile(task.pattern).groups
    except re.error as error:
        return [("pattern", f"is not a regular expression: {error}")]
    return [("pattern", f"has {groups} groups; use one, and (?:…) for the others")] if groups > 1 else []


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
    found = [*document.problems, *_unknown_settings(document.value)]
    task, wrong = _decode({name: value for name, value in document.value.items() if name in _settings()})
    found += wrong
    if task is not None:
        found += [((setting,), cause) for setting, cause in task.problems()]
    if found or task is None:
        raise Problems(str(file), [_with_line(where, cause, document) for where, cause in found])
    return dataclasses.replace(task, data=_resolve(task.data, file.parent))


def _with_line(where: Where, cause: str, document: Document) -> str:
    from etude.yaml_text import show

    line = document.lines.get(where)
    return f"{show(where)}{f' (line {line})' if line else ''}: {cause}"


def _resolve(data: str, folder: Path) -> str:
    """A file beside the task file; otherwise, unless it looks like a path, a hub data-set name."""
    beside = folder / Path(data).expanduser()
    ends_as_file = beside.suffix.lower() in {**ROWS, **TEXTS, **REFUSED}
    in_a_folder = "/" in data and beside.parent.is_dir()
    return str(beside) if beside.exists() or ends_as_file or in_a_folder or data.startswith(("./", "../")) else data


def _settings() -> list[str]:
    return [item.name for item in dataclasses.fields(Task)]


def _unknown_settings(values: Mapping[str, Plain]) -> list[tuple[Where, str]]:
    found: list[tuple[Where, str]] = []
    for name in values:
        if name not in _settings():
            near = _near(name, _settings())
            found.append(((name,), f"unknown setting; {near or 'known: ' + ', '.join(_settings())}"))
    return found


def _decode(values: Mapping[str, Plain]) -> tuple[Task | None, list[tuple[Where, str]]]:
    from pydantic import TypeAdapter, ValidationError

    try:
        # Strict JSON mode: lists may become tuples, but a number is never taken for a text or the other way round.
        return TypeAdapter(Task).validate_json(json.dumps(values), strict=True), []
    except ValidationError as error:
        return None, [_explain(problem) for problem in error.errors(include_url=False)]


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
    if problem["type"] == "literal_error":
        options = get_args(MetricName if where == ("metric",) else Format)
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
