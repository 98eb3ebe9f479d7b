"""How far the people behind a set of judgements agree, and what is particular about each of them."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.terminal import cell, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from etude.feedback.annotators import Annotator, Measure
    from etude.feedback.report import Part, Report

MOST_PAIRS = 20


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data agreement FILE…`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of judgements, or folders of them")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="FIELD=COLUMN", help="a field's column where its name is not known"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures here too")
    parser.add_argument("--html", metavar="FILE", help="write a page here too")


def run(arguments: Namespace) -> int:
    """Read, measure, print."""
    from etude import durable
    from etude.cli.data.preferences import tell_unusable
    from etude.cli.terminal import console, progress
    from etude.data.inputs import Reading, open_inputs
    from etude.errors import Problems
    from etude.feedback.layouts import mapping, mapping_problems
    from etude.feedback.preferences import read_judgements
    from etude.feedback.report import report

    wrong = mapping_problems(arguments.columns)
    if wrong:
        raise Problems("--columns", wrong)
    inputs = open_inputs(arguments.files, Reading(need_layout=False), progress=progress)
    heard = read_judgements(inputs, mapping(arguments.columns))
    found = report(heard.judgements)
    tell_unusable(heard.reasons)
    for sentence in found.sentences():
        say(sentence)
    for table in tables(found):
        console.print(table)
    if arguments.json:
        durable.write_json(Path(arguments.json), found.as_dict())
    if arguments.html:
        from etude.pages.agreement import page

        durable.write_text(Path(arguments.html), page(found, sources=[file.name for file in inputs.files]))
    return 0


def tables(found: Report) -> list[Table]:
    """Agreement by kind of judgement, every two people (where they are few), and everybody alone."""
    made = [_agreement(found.parts)]
    made += [_pairs(part) for part in found.parts if 0 < len(part.agreements) <= MOST_PAIRS]
    return [*made, _annotators(found.annotators)]


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(cell, cells))


def _agreement(parts: Sequence[Part]) -> Table:
    table = _table("agreement", "judgements", "number", "items", "by several", "alpha", "95 % interval", "level")
    for part in parts:
        counts = (f"{part.judgements:,}", f"{part.items:,}", f"{part.shared_items:,}")
        if not part.alphas:
            _add(table, part.name, *counts, "unknown", "", "")
        for alpha in part.alphas:
            _add(table, part.name, *counts, f"{alpha.value:.3f}", _interval(alpha.low, alpha.high), alpha.level)
    return table


def _pairs(part: Part) -> Table:
    table = _table(f"two at a time: {part.name}", "one", "other", "same", "95 % interval", "items")
    for pair in part.agreements:
        _add(table, pair.one, pair.other, f"{pair.share:.0%}", f"{pair.low:.0%} to {pair.high:.0%}", f"{pair.items:,}")
    return table


def _annotators(people: Sequence[Annotator]) -> Table:
    from etude.feedback.annotators import NAMES

    shown = [name for name in NAMES if any(name in one.measures for one in people)]
    table = _table(
        "annotators (* not by chance, Holm-corrected)",
        "name",
        "judged",
        "ties",
        "median s",
        *(NAMES[name] for name in shown),
    )
    for one in people:
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        cells = [_measure(one.measures[name], name == "leniency") if name in one.measures else "" for name in shown]
        _add(table, one.name, f"{one.judgements:,}", f"{one.ties:,}", seconds, *cells)
    return table


def _measure(measure: Measure, is_difference: bool) -> str:
    star = "*" if measure.is_odd else ""
    if is_difference:
        return f"{measure.value:+.2f}{star} ({_interval(measure.low, measure.high)}, n {measure.n:,})"
    return f"{measure.value:.0%}{star} ({measure.low:.0%} to {measure.high:.0%}, n {measure.n:,})"


def _interval(low: float, high: float) -> str:
    return "unknown" if math.isinf(low) else f"{low:.2f} to {high:.2f}"
