"""How the circle tells what it is doing, to a terminal or to nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from etude.training.progress import Progress

OnProgress = Callable[[int, int], None]


class Show(Protocol):
    """Where progress goes."""

    def say(self, line: str) -> None:
        """One line worth reading."""
        ...

    def progress(self, title: str) -> AbstractContextManager[OnProgress]:
        """Gives `on_progress(done, total)` for one phase."""
        ...


class Quiet:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    @contextmanager
    def progress(self, title: str) -> Iterator[OnProgress]:
        """A progress that nobody sees."""
        yield lambda done, total: None


def lines_about(progress: Progress) -> Iterator[str]:
    """What a person should see of an update: held-out looks, skipped updates, spikes, too little memory."""
    if progress.heldout_loss is not None:
        yield (
            f"update {progress.step}/{progress.num_steps}: loss {progress.loss:.4f}, held out "
            f"{progress.heldout_loss:.4f}, {progress.tokens / progress.seconds:,.0f} tokens/s"
            + "".join(f", {name} {value:.3g}" for name, value in progress.heldout_figures.items())
        )
    if progress.live is not None:
        yield f"update {progress.step}/{progress.num_steps}: {progress.live.says}"
    if progress.skipped is not None:
        yield f"update {progress.step} was skipped: {progress.skipped}"
    for note in (progress.warning, progress.memory):
        if note is not None:
            yield f"update {progress.step}: {note}"
