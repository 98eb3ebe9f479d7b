"""A profile of steady updates: a loop hook that writes a table and a trace into the run's folder.

It watches and changes nothing: the run comes to the same weights, bit for bit.
"""

from __future__ import annotations

import os
import secrets
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from etude import durable
from etude.models.machine import peak_memory
from etude.models.precision import dtype_of
from etude.training import phases
from etude.training.profile_table import Measured, written
from etude.training.progress import Progress

if TYPE_CHECKING:
    from etude.techniques.policy import Policy

TABLE = "profile.txt"
TRACE = "profile.trace.json.gz"
BEFORE = 4
"""Updates that show how fast they are without a profiler, the first and slow one among them."""
MOST = 3


@dataclass(frozen=True)
class Window:
    """Which updates are recorded: [first, last]; the profiler itself warms up during `warm_up` updates before them."""

    first: int
    last: int
    warm_up: int

    @staticmethod
    def of(begin: int, end: int) -> Window:
        """For a loop that has done update `begin` as its first and will end with update `end`."""
        active = max(1, min(MOST, end - begin - 1))
        warm_up = min(1, max(0, end - begin - 1))
        first = max(begin + warm_up + 1, min(begin + BEFORE + warm_up, end - active + 1))
        return Window(first, first + active - 1, warm_up)

    @property
    def starts_after(self) -> int:
        """The update after which the profiler is started."""
        return self.first - self.warm_up - 1


@dataclass
class Profile:
    """Records up to three steady updates: a hook of the loop, and a context manager around it.

    Writes `profile.txt`, and `profile.trace.json.gz` for ui.perfetto.dev, when the last of them is done. A loop that
    does a single update has no steady one and leaves no profile.
    """

    folder: Path
    lines: tuple[str, ...] = ()
    """The main lines of the table, once it is written."""
    _window: Window | None = None
    _profiler: profile | None = None
    _before: list[float] = field(default_factory=list)
    _recorded: list[Progress] = field(default_factory=list)
    _began: float = 0.0
    _peak_bytes: float = 0.0
    """Before the profiler took memory of its own."""

    def __call__(self, progress: Progress, policy: Policy) -> None:
        """After each update."""
        now = time.perf_counter()
        window = self._window = self._window or Window.of(progress.step, progress.num_steps)
        if progress.step <= window.starts_after:
            self._before.append(progress.seconds)
            if progress.step == window.starts_after and window.last <= progress.num_steps:
                self._start(window)
        elif self._profiler is not None:
            if progress.step >= window.first:
                self._recorded.append(progress)
            if progress.step < window.last:
                self._profiler.step()
            else:
                self._write(self._profiler, window, now - self._began, policy)
        if progress.step == window.first - 1:
            self._began = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, window: Window) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would tell the terminal of every start and stop
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=0, warmup=1, active=window.last - window.first + 1, repeat=1) if window.warm_up else None
        self._profiler = profile(activities=activities, schedule=plan)
        phases.record(True)
        self._peak_bytes = peak_memory()
        self._profiler.start()

    def _stop(self) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
            phases.record(False)

    def _write(self, profiler: profile, window: Window, seconds: float, policy: Policy) -> None:
        self._stop()
        module, recorded = policy.model.module, self._recorded
        on_gpu = module.device.type == "cuda"
        where = torch.cuda.get_device_name(module.device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
        precision = str(dtype_of(module)).removeprefix("torch.")
        events = profiler.events()
        assert events is not None
        measured = Measured(
            first=window.first,
            last=window.last,
            about=f"{policy.name}, {precision}, {policy.model.way} way, {where}",
            seconds=seconds,
            plain_seconds=statistics.median(self._before[1:]) if len(self._before) > 1 else None,
            rows=sum(one.rows for one in recorded),
            tokens=sum(one.tokens for one in recorded),
            tokens_computed=sum(one.tokens_computed for one in recorded),
            peak_bytes=self._peak_bytes,
            on_gpu=on_gpu,
            events=events,
        )
        self.lines, page = written(measured)
        durable.write_text(self.folder / TABLE, page)
        unfinished = self.folder / f".{secrets.token_hex(4)}.{TRACE}"
        profiler.export_chrome_trace(str(unfinished))
        durable.fsync_file(unfinished)
        durable.replace(unfinished, self.folder / TRACE)
