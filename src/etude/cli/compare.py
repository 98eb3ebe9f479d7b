"""Two reports, paired item by item: better, worse, equivalent, or not enough evidence."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import EtudeError

if TYPE_CHECKING:
    from rich.table import Table

    from etude.comparison.pairing import Side
    from etude.comparison.verdict import Verdict
    from etude.evaluation.report import Report

STYLES = {
    "better": "green", "worse": "red", "equivalent": "cyan", "not enough evidence": "yellow",
    "passed": "green", "not passed": "red",
}  # fmt: skip


def add_arguments(parser: ArgumentParser) -> None:
    """What to compare with what, and how strict to be."""
    parser.add_argument("tuned", metavar="A", help="a report file or a run directory: is it better?")
    parser.add_argument(
        "base", metavar="B", nargs="?", help="what it is compared with; left out, the base model's reports in run A"
    )
    parser.add_argument(
        "--seeds", metavar="A", nargs="+", default=[], help="more runs of A's settings, trained from other seeds"
    )
    parser.add_argument(
        "--base-seeds", metavar="B", nargs="+", default=[], help="more runs of B's settings, trained from other seeds"
    )
    parser.add_argument("--task", metavar="NAME", help="only this task; all that both have when left out")
    parser.add_argument("--metric", metavar="NAME", help="another item score than the task's primary one")
    parser.add_argument("--level", type=float, default=0.95, help="confidence level (0.95)")
    parser.add_argument(
        "--smallest-gain", type=float, default=0.0, metavar="G",
        help="the gain that matters, 0.01 is a point (0); differences shown to be smaller are equivalent",
    )  # fmt: skip
    parser.add_argument(
        "--seed-deviation", type=float, metavar="SD",
        help="standard deviation of the score between seeds, from earlier runs: speaks of settings, not of models",
    )  # fmt: skip
    parser.add_argument("--gate", action="store_true", help="exit 1 unless everything compared is better")
    parser.add_argument("--gates", metavar="RUN.yaml", help="judge this run file's gates; exit 1 unless all are passed")
    parser.epilog = "Several tasks at once are Holm-corrected: the level holds for all of them together."


def run(arguments: Namespace) -> int:
    """Pair, judge, print."""
    from etude.cli.terminal import console, say
    from etude.comparison.verdict import compare_all
    from etude.runs.alike import refuse_unlike
    from etude.runs.directory import is_run

    if arguments.base_seeds and arguments.base is None:
        raise EtudeError("more runs of B, and there is no B", where="--base-seeds")
    if arguments.gate and arguments.gates:
        raise EtudeError("--gate and --gates are two ways to say what must hold; give one of them")
    sides = ([arguments.tuned, *arguments.seeds], [arguments.base, *arguments.base_seeds])
    unchecked = [name for side in sides if len(side) > 1 for name in refuse_unlike(side)]
    names, pairs, left_out = find_pairs(
        [arguments.tuned, *arguments.seeds],
        [arguments.base, *arguments.base_seeds] if arguments.base else [],
        task=arguments.task,
    )
    verdicts = compare_all(
        pairs,
        level=arguments.level,
        smallest_gain=arguments.smallest_gain,
        metrics=[arguments.metric] * len(pairs) if arguments.metric else None,
        both_trained=arguments.base is not None and is_run(Path(arguments.tuned)) and is_run(Path(arguments.base)),
        seed_deviation=arguments.seed_deviation,
    )
    for verdict in verdicts:
        say(verdict.sentence(), STYLES[verdict.answer])
    console.print(verdicts_table(verdicts))
    if unchecked:
        said = "no runs' folders, so not checked to be the same settings with other seeds"
        say(f"{said}: {', '.join(unchecked)}")
    if left_out:
        say(f"not compared, only on one side: {', '.join(left_out)}")
    if arguments.gates:
        return _judge_gates(arguments.gates, arguments.tuned, names, pairs)
    return 1 if arguments.gate and not all(verdict.better for verdict in verdicts) else 0


def _judge_gates(path: str, tuned: str, names: Sequence[str], pairs: Sequence[tuple[Side, Side]]) -> int:
    from etude.cli.terminal import say
    from etude.cycle.gates import gates_of, judged_again
    from etude.runs.directory import RunDirectory, is_run

    folder = Path(tuned)
    results = judged_again(gates_of(path), pairs, names, RunDirectory(folder) if is_run(folder) else None)
    for result in results:
        say(f"gate {result.sentence()}", STYLES[result.outcome])
    passed = sum(result.passed for result in results)
    say(f"{passed} of {len(results)} gates passed")
    return 0 if passed == len(results) else 1


def find_pairs(
    tuned: Sequence[str], base: Sequence[str], *, task: str | None = None
) -> tuple[list[str], list[tuple[Side, Side]], list[str]]:
    """The tasks that all of these runs or report files have, each task's two sides, and the tasks that only some have.

    Without a `base` it is the base model's reports in the first run.
    """
    if not base and not Path(tuned[0]).is_dir():
        raise EtudeError("compare with what?", where=tuned[0], remedy="give a second report, or a run directory alone")
    sides = [
        [_reports(Path(name), of_base=False) for name in tuned],
        [_reports(Path(name), of_base=not base) for name in base or tuned[:1]],
    ]
    found = [reports for side in sides for reports in side]
    common = [name for name in found[0] if all(name in reports for reports in found) and task in (None, name)]
    if not common:
        wanted = f"the task {task!r}" if task else "a task"
        who, both = " and ".join([*tuned, *(base or ["its base"])]), "all" if len(found) > 2 else "both"
        raise EtudeError(
            f"{who} do not {both} have {wanted}",
            remedy="they have " + "; ".join(", ".join(reports) or "none" for reports in found),
        )
    left_out = sorted({name for reports in found for name in reports} - set(common)) if task is None else []
    pairs = [tuple([_load(reports[name]) for reports in side] for side in sides) for name in common]
    return common, [(mine, its) for mine, its in pairs], left_out


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

    from etude.cli.terminal import cell

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for name in ("task", "n", "from", "to", "gain", "p", "items"):
        table.add_column(name, justify="right" if name in ("n", "from", "to", "p") else "left")
    for verdict in verdicts:
        cells = (
            verdict.task,
            f"{verdict.n:,}",
            verdict.scale.score(verdict.base),
            verdict.scale.score(verdict.tuned),
            verdict.scale.interval(verdict.difference, verdict.low, verdict.high),
            f"{verdict.p_value:.2g}",
            ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in verdict.details.items()),
        )
        table.add_row(*map(cell, cells))
    return table
