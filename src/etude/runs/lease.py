"""One writer a run: a lease with a fencing number, taken over only from a process that is provably gone.

The lease is a file `.lease-<fence>` in the run's folder, made with O_EXCL, so that of two processes one wins. Whoever
takes over a dead holder's lease makes the next number; a writer that was paused meanwhile finds a higher number than
its own and must not commit (`check`). Releasing marks the file, so that numbers never go back.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.errors import RunError, StorageError
from etude.runs.manifest import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF_MADE_SECONDS = 2.0
"""How long a lease file may stay empty before its maker counts as dead."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process behind a lease."""

    host: str
    pid: int
    boot_id: str
    """Changes at every start of the machine."""
    process_start: str
    """Clock ticks from boot to the process's start, so that a reused pid is told apart."""
    token: str
    since: str
    """UTC, ISO 8601."""
    released: bool = False

    @property
    def is_gone(self) -> bool:
        """Released, or provably dead: same machine, and rebooted since or no such process any more."""
        if self.released:
            return True
        if self.host != socket.gethostname():
            return False
        return self.boot_id != _boot_id() or _process_start(self.pid) != self.process_start


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write into one run's folder."""

    folder: Path
    fence: int
    """Grows with every holder; a commit carries it."""
    holder: Holder

    def check(self) -> None:
        """Call before every commit: raises RunError when another process has taken the run over."""
        if not self.folder.is_dir():
            raise RunError("the run's folder is gone", where=str(self.folder))
        highest = _highest(self.folder)
        if highest != self.fence or _read(self.folder, self.fence) != self.holder:
            raise RunError(
                f"another process has taken this run over (its lease is number {highest}, ours {self.fence})",
                where=str(self.folder),
                remedy="nothing more is written by this process",
            )

    def release(self) -> None:
        """Let the next process have the run; no error when the lease was lost or the disk fails (a dead holder's lease
        is taken over anyway).
        """
        if _read(self.folder, self.fence) != self.holder:
            return
        path = _path(self.folder, self.fence)
        try:
            durable.write_text(path, json.dumps(asdict(replace(self.holder, released=True))) + "\n")
        except StorageError:
            with suppress(StorageError):
                durable.remove(path)


def acquire(folder: Path) -> Lease:
    """Take the lease on a run's folder; raises RunError when a live (or unknowable) process holds it.

    Files that a holder left half-written when it died are removed.
    """
    while True:
        before = _highest(folder)
        if before:
            _refuse_if_held(folder, before)
        me = Holder(
            socket.gethostname(), os.getpid(), _boot_id(), _process_start(os.getpid()), secrets.token_hex(8), utc_now()
        )
        if not _create(_path(folder, before + 1), me):
            continue
        if _highest(folder) != before + 1:
            durable.remove(_path(folder, before + 1))
            continue
        for fence in _fences(folder):
            if fence <= before:
                durable.remove(_path(folder, fence))
        durable.sweep(folder)
        return Lease(folder, before + 1, me)


@contextmanager
def held(folder: Path) -> Iterator[Lease]:
    """The lease for the time of the block."""
    lease = acquire(folder)
    try:
        yield lease
    finally:
        lease.release()


def holder(folder: Path) -> Holder | None:
    """Who holds the run now, or held it last; None when nobody ever did."""
    fence = _highest(folder)
    return _read(folder, fence) if fence else None


def _refuse_if_held(folder: Path, fence: int) -> None:
    found = _read(folder, fence)
    deadline = time.monotonic() + HALF_MADE_SECONDS
    while found is None and time.monotonic() < deadline:
        time.sleep(0.05)
        found = _read(folder, fence)
    if found is None or found.is_gone:
        return
    if found.host == socket.gethostname():
        whose = "this very process" if found.pid == os.getpid() else f"process {found.pid}"
        raise RunError(
            f"in use by {whose} since {found.since}", where=str(folder), remedy="wait for it or choose another output"
        )
    raise RunError(
        f"in use by process {found.pid} on {found.host} since {found.since}",
        where=str(folder),
        remedy=f"if that process is gone, remove {_path(folder, fence).name} there",
    )


def _path(folder: Path, fence: int) -> Path:
    return folder / f".lease-{fence:06d}"


def _fences(folder: Path) -> list[int]:
    names = (re.fullmatch(r"\.lease-(\d{6,})", path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in names if match)


def _highest(folder: Path) -> int:
    return max(_fences(folder), default=0)


def _create(path: Path, me: Holder) -> bool:
    """Whether this process is the one that made the file."""
    try:
        durable.create_text(path, json.dumps(asdict(me)) + "\n")
    except FileExistsError:
        return False
    return True


def _read(folder: Path, fence: int) -> Holder | None:
    """None: missing, still empty or torn."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        return Holder(**json.loads(_path(folder, fence).read_text(encoding="utf-8")))
    return None


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _process_start(pid: int) -> str:
    """Start time of a live process (clock ticks since boot); "" when there is none, "?" where the system hides it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() or not _answers(pid) else "?"
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
