"""Remove copies and near copies, make texts uniform, set unusable rows aside; the result is a new file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from etude.cli.data.audit import embedder
from etude.cli.data.files import add_step, perform
from etude.data.clean import Clean


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data clean FILE… -o OUT`."""
    add_step(parser, Clean)


def run(arguments: Namespace) -> int:
    """Clean, and say what was done."""
    return perform(arguments, Clean, embed=embedder(arguments.embedder))
