"""A command on a real terminal (a pty), driven key by key."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


class Terminal:
    """`etude` with the arguments, in a folder, on a terminal of some width."""

    def __init__(self, *arguments: str, folder: Path, columns: int = 120, **environment: str) -> None:
        self.said = ""
        self.seen = 0
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.chdir(folder)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            # Not what this process has in C: readline sets COLUMNS there.
            path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TERM": "xterm-256color"}
            inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
            command = [sys.executable, "-m", "etude.cli.main", *arguments]
            os.execve(sys.executable, command, {**inherited, **path, **environment})

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def wait_for(self, text: str) -> str:
        """What is said from the last wait up to this text."""
        until = time.monotonic() + PATIENCE_SECONDS
        while text not in self.said[self.seen :]:
            assert time.monotonic() < until, f"{text!r} does not come after: {self.said[-2000:]}"
            assert self._read(), f"ended before {text!r}: {self.said[-2000:]}"
        start = self.seen
        self.seen = self.said.index(text, start) + len(text)
        return self.said[start : self.seen]

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

    def end(self) -> int:
        """The exit code, once it has ended by itself."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing more is said after: {self.said[-2000:]}"
        try:
            content = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.said += content.decode("utf-8", "replace")
        return bool(content)
