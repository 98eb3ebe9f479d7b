"""Asked to stop: signals become a flag that the loop reads between updates, never an exception in the middle of one.

What was ignored before (`nohup` ignores SIGHUP) stays ignored. Python runs handlers between bytecodes, so a request
that comes during one long kernel is seen when that kernel returns.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
"""The polite ways to ask a process to end: the scheduler's, the keyboard's, the closed terminal's."""


class StopRequests:
    """Which signal asked to stop, if one did: read `requested` between updates."""

    def __init__(self, notice: str | None = None) -> None:
        self.requested: signal.Signals | None = None
        self._seen: set[int] = set()
        self._notice = notice

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """The handler: remembers the first signal; a second one of the same kind ends the process with 128 + number."""
        if number in self._seen:
            os._exit(128 + number)
        self._seen.add(number)
        if self.requested is None:
            self.requested = signal.Signals(number)
            if self._notice is not None:
                # print() is not safe inside a handler: the signal may have come in the middle of another print
                os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, f"\n{self._notice}\n".encode())


@contextmanager
def stop_requests(notice: str | None = None) -> Iterator[StopRequests]:
    """Turns SIGTERM, SIGINT and SIGHUP into a flag inside the `with` block, and puts the old handlers back after it.

    `notice` is one line for stderr when the first request comes, so that nobody asks twice by mistake. Outside the
    main thread, where Python allows no handlers, nothing is installed and `requested` stays None.
    """
    stop = StopRequests(notice)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    known = {member.name: member for member in signal.valid_signals() if isinstance(member, signal.Signals)}
    before = {known[name]: signal.getsignal(known[name]) for name in STOP_SIGNALS if name in known}
    # None: installed outside Python, could not be put back
    ours = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in ours:
            signal.signal(number, stop.receive)
        yield stop
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt inside the `with` block, as Ctrl-C does: for work that may be cut
    anywhere. A `stop_requests` inside it takes over for its own time.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        asked = [member for member in signal.valid_signals() if isinstance(member, signal.Signals)]
        polite = [member for member in asked if member.name in STOP_SIGNALS and member is not signal.SIGINT]
        before = {member: signal.getsignal(member) for member in polite}
        before = {member: handler for member, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
