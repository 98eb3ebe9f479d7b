"""Measure a model or a run on a task: scores with their intervals, a few answers, and why it fails where it does."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from etude.errors import EtudeError

if TYPE_CHECKING:
    from rich.table import Table

    from etude.evaluation.report import ItemResult, Report
    from etude.evaluation.tasks import Task

SAMPLES = 3
SHOWN_LETTERS = 400
LENGTHS = ("mean_answer_tokens", "longest_answer_tokens", "mean_prompt_tokens", "longest_prompt_tokens", "num_tokens")


def add_arguments(parser: ArgumentParser) -> None:
    """What to ask, on which task, and where the report goes."""
    parser.add_argument("subject", metavar="RUN_OR_MODEL", help="a run directory, or a model as in a run file")
    parser.add_argument("task", metavar="TASK.yaml", nargs="?", help="the task file")
    parser.add_argument(
        "--save", metavar="FILE", help="write the report (a line per item) for etude compare; several: into this folder"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N items, evenly over the file")
    parser.add_argument("--batch-rows", type=int, default=32, metavar="N", help="prompts decoded together (32)")
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        help="how weights are held; as in the run if left out",
    )
    parser.add_argument(
        "--explain", nargs="?", const="", metavar="NAME",
        help="say where it fails, in NAME.html and NAME.json (TASK.explanation in this folder)",
    )  # fmt: skip
    group = parser.add_argument_group("lm-evaluation-harness, instead of a task file")
    group.add_argument("--harness", metavar="TASK[,TASK]", help="names of its tasks or groups")
    group.add_argument("--harness-folder", metavar="FOLDER", help="with task files of your own, beside its own")
    group.add_argument("--shots", type=int, metavar="N", help="examples before each item (as the task says)")
    group.add_argument("--chat", action="store_true", help="put prompts through the model's chat template")


def run(arguments: Namespace) -> int:
    """Evaluate, save, print."""
    if arguments.harness:
        reports = _harness_reports(arguments)
        for report in reports:
            place = os.path.join(arguments.save or "", f"{report.task}.jsonl") if len(reports) > 1 else arguments.save
            _save_and_tell(report, place if arguments.save else None)
        return 0
    report, task = _task_report(arguments)
    _save_and_tell(report, arguments.save)
    if arguments.explain is not None:
        _explain(report, task, arguments)
    return 0


def _save_and_tell(report: Report, place: str | None) -> None:
    from etude.cli.terminal import console, say, visible

    if place:
        report.save(place)
    console.print(scores_table(report))
    if report.seconds:
        say(speed_line(report), "dim")
    for line in remarks(report):
        say(line, "yellow")
    for item in samples(report):
        console.print(visible(_shown_item(item, report)), markup=False, highlight=False)
    if place:
        say(f"report: {place}")


def _task_report(arguments: Namespace) -> tuple[Report, Task]:
    from etude.cli.terminal import progress, quiet_libraries
    from etude.evaluation.tasks import load_task

    if arguments.task is None:
        raise EtudeError("a task file or --harness TASK says what to measure")
    only = {"--harness-folder": arguments.harness_folder, "--shots": arguments.shots, "--chat": arguments.chat}
    if unread := [name for name, given in only.items() if given]:
        raise EtudeError("only --harness reads it", where=", ".join(unread))
    task = load_task(arguments.task)  # a mistake in the task file is said before the model is loaded
    _tell_power(task, arguments.limit)
    from etude.cycle.subjects import open_subject
    from etude.evaluation.harness import evaluate

    quiet_libraries()
    subject = open_subject(arguments.subject, precision=arguments.precision)
    with progress(f"{task.name}: {subject.name}") as on_progress:
        report = evaluate(
            subject, task, batch_rows=arguments.batch_rows, limit=arguments.limit, on_progress=on_progress
        )
    return report, task


def _tell_power(task: Task, limit: int | None) -> None:
    """Before anything is asked: what a comparison on these items could show."""
    from etude.comparison.plan import detectable_line, worst_case
    from etude.evaluation.harness import num_items

    items = num_items(task, limit=limit)
    if task.metric.asks != "texts" and items > 1:
        print(detectable_line(task.name, items, worst_case()), file=sys.stderr)


def _harness_reports(arguments: Namespace) -> list[Report]:
    from etude.cli.terminal import progress, quiet_libraries
    from etude.evaluation.lm_harness import HarnessOptions, harness_reports

    if arguments.task is not None:
        raise EtudeError("is a second thing to measure beside --harness; give one of them", where=arguments.task)
    if arguments.explain is not None:
        raise EtudeError("explains task files, not --harness", where="--explain")
    options = HarnessOptions(
        tasks=tuple(arguments.harness.split(",")),
        folder=arguments.harness_folder,
        shots=arguments.shots,
        chat=arguments.chat,
        limit=arguments.limit,
        batch_rows=arguments.batch_rows,
    )
    options.check()
    from etude.cycle.subjects import open_subject

    quiet_libraries()
    subject = open_subject(arguments.subject, precision=arguments.precision)
    with progress(f"{arguments.harness}: {subject.name}") as on_progress:
        return harness_reports(subject, options, on_progress=on_progress)


def _explain(report: Report, task: Task, arguments: Namespace) -> None:
    from etude.cli.explaining import write_and_tell
    from etude.cli.train import OnTerminal
    from etude.cycle.explaining import explain_report, run_file_of
    from etude.diagnosis.options import ExplainOptions

    found = explain_report(
        report, ExplainOptions(), OnTerminal(), task=task, path=arguments.save or "",
        run_file=run_file_of(arguments.subject),
    )  # fmt: skip
    write_and_tell(found, arguments.explain or None)


def scores_table(report: Report) -> Table:
    """Every number of the summary, with its interval where there is one; the primary score first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from etude.cli.terminal import cell

    title = cell(f"{report.task}, {len(report.items):,} items, {report.subject}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column(f"{100 * report.level:g} % interval")
    names = [report.metric, *(name for name in report.summary if name != report.metric)]
    for name in names:
        interval = report.intervals.get(name)
        ends = f"{_shown(report, name, interval[0])} to {_shown(report, name, interval[1])}" if interval else ""
        table.add_row(
            cell(name), _shown(report, name, report.summary[name]), ends, style="bold" if name == names[0] else ""
        )
    return table


def _shown(report: Report, name: str, value: float) -> str:
    if name in LENGTHS:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{100 * value:.1f} %" if report.higher_is_better else f"{value:.4f}"


def speed_line(report: Report) -> str:
    """How fast the answers, or the scores, came."""
    seconds, tokens = report.seconds or 0.0, sum(item.answer_tokens for item in report.items)
    each = [item.seconds for item in report.items if item.seconds is not None]
    if not each:
        return f"{seconds:,.1f} s, {seconds / len(report.items):,.3f} s an item"
    return (
        f"{seconds:,.1f} s, {seconds / len(report.items):,.2f} s an answer (the slowest came after {max(each):,.2f} s "
        f"in its batch), {tokens / seconds:,.0f} tokens a second"
    )


def remarks(report: Report) -> list[str]:
    """What a reader of the scores should know before believing them."""
    found = []
    cut = sum(item.finish == "length" for item in report.items)
    if cut:
        most = report.settings.get("max_new_tokens")
        found.append(f"{cut:,} of {len(report.items):,} answers were cut at max_new_tokens ({most})")
    empty = sum(item.answer == "" for item in report.items)
    if empty:
        found.append(f"{empty:,} of {len(report.items):,} answers are empty")
    return found


def samples(report: Report) -> list[ItemResult]:
    """A few items: the first with a full score and the first without, so that both kinds are seen."""
    if not report.higher_is_better:
        return []
    right = [item for item in report.items if item.scores[report.metric] == 1]
    wrong = [item for item in report.items if item.scores[report.metric] < 1]
    return [*right[:1], *wrong[: SAMPLES - len(right[:1])]] if wrong else right[:SAMPLES]


def _shown_item(item: ItemResult, report: Report) -> str:
    scores = ", ".join(f"{name} {value:g}" for name, value in item.scores.items())
    lines = [
        f"{item.id}  ({scores})",
        f"  asked:    {_short(item.prompt)}",
        f"  wanted:   {_short(item.reference or '')}",
        f"  answered: {_short(item.answer or '')}",
    ]
    return "\n".join(lines) + "\n"


def _short(text: str) -> str:
    one_line = text.replace("\n", " ⏎ ")
    return one_line if len(one_line) <= SHOWN_LETTERS else f"{one_line[:SHOWN_LETTERS]}…"
