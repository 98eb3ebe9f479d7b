"""Divide rows into training, validation and test rows in a new folder, so that no near copy is on two sides."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from etude.cli.data.files import add_inputs, add_settings, command_line, open_files, settings_of, tell
from etude.data.divide import DROPPED, MANIFEST, Divide, divide


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data split FILE… -o DIR`."""
    add_inputs(parser)
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--force", action="store_true", help="replace the folder if it was made this way")
    add_settings(parser, Divide)


def run(arguments: Namespace) -> int:
    """Divide, and say how it went."""
    options, folder = settings_of(arguments, Divide), Path(arguments.output)
    outcome = divide(open_files(arguments), options, folder, command=command_line(), force=arguments.force)
    tell(outcome, dropped=folder / DROPPED, manifest=folder / MANIFEST)
    return 0
