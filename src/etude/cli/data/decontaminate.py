"""Take out of a training set what evaluation sets ask; the result is a new file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from etude.cli.data.files import add_step, perform
from etude.data.decontaminate import Decontaminate


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data decontaminate FILE… --against EVAL… -o OUT`."""
    add_step(parser, Decontaminate)


def run(arguments: Namespace) -> int:
    """Decontaminate, and say what was found."""
    return perform(arguments, Decontaminate)
