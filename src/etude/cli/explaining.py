"""What the commands that explain have in common: their flags, their files, and what they print."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.terminal import say
from etude.errors import EtudeError

if TYPE_CHECKING:
    from rich.table import Table

    from etude.diagnosis.explanation import Explanation
    from etude.diagnosis.options import ExplainOptions

SHOWN = 8
PAGE_MARK = "Etude explanation"


def add_explaining(parser: ArgumentParser) -> None:
    """How failures are looked for, and where the explanation goes."""
    from etude.cli.data.files import add_settings
    from etude.diagnosis.options import ExplainOptions

    parser.add_argument(
        "--out", metavar="NAME", help="writes NAME.html and NAME.json (TASK.explanation in this folder)"
    )
    parser.add_argument(
        "--embedder", metavar="PATH", help="folder of an embedding model; without one, words are weighed"
    )
    add_settings(parser, ExplainOptions)


def options_of(arguments: Namespace) -> ExplainOptions:
    """The settings, checked."""
    from etude.cli.data.files import settings_of
    from etude.diagnosis.options import ExplainOptions

    return settings_of(arguments, ExplainOptions)


def write_and_tell(found: Explanation, out: str | None) -> None:
    """Page and JSON, then the main things on the terminal."""
    from etude.cli.terminal import console
    from etude.pages.explanation import headline, sentence, write_explanation

    base = out or f"{found.task}.explanation"
    page, file = Path(f"{base}.html"), Path(f"{base}.json")
    if page.exists() and PAGE_MARK not in page.read_text(encoding="utf-8", errors="replace")[:4096]:
        raise EtudeError("is there already, and no explanation", where=str(page), remedy="name another with --out")
    found.save(file)
    write_explanation(found, page, json_file=file)
    say(headline(found), "bold")
    counted = ", ".join(f"{name} {count}" for name, count in found.mistakes[:SHOWN])
    if counted:
        say(f"mistakes: {counted}")
    for one in found.worse[:SHOWN]:
        say(f"\n{one.name}", "bold red")
        say(f"  {sentence(found, one)}")
        say(f"  {one.suggestion}")
    if len(found.worse) > SHOWN:
        say(f"\n… and {len(found.worse) - SHOWN} more on the page")
    if found.clusters:
        console.print(clusters_table(found))
    for note in found.notes:
        say(f"note: {note}", "dim")
    say(f"page: {page}; for other commands: {file}", "bold")


def clusters_table(found: Explanation) -> Table:
    """The failures by likeness."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from etude.cli.terminal import cell

    table = Table(title="failures that are alike", title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    for name in ("about", "failures", "mostly", "for example"):
        table.add_column(name, justify="right" if name == "failures" else "left", max_width=60)
    for one in found.clusters:
        example = one.failures[0].asked.replace("\n", " ")[:100] if one.failures else ""
        mostly = one.mistakes[0][0] if one.mistakes else ""
        table.add_row(*map(cell, (", ".join(one.words), f"{one.size:,}", mostly, example)))
    return table
