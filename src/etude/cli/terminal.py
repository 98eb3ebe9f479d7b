"""What the commands print on: one console, and progress that reads well on a terminal and in a log."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from etude.errors import Interrupted
from etude.pages.wording import is_hidden

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    console: Console

OnProgress = Callable[[int, int], None]
SECONDS_BETWEEN_LINES = 10.0


def __getattr__(name: str) -> object:
    """`console`, made when first asked for: rich takes longer to import than `etude --help` may take."""
    if name == "console":
        return _console(stderr=False)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def progress(title: str) -> Iterator[OnProgress]:
    """Gives `on_progress(done, total)`: a bar with the time left on a terminal, a line now and then elsewhere.

    Progress goes to stderr, so that a command's output can be piped.
    """
    if _console(stderr=True).is_terminal:
        with _bar(title) as on_progress:
            yield on_progress
    else:
        yield _Lines(title, started=time.monotonic())


@cache
def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextmanager
def _bar(title: str) -> Iterator[OnProgress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(stderr=True)) as bars:
        task = bars.add_task(title, total=None)

        def on_progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield on_progress


@dataclass(slots=True)
class _Lines:
    """Progress as occasional lines: the first, the last, and one every few seconds between."""

    title: str
    started: float
    last_line: float = float("-inf")
    finished: bool = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.finished or (done < total and now - self.last_line < SECONDS_BETWEEN_LINES):
            return
        self.last_line, self.finished = now, done >= total
        _console(stderr=True).print(self._line(done, total, now - self.started), markup=False, soft_wrap=True)

    def _line(self, done: int, total: int, seconds: float) -> str:
        line = f"{self.title}: {done}/{total}"
        if done >= total:
            return f"{line} in {duration(seconds)}"
        return f"{line}, {duration(seconds * (total - done) / done)} left" if done else line


def say(line: str, style: str | None = None) -> None:
    """A line on stdout, whatever is in it."""
    _console(stderr=False).print(visible(line), style=style, markup=False, highlight=False, soft_wrap=True)


def visible(text: str) -> str:
    """Text with its control characters spelt out: neither a data set nor a model may steer the terminal."""
    return "".join(f"\\x{ord(char):02x}" if char not in "\n\t" and is_hidden(char) else char for char in text)


def cell(text: str, style: str = "") -> Text:
    """Text for a table, its title or its head: spelt out like `visible`, and never read as markup."""
    from rich.text import Text

    return Text(visible(text), style=style)


@contextmanager
def the_same_command_goes_on() -> Iterator[None]:
    """For commands that take up what they left by themselves: a stop inside names them, without --resume."""
    try:
        yield
    except Interrupted:
        raise Interrupted(f"stopped; go on with:\n  {shlex.join(['etude', *sys.argv[1:]])}") from None


def quiet_libraries() -> None:
    """Silences the bars and hints of the model library; what matters is said by Etude itself."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def duration(seconds: float) -> str:
    """Seconds as people say them: `8 s`, `2 min 05 s`, `1 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
