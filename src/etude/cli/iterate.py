"""Improve a run where it fails: train, evaluate, explain, propose rows, add them after your yes, train again.

The task's items are divided: one part steers, the other decides nothing before the end and gives the verdict. The same
command goes on where it was stopped.
"""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.cycle.iterate import Iterated
    from etude.cycle.proposing import Proposal

SHOWN = 8
WAITING = 75


def add_arguments(parser: ArgumentParser) -> None:
    """The run file, where new rows come from, and how far to go."""
    from etude.cli.data.files import add_settings
    from etude.cycle.iteration_limits import IterateOptions

    parser.add_argument("file", metavar="RUN.yaml", help="the run file; its task says what better means")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change in every training"
    )
    parser.add_argument("--yes", action="store_true", help="add what is proposed without asking, within the limits")
    parser.add_argument("--out", metavar="FOLDER", help="where everything goes (the run's output + .iterations)")
    parser.add_argument(
        "--embedder", metavar="PATH", help="folder of an embedding model; without one, words are weighed"
    )
    add_settings(parser, IterateOptions)
    parser.epilog = "Exit code 0 at the end, 75 when a proposal waits for a yes or it was stopped, 2 on a mistake."


def run(arguments: Namespace) -> int:
    """Iterate, and tell how it went."""
    from etude.cli.data.audit import embedder
    from etude.cli.data.files import settings_of
    from etude.cli.terminal import quiet_libraries
    from etude.cli.train import OnTerminal
    from etude.cycle.iterate import iterate
    from etude.cycle.iteration_limits import IterateOptions
    from etude.errors import Interrupted

    quiet_libraries()
    command = ["etude", "iterate", *sys.argv[2:]]
    try:
        found = iterate(
            arguments.file,
            arguments.overrides,
            settings_of(arguments, IterateOptions),
            out=Path(arguments.out) if arguments.out else None,
            show=OnTerminal(),
            accept=(lambda path, proposal: True) if arguments.yes else _asked,
            embed=embedder(arguments.embedder),
            command=command,
        )
    except Interrupted:
        raise Interrupted(f"stopped; go on with:\n  {shlex.join(command)}") from None
    _tell(found)
    return WAITING if found.waits else 0


def _asked(path: Path, proposal: Proposal) -> bool | None:
    """The person's yes; None where nobody is at the terminal."""
    print(f"\nproposed: {len(proposal.rows):,} rows, in {path}")
    for name, number in proposal.by_slice.items():
        print(f"  {number:>5,}  for {name}")
    for row in proposal.rows[:SHOWN]:
        said = " → ".join(" ".join(str(message["content"]).split())[-70:] for message in row["messages"][-2:])
        print(f"  {said}")
    if not sys.stdin.isatty():
        return None
    print("The file may be edited before you answer.")
    return input(f"Add what stands in {path} and train again? [y/N] ").strip().lower() in ("y", "yes")


def _tell(found: Iterated) -> None:
    from etude.cli.terminal import console
    from etude.pages.wording import interval, score

    for record in found.records:
        is_share = record.higher_is_better
        ends = interval(*record.steering_interval, is_share=is_share)
        line = f"iteration {record.number}: {record.rows:,} rows, {score(record.steering, is_share=is_share)} ({ends})"
        if not found.waits:
            ends = interval(*record.final_interval, is_share=is_share)
            line += f"; kept for the end: {score(record.final, is_share=is_share)} ({ends})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"ended: {found.ended}", markup=False, soft_wrap=True)
    if found.waits:
        console.print("read it, then give the same command with --yes, or at a terminal", markup=False)
        return
    said = "the first training was the best" if found.verdict is None else found.verdict.sentence()
    console.print(said, style="bold", markup=False, soft_wrap=True)
    folder = found.page.parent
    console.print(
        f"page: {found.page}; best: iteration {found.best}, {folder / 'best.yaml'}", markup=False, soft_wrap=True
    )
