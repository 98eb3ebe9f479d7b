"""Two reports, paired item by item: better, worse, or not enough evidence."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import EtudeError

if TYPE_CHECKING:
    from rich.table import Table

    from etude.comparison.verdict import Verdict
    from etude.evaluation.report import Report

STYLES = {"better": "green", "worse": "red", "not enough evidence": "yellow"}


def add_arguments(parser: ArgumentParser) -> None:
    """What to compare with what, and how strict to be."""
    parser.add_argument("tuned", metavar="A", help="a report file or a run directory: is it better?")
    parser.add_argument(
        "base", metavar="B", nargs="?", help="what it is compared with; left out, the base model's reports in run A"
    )
    parser.add_argument("--task", metavar="NAME", help="only this task; all that both have when left out")
    parser.add_argument("--metric", metavar="NAME", help="another item score than the task's primary one")
    parser.add_argument("--level", type=float, default=0.95, help="confidence level (0.95)")
    parser.add_argument(
        "--smallest-gain", type=float, default=0.0, metavar="G", help="the gain that matters, 0.01 is a point (0)"
    )
    parser.add_argument("--gate", action="store_true", help="exit 1 unless everything compared is better")
    parser.epilog = "Several tasks at once are Holm-corrected: the level holds for all of them together."


def run(arguments: Namespace) -> int:
    """Pair, judge, print."""
    from etude.cli.terminal import console
    from etude.comparison.verdict import compare_all

    pairs, left_out = find_pairs(arguments.tuned, arguments.base, task=arguments.task)
    verdicts = compare_all(
        pairs,
        level=arguments.level,
        smallest_gain=arguments.smallest_gain,
        metrics=[arguments.metric] * len(pairs) if arguments.metric else None,
    )
    for verdict in verdicts:
        console.print(verdict.sentence(), style=STYLES[verdict.answer], markup=False, soft_wrap=True)
    console.print(verdicts_table(verdicts))
    if left_out:
        console.print(f"not compared, only on one side: {', '.join(left_out)}", markup=False, soft_wrap=True)
    return 1 if arguments.gate and not all(verdict.better for verdict in verdicts) else 0


def find_pairs(
    tuned: str, base: str | None, *, task: str | None = None
) -> tuple[list[tuple[Report, Report]], list[str]]:
    """The (tuned, base) reports that two names stand for, and the tasks that only one of them has."""
    first = _reports(Path(tuned), of_base=False)
    if base is None and not Path(tuned).is_dir():
        raise EtudeError("compare with what?", where=tuned, remedy="give a second report, or a run directory alone")
    second = _reports(Path(tuned if base is None else base), of_base=base is None)
    common = [name for name in first if name in second and task in (None, name)]
    if not common:
        wanted = f"the task {task!r}" if task else "a task"
        raise EtudeError(
            f"{tuned} and {base or 'its base'} do not both have {wanted}",
            remedy=f"the first has {', '.join(first) or 'none'}, the second {', '.join(second) or 'none'}",
        )
    left_out = sorted(first.keys() ^ second.keys()) if task is None else []
    return [(_load(first[name]), _load(second[name])) for name in common], left_out


def _reports(place: Path, *, of_base: bool) -> dict[str, Path | Report]:
    """Task → report: one for a file, all those of the run (or of its base) for a directory."""
    from etude.evaluation.report import Report
    from etude.runs.directory import open_run

    if not place.is_dir():
        report = Report.load(place)
        return {report.task: report}
    found = {path.name.removesuffix(".jsonl"): path for path in sorted(open_run(place).reports.glob("*.jsonl"))}
    return {name.removesuffix(".base"): path for name, path in found.items() if name.endswith(".base") == of_base}


def _load(report: Path | Report) -> Report:
    from etude.evaluation.report import Report

    return report if isinstance(report, Report) else Report.load(report)


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """A line per verdict: both scores, the gain with its interval, and on how many items each was right or better."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from etude.comparison.verdict import shown_interval, shown_score

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for name in ("task", "n", "from", "to", "gain", "p", "items"):
        table.add_column(name, justify="right" if name in ("n", "from", "to", "p") else "left")
    for verdict in verdicts:
        cells = (
            verdict.task,
            f"{verdict.n:,}",
            shown_score(verdict.base, verdict),
            shown_score(verdict.tuned, verdict),
            shown_interval(verdict),
            f"{verdict.p_value:.2g}",
            ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in verdict.details.items()),
        )
        table.add_row(*map(Text, cells))
    return table
