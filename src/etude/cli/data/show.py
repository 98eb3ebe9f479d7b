"""Look at a data set as the model will see it: which tokens are learned, which are only read, which are control."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from etude.cli.data.files import add_reading, parse_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from etude.data.read import Records
    from etude.data.render import RenderedRow, Renderer
    from etude.records import Record

STYLES = {"learned": "green", "control": "magenta reverse", "context": "dim"}
SIGNS = {"learned": ("[+", "+]"), "control": ("{", "}"), "context": ("", "")}
SHOWN_BAD = 10


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data show FILE`."""
    parser.add_argument("file", metavar="FILE", help="a data file, a folder of them, or a hub data set's name")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", metavar="NAME", help="whose tokenizer and chat template"
    )
    parser.add_argument("--rows", type=int, default=3, metavar="N", help="how many rows to print (3)")
    add_reading(parser)
    parser.add_argument("--system", metavar="TEXT", help="system message for conversations that have none")


def run(arguments: Namespace) -> int:
    """Read, render, print."""
    from etude.cli.terminal import console
    from etude.data.read import read

    columns = parse_columns(arguments.columns)
    records = read(
        arguments.file, format=arguments.format, columns=columns, system=arguments.system, max_bad_share=1.0
    )  # fmt: skip
    from etude.cli.terminal import quiet_libraries
    from etude.data.render import Renderer
    from etude.models.load import load_tokenizer

    quiet_libraries()

    show(records, Renderer(load_tokenizer(arguments.model)), console, num_rows=arguments.rows)
    return 0


def show(records: Records, renderer: Renderer, console: Console, *, num_rows: int) -> None:
    """The detected layout, the first rows, the counts, and what could not be used."""
    _say(console, f"detected: {records.detected}")
    _say(console, _legend(console))
    able, rendered, refused = _rendered(records, renderer)
    for record, rows in list(zip(able, rendered, strict=True))[:num_rows]:
        for name, row in zip(_names(record), rows, strict=True):
            share = row.num_learned / max(1, len(row.tokens))
            counted = f"{len(row.tokens):,} tokens, {row.num_learned:,} learned ({share:.0%})"
            _say(console, f"\n{record.origin}{name}: {counted}", "bold")
            _print_row(row, renderer, console)
    _counts(rendered, refused, console)
    for bad in records.bad[:SHOWN_BAD]:
        _say(console, f"unusable: {bad}", "yellow")
    if len(records.bad) > SHOWN_BAD:
        _say(console, f"... and {len(records.bad) - SHOWN_BAD:,} more unusable rows", "yellow")


def _rendered(records: Records, renderer: Renderer) -> tuple[list[Record], list[tuple[RenderedRow, ...]], list[str]]:
    """The records that can be rendered, their rows, and why the others cannot."""
    from etude.errors import DataError

    able: list[Record] = []
    plans = []
    refused: list[str] = []
    for record in records:
        try:
            plans.append(renderer.plans(record))
            able.append(record)
        except DataError as error:
            refused.append(f"{record.origin}: {error}")
    rows = iter(renderer.encode([plan for each in plans for plan in each]))
    return able, [tuple(next(rows) for _ in each) for each in plans], refused


def _names(record: Record) -> tuple[str, ...]:
    from etude.records import Preference

    return (" (chosen)", " (rejected)") if isinstance(record, Preference) else ("",)


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _legend(console: Console) -> str:
    names = {"learned": "learned", "context": "read, not learned", "control": "control token"}
    if _coloured(console):
        return "green: learned   dim: read, not learned   magenta: control token"
    return "   ".join(f"{left}{names[kind]}{right}" for kind, (left, right) in SIGNS.items())


def _coloured(console: Console) -> bool:
    return console.is_terminal and not console.no_color and console.color_system is not None


def _print_row(row: RenderedRow, renderer: Renderer, console: Console) -> None:
    from rich.text import Text

    from etude.data.show import pieces

    text = Text()
    for shown, kind in pieces(renderer, row):
        left, right = ("", "") if _coloured(console) else SIGNS[kind]
        text.append(f"{left}{visible(shown)}{right}", style=STYLES[kind])
    console.print(text, soft_wrap=True)


def visible(text: str) -> str:
    """Text with its terminal control characters spelt out: a data set may not steer the terminal."""
    return "".join(char if char in "\n\t" or char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _counts(rendered: Sequence[Sequence[RenderedRow]], refused: Sequence[str], console: Console) -> None:
    rows = [row for each in rendered for row in each]
    tokens = sum(len(row.tokens) for row in rows)
    learned = sum(row.num_learned for row in rows)
    longest = max((len(row.tokens) for row in rows), default=0)
    share = learned / max(1, tokens)
    words = f"{len(rendered):,} rows, {tokens:,} tokens, {learned:,} learned ({share:.1%}), longest {longest:,}"
    _say(console, f"\nall: {words}", "bold")
    for found in refused[:SHOWN_BAD]:
        _say(console, f"cannot be rendered: {found}", "yellow")
    if len(refused) > SHOWN_BAD:
        _say(console, f"... and {len(refused) - SHOWN_BAD:,} more that cannot be rendered", "yellow")
