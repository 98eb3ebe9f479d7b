"""What a user can mend: one clear line each, never a traceback.

EtudeError
├── Problems          several at once (a run file, a data set)
├── ConfigError       a setting
├── DataError         a row, a file, a data set
├── ModelError        a base model, a tokenizer, an adapter
├── StorageError      a disk that is full, read-only, forbidden or failing
├── RunError          a run directory: locked, stale, not resumable
│   └── CheckpointError
├── DivergedError     a loss or gradient that is no longer a number
└── Interrupted       asked to stop; the run can be resumed
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class EtudeError(Exception):
    """Says where, what was found and what to do. The command line prints it and exits with `exit_code`."""

    exit_code = 2

    def __init__(self, found: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.found = found
        self.where = where
        self.remedy = remedy
        line = f"{where}: {found}" if where else found
        super().__init__(f"{line}; {remedy}" if remedy else line)


class Problems(EtudeError):
    """Everything wrong with one input, all at once."""

    def __init__(self, title: str, problems: Sequence[EtudeError | str]) -> None:
        self.problems = tuple(str(problem) for problem in problems)
        super().__init__("\n".join([f"{title}:", *(f"  {problem}" for problem in self.problems)]))


class ConfigError(EtudeError):
    """A setting that is misspelt, of the wrong type, or in conflict with another."""


class DataError(EtudeError):
    """A row, file or data set that cannot be learned from as it stands."""


class ModelError(EtudeError):
    """A base model, tokenizer, template or adapter that cannot be used."""


class StorageError(EtudeError):
    """A disk that is full, read-only, forbidden or failing; `errno` says which."""

    def __init__(self, found: str, *, where: str | None = None, remedy: str | None = None, errno: int) -> None:
        self.errno = errno
        super().__init__(found, where=where, remedy=remedy)

    @property
    def disk_full(self) -> bool:
        """Whether room on the disk (or quota, or file size) is what was missing."""
        return self.errno in DISK_FULL


class RunError(EtudeError):
    """A run directory that is in use, stale or belongs to another run."""


class CheckpointError(RunError):
    """A checkpoint that is missing, damaged or made by another run."""


class DivergedError(EtudeError):
    """A loss or gradient stopped being a finite number; the optimizer step was not taken."""


class Interrupted(EtudeError):
    """The run was asked to stop and left a checkpoint behind."""

    exit_code = 75  # EX_TEMPFAIL: run the same command again with resume
