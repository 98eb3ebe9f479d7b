"""A task's items in two parts: one to steer by, and one that nothing is decided on before the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from etude import durable
from etude.data.audit.example import example
from etude.data.check import RowError
from etude.data.inputs import Reading, Row, open_inputs
from etude.errors import DataError
from etude.evaluation.items import some
from etude.evaluation.tasks import Task

FEWEST = 20
"""Items of a part; with fewer, neither can say anything."""
LONGEST_LABEL = 60


@dataclass(frozen=True)
class Halves:
    """The same task on two sets of its items."""

    steering: Task
    final: Task
    items: tuple[int, int]


def halves_of(task: Task, folder: Path, *, final_share: float, seed: int) -> Halves:
    """The task's rows in `folder/steering.jsonl` and `folder/final.jsonl`, as they stand.

    Rows of one group, and rows that are equal, stay together; short references are as common in both parts.

    Raises:
        DataError: too few rows.
    """
    reading = Reading(format=task.format, columns=task.columns, need_layout=False)
    every = [row for row in open_inputs([task.data], reading).each(task.name) if isinstance(row, Row)]
    rows = some(every, task.limit)
    is_final = _sides(rows, final_share, seed)
    parts = [[row for row, final in zip(rows, is_final, strict=True) if final is side] for side in (False, True)]
    if min(map(len, parts)) < FEWEST:
        raise DataError(
            f"{len(rows)} items are too few for two parts ({len(parts[0])} and {len(parts[1])})", where=task.data,
            remedy=f"each needs {FEWEST} or more",
        )  # fmt: skip
    tasks = []
    for name, part in zip(("steering", "final"), parts, strict=True):
        path = folder / f"{name}.jsonl"
        durable.write_text(path, "".join(f"{row.line()}\n" for row in part))
        tasks.append(replace(task, name=f"{task.name}-{name}", data=str(path), limit=None))
    return Halves(tasks[0], tasks[1], (len(parts[0]), len(parts[1])))


def _sides(rows: Sequence[Row], final_share: float, seed: int) -> list[bool]:
    """Whether each row is on the final side: units by the hash of what they say, label by label."""
    units: dict[str, list[int]] = defaultdict(list)
    label: dict[str, str] = {}
    for place, row in enumerate(rows):
        group = row.columns.get("group")
        unit = row.line() if group is None else f"group {group}"
        units[unit].append(place)
        label.setdefault(unit, _label(row))
    order = sorted(units, key=lambda unit: (label[unit], blake2b(f"{seed}/{unit}".encode()).digest()))
    found = [False] * len(rows)
    for at, unit in enumerate(order):
        for place in units[unit]:
            found[place] = int((at + 1) * final_share) > int(at * final_share)
    return found


def _label(row: Row) -> str:
    """The row's reference, where it is short."""
    try:
        answer = example(row.records()[0], {}).answer
    except RowError:
        return ""
    return answer if len(answer) <= LONGEST_LABEL else ""
