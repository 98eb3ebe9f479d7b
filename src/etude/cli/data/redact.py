"""Replace personal data and secrets by masks or by consistent fakes; the result is a new file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from etude.cli.data.files import add_step, perform
from etude.data.redact import Redact


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data redact FILE… -o OUT`."""
    add_step(parser, Redact)


def run(arguments: Namespace) -> int:
    """Redact, and say what was found; a file of any layout will do."""
    return perform(arguments, Redact, need_layout=False)
