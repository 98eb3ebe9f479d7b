"""One task on the page: its scores before and after, where it goes wrong, and answers side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.evaluation.report import Report, is_share
from etude.pages.answers import Group, groups
from etude.pages.figures import Confusion, Pair, before_and_after, confusion_matrix
from etude.pages.run_files import TaskReports
from etude.pages.svg import Draw, picture
from etude.pages.wording import NAMES, interval, label, number, percent, score, score_name

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_CONFUSIONS = 12
NOT_DRAWN = ("stop_rate", "unknown", "micro_precision", "micro_recall")
SMALL_MATRIX = 16
"""Labels up to which the matrix shows its counts, and the base model's beside it."""


@dataclass(frozen=True)
class ScoreRow:
    name: str
    base: str
    base_interval: str
    tuned: str
    tuned_interval: str
    is_primary: bool


@dataclass(frozen=True)
class FieldRow:
    """A JSON field of the tuned model's answers, with its F1 before."""

    field: str
    base_f1: str
    tuned_f1: str
    bar: float
    """F1 in percent."""
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Mixup:
    """A reference label often answered with another."""

    reference: str
    answered: str
    count: int
    share: str
    before: str


@dataclass(frozen=True)
class TaskSection:
    name: str
    about: str
    rows: tuple[ScoreRow, ...]
    chart: Markup | None
    chart_narrow: Markup | None
    matrices: tuple[tuple[str, Markup], ...]
    is_large_matrix: bool
    mixups: tuple[Mixup, ...]
    fields: tuple[FieldRow, ...]
    groups: tuple[Group, ...]
    missing: str | None


def task_section(task: TaskReports, place: int) -> TaskSection:
    """Everything to show of a task; `place` keeps its figures' ids apart."""
    pairs = share_pairs(task)
    charts: list[Markup | None] = [None, None]
    if pairs:
        alt = f"Scores of {task.name}: " + "; ".join(_said(pair) for pair in pairs)
        drawn, rows = before_and_after(pairs, is_share=True), len(pairs)
        charts = [
            picture(drawn, name=f"scores-{place}-{width}", alt=alt, width=width, height=70 + 44 * rows)
            for width in (1000, 380)
        ]
    small, matrices = _matrices(task, place)
    return TaskSection(
        name=task.name,
        about=_about(task.either),
        rows=_score_rows(task),
        chart=charts[0],
        chart_narrow=charts[1],
        matrices=matrices,
        is_large_matrix=not small,
        mixups=_mixups(task),
        fields=_field_rows(task),
        groups=groups(task.base, task.tuned) if task.base and task.tuned else (),
        missing=_missing(task),
    )


def _about(report: Report) -> str:
    return f"{score_name(report.metric)}, {len(report.items):,} items"


def _missing(task: TaskReports) -> str | None:
    if task.base is None:
        return "The base model was not measured on this task, so there is nothing to compare with."
    if task.tuned is None:
        return "Measured before training only: there is no report of the tuned model yet."
    return None


def _is_share(report: Report, key: str) -> bool:
    return is_share(key, higher_is_better=report.higher_is_better) and (key in report.intervals or key in NAMES)


def _shown_keys(report: Report) -> list[str]:
    keys = [report.metric, *(key for key in report.summary if key != report.metric)]
    return [key for key in keys if key in report.summary]


def _score_rows(task: TaskReports) -> tuple[ScoreRow, ...]:
    report = task.either
    rows = []
    for key in _shown_keys(report):
        in_percent = _is_share(report, key) or key == "stop_rate"
        base, base_interval = _cell(task.base, key, in_percent)
        tuned, tuned_interval = _cell(task.tuned, key, in_percent)
        rows.append(ScoreRow(score_name(key), base, base_interval, tuned, tuned_interval, key == report.metric))
    return (*rows, *_speed_rows(task))


def _speed_rows(task: TaskReports) -> tuple[ScoreRow, ...]:
    """How long an item took, and how fast answers were written; as measured, beside whatever else the machine did."""
    rows = []
    for name, of in (("seconds an item", _seconds), ("tokens a second", _tokens_a_second)):
        base, tuned = ("" if one is None else of(one) for one in (task.base, task.tuned))
        if base or tuned:
            rows.append(ScoreRow(name, base, "", tuned, "", is_primary=False))
    return tuple(rows)


def _seconds(report: Report) -> str:
    return number(report.seconds / len(report.items)) if report.seconds else ""


def _tokens_a_second(report: Report) -> str:
    tokens = sum(item.answer_tokens for item in report.items)
    return number(tokens / report.seconds) if report.seconds and tokens else ""


