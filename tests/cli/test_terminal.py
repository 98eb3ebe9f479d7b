"""Progress that reads well in a log, and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from etude.cli import terminal
from etude.errors import Interrupted


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (4200, "1 h 10 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, says: str) -> None:
    assert terminal.duration(seconds) == says


def test_a_log_gets_a_line_now_and_then(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with terminal.progress("Training") as on_progress:
        for done in range(1, 101):
            now += 0.5
            on_progress(done, 100)
        on_progress(100, 100)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "Training: 1/100, 50 s left",
        "Training: 21/100, 40 s left",
        "Training: 41/100, 30 s left",
        "Training: 61/100, 20 s left",
        "Training: 81/100, 10 s left",
        "Training: 100/100 in 50 s",
    ]


def test_nothing_to_do_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Reading") as on_progress:
        on_progress(0, 0)
    assert capfd.readouterr().err.startswith("Reading: 0/0 in 0 s")


def test_a_terminal_gets_a_bar() -> None:
    program = (
        "from etude.cli.terminal import progress\nwith progress('Training') as step:\n    step(1, 4)\n    step(4, 4)"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", program], stderr=follower, check=True, env=environment, timeout=60)
    os.close(follower)
    printed = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "Training" in printed
    assert "4/4" in printed
    assert "━" in printed


def test_the_console_is_made_once_and_late() -> None:
    assert terminal.console is terminal.console
    with pytest.raises(AttributeError, match="consol"):
        terminal.consol  # noqa: B018  # the access is the test


def test_a_stop_names_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/etude", "advise", "my task.yaml"])
    with pytest.raises(Interrupted) as told, terminal.the_same_command_goes_on():
        raise Interrupted("stopped by SIGTERM; go on with: the same command with --resume")
    assert str(told.value).endswith("stopped; go on with:\n  etude advise 'my task.yaml'")
