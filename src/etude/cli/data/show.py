"""Look at a data set as the model will see it: which tokens are learned, which are only read, which are control."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from etude.cli.data.files import add_reading, parse_columns
from etude.cli.terminal import visible
from etude.errors import DataError, Problems

if TYPE_CHECKING:
    from rich.console import Console

    from etude.data.read import Records
    from etude.data.render import RenderedRow, Renderer
    from etude.records import Record

STYLES = {"learned": "green", "control": "magenta reverse", "context": "dim"}
SIGNS = {"learned": ("[+", "+]"), "control": ("{", "}"), "context": ("", "")}
SHOWN_BAD = 10
ROWS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which rows are printed."""

    first: int = 3
    lines: tuple[int, ...] = ()
    """Those on these lines, and no counts of the rest."""
    sample: int = 0
    """So many drawn at random instead of the first ones."""
    seed: int = 0


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data show FILE`."""
    parser.add_argument("file", metavar="FILE", help="a data file, a folder of them, or a hub data set's name")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", metavar="NAME", help="whose tokenizer and chat template"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rows", type=int, default=3, metavar="N", help="how many of the first rows to print (3)")
    which.add_argument("--row", type=int, nargs="+", metavar="LINE", help="only the rows on these lines (numbers)")
    which.add_argument("--sample", type=int, metavar="N", help="so many rows drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (0)")
    add_reading(parser)
    parser.add_argument("--system", metavar="TEXT", help="system message for conversations that have none")
    parser.add_argument(
        "--reasoning", choices=("learn", "read", "drop"), default="learn",
        help="whether reasoning is learned, only read, or left out (learn)",
    )  # fmt: skip


def run(arguments: Namespace) -> int:
    """Read, render, print."""
    from etude.cli.terminal import console, quiet_libraries
    from etude.data.render import Renderer
    from etude.models.load import load_tokenizer

    given = {
        "--rows": arguments.rows,
        "--sample": 1 if arguments.sample is None else arguments.sample,
        "--row": min(arguments.row or [1]),
    }
    if wrong := [f"{flag}: must be at least 1, got {value}" for flag, value in given.items() if value < 1]:
        raise Problems("command line", wrong)
    choice = Choice(
        first=arguments.rows, lines=tuple(arguments.row or ()), sample=arguments.sample or 0, seed=arguments.seed
    )
    records = _read(arguments)
    quiet_libraries()
    show(records, Renderer(load_tokenizer(arguments.model)), console, choice)
    return 0


def _read(arguments: Namespace) -> Records:
    """The rows, bare prompts included where the file has nothing else."""
    from typing import get_args

    from etude.data.read import read
    from etude.records import Record

    columns = parse_columns(arguments.columns)
    try:
        return read(
            arguments.file, format=arguments.format, columns=columns, system=arguments.system,
            reasoning=arguments.reasoning, max_bad_share=1.0,
        )  # fmt: skip
    except DataError as error:
        try:
            return read(
                arguments.file, get_args(Record), format=arguments.format, columns=columns, system=arguments.system,
                reasoning=arguments.reasoning, max_bad_share=1.0,
            )  # fmt: skip
        except DataError:
            raise error from None


def show(records: Records, renderer: Renderer, console: Console, choice: Choice) -> None:
    """The detected layout, the chosen rows, the counts, and what could not be used."""
    _say(console, f"detected: {records.detected}")
    _say(console, _legend(console))
    for record in _chosen(records, choice):
        _print(record, renderer, console)
    if choice.lines:
        return
    counts = _counted(records, renderer)
    counts.print(console)
    _list(console, "unusable", [str(bad) for bad in records.bad[:SHOWN_BAD]], len(records.bad))


def _chosen(records: Records, choice: Choice) -> Iterator[Record]:
    """The rows to print; DataError names lines that hold none."""
    import random

    if choice.lines:
        found = [record for record in records if record.origin.line in choice.lines]
        yield from found
        missing = sorted(set(choice.lines) - {record.origin.line for record in found})
        if missing:
            reasons = {bad.origin.line: str(bad.reason) for bad in records.bad}
            said = [f"line {line}: {reasons.get(line, 'there is no such row')}" for line in missing]
            raise DataError("; ".join(said), where=", ".join(records.sources), remedy="choose other lines")
    elif choice.sample:
        places = random.Random(choice.seed).sample(range(len(records)), min(choice.sample, len(records)))
        yield from (records[place] for place in sorted(places))
    else:
        yield from islice(records, choice.first)


def _print(record: Record, renderer: Renderer, console: Console) -> None:
    from etude.data.show import details, sequences

    try:
        rows = sequences(record, renderer)
    except DataError as error:
        _say(console, f"\n{record.origin}: cannot be rendered: {error}", "yellow")
        return
    for name, row in rows:
        share = row.num_learned / max(1, len(row.tokens))
        _say(
            console,
            f"\n{record.origin}{name}: {len(row.tokens):,} tokens, {row.num_learned:,} learned ({share:.0%})",
            "bold",
        )
        for line in details(record):
            _say(console, line, "italic")
        _print_row(row, renderer, console)


@dataclass
class _Counts:
    """Of all rows."""

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    longest: int = 0
    num_refused: int = 0
    refused: list[str] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """One line, and what the template refuses."""
        share = self.learned / max(1, self.tokens)
        counted = f"{self.rows:,} rows, {self.tokens:,} tokens, {self.learned:,} learned ({share:.1%})"
        _say(console, f"\nall: {counted}, longest {self.longest:,}", "bold")
        _list(console, "cannot be rendered", self.refused, self.num_refused)


def _counted(records: Records, renderer: Renderer) -> _Counts:
    from etude.cli.terminal import progress
    from etude.records import Judged

    counts = _Counts()
    rows = iter(records)
    with progress("counting tokens") as on_progress:
        done = 0
        while several := list(islice(rows, ROWS_AT_ONCE)):
            for record, plans in zip(several, renderer.plan_all(several), strict=True):
                if isinstance(plans, DataError):
                    counts.num_refused += 1
                    counts.refused += [f"{record.origin}: {plans}"][: SHOWN_BAD - len(counts.refused)]
                    continue
                counts.rows += 1
                for row in renderer.encoded(plans[:1] if isinstance(record, Judged) else plans):
                    counts.tokens += len(row.tokens)
                    counts.learned += sum(stop - start for start, stop, weight in row.spans if weight > 0)
                    counts.longest = max(counts.longest, len(row.tokens))
            done += len(several)
            on_progress(done, len(records))
    return counts


def _list(console: Console, what: str, lines: Sequence[str], total: int) -> None:
    """The first of many rows of which something is to be said."""
    for line in lines:
        _say(console, f"{what}: {line}", "yellow")
    if total > len(lines):
        _say(console, f"... and {total - len(lines):,} more rows ({what})", "yellow")


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(visible(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _legend(console: Console) -> str:
    names = {"learned": "learned", "context": "read, not learned", "control": "control token"}
    if _coloured(console):
        return "green: learned   dim: read, not learned   magenta: control token"
    return "   ".join(f"{left}{names[kind]}{right}" for kind, (left, right) in SIGNS.items())


def _coloured(console: Console) -> bool:
    return console.is_terminal and not console.no_color and console.color_system is not None


def _print_row(row: RenderedRow, renderer: Renderer, console: Console) -> None:
    from rich.text import Text

    from etude.cli.terminal import visible
    from etude.data.show import pieces

    text = Text()
    for shown, kind in pieces(renderer, row):
        left, right = ("", "") if _coloured(console) else SIGNS[kind]
        text.append(f"{left}{visible(shown)}{right}", style=STYLES[kind])
    console.print(text, soft_wrap=True)