def _cell(report: Report | None, key: str, in_percent: bool) -> tuple[str, str]:
    if report is None or key not in report.summary:
        return "", ""
    ends = report.intervals.get(key)
    return score(report.summary[key], is_share=in_percent), interval(*ends, is_share=in_percent) if ends else ""


def share_pairs(task: TaskReports, *, prefix: str = "") -> tuple[Pair, ...]:
    """The scores between 0 and 1 that have an interval or are averages over labels, primary first."""
    report = task.either
    keys = [key for key in _shown_keys(report) if _is_share(report, key) and key not in NOT_DRAWN]
    return tuple(
        Pair(
            prefix + score_name(key),
            task.base.summary.get(key) if task.base else None,
            task.tuned.summary.get(key) if task.tuned else None,
            task.base.intervals.get(key) if task.base else None,
            task.tuned.intervals.get(key) if task.tuned else None,
        )
        for key in keys
    )


def _said(pair: Pair) -> str:
    ends = [percent(value) if value is not None else "not measured" for value in (pair.base, pair.tuned)]
    return f"{pair.name} {ends[0]} before, {ends[1]} after"


def confusion(report: Report | None) -> Confusion | None:
    """The confusion matrix of a label task's report."""
    table = report.tables.get("confusion") if report else None
    if not isinstance(table, Mapping):
        return None
    return Confusion(tuple(table["rows"]), tuple(table["columns"]), tuple(map(tuple, table["counts"])))


def matrix_drawing(table: Confusion, role: str) -> tuple[Draw, int, int]:
    """How to draw a matrix, and the width and height that it needs."""
    if len(table.rows) <= SMALL_MATRIX:
        side = 190 + 30 * max(len(table.rows), 4)
        return confusion_matrix(table, role=role), side + 20, side
    side = 190 + 11 * len(table.rows)
    return confusion_matrix(table, role=role), side + 10, side


def _matrices(task: TaskReports, place: int) -> tuple[bool, tuple[tuple[str, Markup], ...]]:
    tables = {"base": confusion(task.base), "tuned": confusion(task.tuned)}
    small = all(table is None or len(table.rows) <= SMALL_MATRIX for table in tables.values())
    titles = {"base": "base model", "tuned": "after training"}
    shown = {
        role: table for role, table in tables.items() if table and (small or role == "tuned" or not tables["tuned"])
    }
    found = []
    for role, table in shown.items():
        draw, width, height = matrix_drawing(table, role)
        right = sum(table.counts[row][row] for row in range(len(table.rows)))
        total = sum(map(sum, table.counts))
        alt = f"Confusion matrix of {task.name}, {titles[role]}: {right} of {total} answers on the diagonal"
        svg = picture(draw, name=f"confusion-{place}-{role}", alt=alt, width=width, height=height)
        found.append((titles[role], svg))
    return small, tuple(found)


def _mixups(task: TaskReports) -> tuple[Mixup, ...]:
    table, before = confusion(task.tuned), confusion(task.base)
    if table is None:
        return ()
    off = [
        (count, row, column)
        for row, counts in enumerate(table.counts)
        for column, count in enumerate(counts)
        if count and table.rows[row] != table.columns[column]
    ]
    same = before is not None and (before.rows, before.columns) == (table.rows, table.columns)
    return tuple(
        Mixup(
            reference=table.rows[row],
            answered=table.columns[column],
            count=count,
            share=percent(count / sum(table.counts[row]), 0),
            before=str(before.counts[row][column]) if before is not None and same else "",
        )
        for count, row, column in sorted(off, key=lambda found: (-found[0], found[1], found[2]))[:MOST_CONFUSIONS]
    )


def field_table(report: Report | None) -> dict[str, Mapping[str, Any]]:
    """Field → its row in the report of a JSON task."""
    rows = report.tables.get("fields") if report else None
    return {str(row["field"]): row for row in rows or () if isinstance(row, Mapping)}


def field_pairs(task: TaskReports) -> tuple[Pair, ...]:
    """F1 of each field before and after, the reference's fields only."""
    base, tuned = field_table(task.base), field_table(task.tuned)
    names = [name for name in (tuned or base) if (tuned or base)[name]["count"]]
    return tuple(
        Pair(name, base[name]["f1"] if name in base else None, tuned[name]["f1"] if name in tuned else None)
        for name in names
    )


def _field_rows(task: TaskReports) -> tuple[FieldRow, ...]:
    base, tuned = field_table(task.base), field_table(task.tuned)
    return tuple(
        FieldRow(
            field=label(name, 60),
            base_f1=percent(base[name]["f1"]) if name in base else "",
            tuned_f1=percent(row["f1"]) if name in tuned else "",
            bar=round(100 * row["f1"], 1),
            counts=tuple((fate, int(row[fate])) for fate in ("right", "wrong", "missing", "extra")),
        )
        for name, row in (tuned or base).items()
    )
