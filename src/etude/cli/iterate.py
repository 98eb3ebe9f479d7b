"""Improve a run where it fails: train, evaluate, explain, propose rows, add them after your yes, train again.

The task's items are divided: one part steers, the other decides nothing before the end and gives the verdict. The same
command goes on where it was stopped.
"""

from __future__ import annotations

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
    from etude.cli.terminal import quiet_libraries, the_same_command_goes_on
    from etude.cli.train import OnTerminal
    from etude.cycle.iterate import iterate
    from etude.cycle.iteration_limits import IterateOptions

    quiet_libraries()
    with the_same_command_goes_on():
        found = iterate(
            arguments.file,
            arguments.overrides,
            settings_of(arguments, IterateOptions),
            out=Path(arguments.out) if arguments.out else None,
            show=OnTerminal(),
            accept=(lambda path, proposal: True) if arguments.yes else _asked,
            embed=embedder(arguments.embedder),
            command=["etude", *sys.argv[1:]],
        )
    _tell(found)
    return WAITING if found.waits else 0


def _asked(path: Path, proposal: Proposal) -> bool | None:
    """The person's yes; None where nobody is at the terminal."""
    from etude.cli.terminal import say

    say(f"\nproposed: {len(proposal.rows):,} row{'' if len(proposal.rows) == 1 else 's'}, in {path}")
    for name, number in proposal.by_slice.items():
        say(f"  {number:>5,}  for {name}")
    for row in proposal.rows[:SHOWN]:
        said = " → ".join(" ".join(str(message["content"]).split())[-70:] for message in row["messages"][-2:])
        say(f"  {said}")
    if not sys.stdin.isatty():
        return None
    say("The file may be edited before you answer.")
    return input(f"Add what stands in {path} and train again? [y/N] ").strip().lower() in ("y", "yes")


def _tell(found: Iterated) -> None:
    from etude.cli.terminal import say
    from etude.pages.iterations import ends_of, score_of

    for one in found.records:
        line = f"iteration {one.number}: {one.rows:,} rows, {score_of(one, one.steering)}"
        line += f" ({ends_of(one, one.steering_interval)})"
        if not found.waits:
            line += f"; kept for the end: {score_of(one, one.final)} ({ends_of(one, one.final_interval)})"
        say(line)
    say(f"ended: {found.ended}")
    if found.waits:
        say("read it, then give the same command with --yes, or at a terminal")
        return
    said = "the first training was the best" if found.verdict is None else found.verdict.sentence()
    say(said, "bold")
    folder = found.page.parent
    say(f"page: {found.page}; best: iteration {found.best}, {folder / 'best.yaml'}")
