"""Mix sources in given shares, and general data in between, which keeps a model from forgetting."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from etude.cli.data.files import add_step, perform
from etude.data.mix import Mix


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data mix FILE… --weights X… -o OUT`."""
    add_step(parser, Mix)


def run(arguments: Namespace) -> int:
    """Mix, and say what came from where."""
    return perform(arguments, Mix)
