"""Leave out the rows that an audit named; the result is a new file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from etude.cli.data.files import add_step, perform
from etude.data.drop import Drop


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data drop FILE… --audit FOUND --findings NAME… -o OUT`."""
    add_step(parser, Drop)


def run(arguments: Namespace) -> int:
    """Leave rows out, and say how many."""
    return perform(arguments, Drop, need_layout=False)
