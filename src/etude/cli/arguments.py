"""argparse with our way of saying what is wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any, NoReturn

from etude.errors import EtudeError


class Parser(ArgumentParser):
    """Raises EtudeError where argparse would print the usage and leave."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise EtudeError(message, where=self.prog, remedy=f"{self.prog} --help explains")

    def parse(self, arguments: Sequence[str]) -> Namespace:
        """The parsed arguments; options may stand between a file and its `key=value` changes."""
        # Intermixed parsing knows no subcommands, and on Python 3.11 fails to print defaults in the help.
        if self._subparsers is not None or {"-h", "--help"} & set(arguments):
            return self.parse_args(arguments)
        return self.parse_intermixed_args(arguments)
