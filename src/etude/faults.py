"""Named points at which tests make the program die or the disk fail; no-ops outside tests.

Armed only when ETUDE_TESTING=1: `ETUDE_FAULT="checkpoint.after_manifest:2=kill"` kills the process at the second pass
of that point (the first when no number is given). Several faults are separated by commas. Each fires once a process.

    kill, term, int, stop    the signal, sent to this very process
    enospc, eio, eacces      the operation fails with that error number
    nan                      the caller is told to put a NaN into its numbers
    oom                      memory runs out, at every pass that needs more than the number: `loop.pass:300=oom`
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Literal, cast

from etude.errors import EtudeError, StorageError

Action = Literal["kill", "term", "int", "stop", "enospc", "eio", "eacces", "nan", "oom"]

_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT, "stop": signal.SIGSTOP}
_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO, "eacces": errno.EACCES}
_OTHERS = ("nan", "oom")
_passes: dict[tuple[str, str], int] = {}


def point(name: str) -> bool:
    """A place where a test can strike; True when the caller shall put a NaN into its numbers.

    Raises StorageError for an injected disk failure.
    """
    action = fired(name)
    if action in _ERRORS:
        number = _ERRORS[action]
        raise StorageError(f"{os.strerror(number)} (injected fault)", where=name, errno=number)
    return action == "nan"


def failure(name: str) -> OSError | None:
    """The error with which the operation of that name shall fail now, for the layer that does the operation."""
    action = fired(name)
    if action in _ERRORS:
        return OSError(_ERRORS[action], os.strerror(_ERRORS[action]))
    return None


def demand(name: str, amount: int) -> None:
    """A place that needs so much memory. Raises MemoryError when it is more than a test leaves."""
    if any(action == "oom" and name == place and amount > most for place, most, action in _armed()):
        raise MemoryError(f"no room for {amount} at {name} (injected fault)")


def fired(name: str) -> Action | None:
    """The action armed for this pass of the point; signals are already sent when this returns."""
    faults = _armed()
    if not any(name == fault_name for fault_name, _, _ in faults):
        return None
    armed = os.environ["ETUDE_FAULT"]
    passes = _passes[armed, name] = _passes.get((armed, name), 0) + 1
    for fault_name, nth, action in faults:
        if (fault_name, nth) == (name, passes):
            if action in _SIGNALS:
                os.kill(os.getpid(), _SIGNALS[action])
            return action
    return None


def rearm() -> None:
    """Forget all passes so far, so that the same fault can fire again in this process."""
    _passes.clear()


def _armed() -> list[tuple[str, int, Action]]:
    armed = os.environ.get("ETUDE_FAULT")
    return _parse(armed) if armed and os.environ.get("ETUDE_TESTING") == "1" else []


def _parse(armed: str) -> list[tuple[str, int, Action]]:
    faults = []
    for part in armed.split(","):
        place, equals, action = part.strip().partition("=")
        name, _, nth = place.partition(":")
        if not (name and equals and action in {*_SIGNALS, *_ERRORS, *_OTHERS} and (nth or "1").isdecimal()):
            known = ", ".join([*_SIGNALS, *_ERRORS, *_OTHERS])
            raise EtudeError(
                f"{part.strip()!r} is no fault",
                where="ETUDE_FAULT",
                remedy=f"write name[:nth]=action, action one of {known}",
            )
        faults.append((name, int(nth or 1), cast("Action", action)))
    return faults
