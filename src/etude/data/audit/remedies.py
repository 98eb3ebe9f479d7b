"""The commands that mend what an audit finds, spelt out for its files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Remedies:
    """Commands for the files that were audited, and the flags with which they were read."""

    files: tuple[str, ...]
    reading: tuple[str, ...] = ()
    """`--format` and `--columns`, as they were given."""
    report: str = ""
    """Where the findings are written as JSON; empty: beside the first file's name."""

    def drop(self, check: str) -> str:
        """Leaves out the rows that a finding names."""
        return self._line(
            "drop", ("--audit", self.report or beside(self.files[0], "audit.json"), "--findings", check), "without"
        )

    def clean(self, *flags: str) -> str:
        """Cleans the rows."""
        return self._line("clean", flags, "clean")

    def redact(self) -> str:
        """Masks what is personal or secret."""
        return self._line("redact", (), "redacted")

    def show(self) -> str:
        """Looks at the rows as the model will."""
        return f"etude data show {shlex.join([self.files[0], *self.reading])}"

    def set(self, *settings: str) -> str:
        """Changes settings of the run file."""
        return f"etude train RUN.yaml {shlex.join(settings)}"

    def _line(self, command: str, flags: Sequence[str], made: str) -> str:
        output = ("--output", beside(self.files[0], f"{made}.jsonl"))
        return f"etude data {command} {shlex.join([*self.files, *self.reading, *flags, *output])}"


def beside(file: str, ending: str) -> str:
    """A name for something made of a file, in the current folder: `rows.audit.json`."""
    return f"{PurePath(file.replace('#', '-').replace(':', '-')).stem}.{ending}"
