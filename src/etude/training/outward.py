"""Mirrors a run's figures to TensorBoard, MLflow or Weights & Biases; the run directory stays the truth.

Each mirror writes from its own thread, so a slow or failing tracker costs rows in the tracker and nothing else.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.errors import EtudeError, Interrupted
from etude.training.trackers import Mirror, Outcome, Parameter, Tracker, mlflow, tensorboard, wandb, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from etude.training.progress import Progress

log = logging.getLogger("etude")


@dataclass(frozen=True, kw_only=True)
class LoggingOptions:
    """Which trackers follow the run, beside its own files."""

    tensorboard: bool = False
    """Event files in the run directory's `tensorboard/`."""
    mlflow: bool | str = False
    """`true`: a SQLite store, `mlflow.db`, in the run directory; or a tracking URI."""
    wandb: str | None = None
    """Weights & Biases project; offline, in the run directory, unless logged in."""
    every: int = 1
    """Updates between two rows; a row with a held-out loss is always sent."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if self.every < 1:
            found.append(("every", f"must be at least 1, got {self.every}"))
        if isinstance(self.mlflow, str) and self.mlflow.startswith("file:"):
            found.append(("mlflow", "MLflow no longer takes file: stores; use true, sqlite:///… or a server's address"))
        if self.wandb is not None and not self.wandb.strip():
            found.append(("wandb", "must name a project, got an empty text"))
        return found


def outward_log(
    options: LoggingOptions, run: Path, *, run_id: str | None = None, parameters: Mapping[str, Parameter] | None = None
) -> OutwardLog:
    """The hook that feeds every tracker asked for; use it as a context manager around the training loop.

    `parameters` are shown beside the curves, with everything that looks like a credential blotted out. Raises
    EtudeError, naming the pip line, when a tracker's package is not installed. Nothing is opened before the first row.
    """
    identity = run_id or run.name
    shown = {key: without_secrets(key, value) for key, value in (parameters or {}).items()}
    trackers: list[Tracker] = []
    if options.tensorboard:
        _require("tensorboard", "tensorboard")
        trackers.append(tensorboard(run, shown))
    if options.mlflow:
        _require("mlflow", "mlflow")
        _require("alembic", "mlflow")
        uri = options.mlflow if isinstance(options.mlflow, str) else f"sqlite:///{(run / 'mlflow.db').resolve()}"
        trackers.append(mlflow(uri, identity, shown))
    if options.wandb:
        _require("wandb", "wandb")
        trackers.append(wandb(run, identity, shown, project=options.wandb))
    return OutwardLog(trackers, every=options.every)


class OutwardLog:
    """A loop hook: rows go to the trackers' threads without waiting; those that find no room are counted as lost."""

    def __init__(self, trackers: list[Tracker], *, every: int = 1, close_seconds: float = 60.0) -> None:
        self._every = every
        self._close_seconds = close_seconds
        self._feeds = tuple(_Feed(tracker) for tracker in trackers)

    def __call__(self, progress: Progress, policy: object) -> None:
        if not progress.is_main:
            return
        if progress.step % self._every and progress.heldout_loss is None:
            return
        values = values_of(progress)
        for feed in self._feeds:
            feed.put(progress.step, values)

    @property
    def lost(self) -> Mapping[str, int]:
        """Rows that did not reach a tracker, by tracker."""
        return {feed.name: feed.lost for feed in self._feeds}

    def close(self, outcome: Outcome = "finished") -> None:
        """Write what is queued, waiting at most `close_seconds` for all trackers together (10 after a failure)."""
        patience = self._close_seconds if outcome == "finished" else min(10.0, self._close_seconds)
        deadline = time.monotonic() + patience
        for feed in self._feeds:
            feed.ask_to_end(outcome)
        for feed in self._feeds:
            feed.join(deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked_to_stop = kind is not None and issubclass(kind, Interrupted | KeyboardInterrupt)
        self.close("finished" if kind is None else "interrupted" if asked_to_stop else "failed")


def values_of(progress: Progress) -> dict[str, float]:
    """What one update shows: nats per learned token, seconds, tokens a second, and the objective's own figures."""
    values = {
        "train/loss": progress.loss,
        "train/learning_rate": progress.learning_rate,
        "train/grad_norm": progress.grad_norm,
        "train/epoch": progress.epoch,
        "speed/step_seconds": progress.seconds,
        **{f"train/{name}": value for name, value in progress.figures.items()},
    }
    if progress.seconds > 0:
        values["speed/tokens_per_second"] = progress.tokens / progress.seconds
    if progress.heldout_loss is not None:
        values["heldout/loss"] = progress.heldout_loss
    if progress.live is not None:
        values |= {f"heldout/{name}": value for name, value in progress.live.figures.items()}
    return values


class _Feed:
    """The queue and thread of one tracker."""

    MOST_WAITING = 10_000
    FAILURES_BEFORE_GIVING_UP = 5

    def __init__(self, tracker: Tracker) -> None:
        self.name = tracker.name
        self.lost = 0
        self._complained = False
        self._tracker = tracker
        self._rows: queue.Queue[tuple[int, Mapping[str, float]] | Outcome] = queue.Queue(self.MOST_WAITING)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, step: int, values: Mapping[str, float]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"etude-{self.name}", daemon=True)
            self._thread.start()
        if self._ended.is_set():
            self.lost += 1
            return
        try:
            self._rows.put_nowait((step, values))
        except queue.Full as full:
            self.lost += 1
            self._complain(full)

    def ask_to_end(self, outcome: Outcome) -> None:
        if self._thread is None or self._ended.is_set():
            return
        try:
            self._rows.put_nowait(outcome)
        except queue.Full as full:
            self._complain(full)

    def join(self, deadline: float) -> None:
        if self._thread is None:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        waiting = self._rows.qsize()
        if self._thread.is_alive():
            log.warning("%s did not finish in time; up to %d rows may be missing there", self.name, waiting)
        elif self.lost:
            log.warning("%s missed %d rows; the run's own metrics.jsonl has them all", self.name, self.lost)

    def _work(self) -> None:
        mirror: Mirror | None = None
        failures_in_a_row = 0
        try:
            while failures_in_a_row < self.FAILURES_BEFORE_GIVING_UP:
                row = self._rows.get()
                if isinstance(row, str):
                    self._close(mirror, row)
                    return
                try:
                    mirror = mirror or self._tracker.open(row[0])
                    mirror.write(*row)
                    failures_in_a_row = 0
                except self._tracker.failures() as failure:
                    failures_in_a_row += 1
                    self.lost += 1
                    self._complain(failure)
        finally:
            self._ended.set()
            while not self._rows.empty():
                self.lost += not isinstance(self._rows.get_nowait(), str)

    def _close(self, mirror: Mirror | None, outcome: Outcome) -> None:
        try:
            if mirror is not None:
                mirror.close(outcome)
        except self._tracker.failures() as failure:
            self._complain(failure)

    def _complain(self, failure: BaseException) -> None:
        if self._complained:
            return
        self._complained = True
        reason = " ".join(str(without_secrets("", f"{type(failure).__name__}: {failure}")).split())[:300]
        log.warning("%s does not take the run's figures (%s); training goes on", self.name, reason)


def _require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise EtudeError(
            f"logging to {extra} needs the package {package!r}, which is not installed",
            where=f"logging.{extra}",
            remedy=f'pip install "etude[{extra}]"',
        )
