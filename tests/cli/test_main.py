"""The command as people call it: help, versions, mistakes, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from etude.cli import main as command
from etude.errors import EtudeError, Interrupted

COMMAND = [sys.executable, "-m", "etude.cli.main"]


def etude(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_shows_every_command_and_the_life_cycle(arguments: list[str]) -> None:
    done = etude(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in command.COMMANDS)
    assert "the life cycle:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90


def test_version() -> None:
    assert etude("--version").stdout == f"etude {version('etude')}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "error: unknown command 'trian'; did you mean 'etude train'?\n"),
        (["xyz"], "error: unknown command 'xyz'; etude --help lists the commands\n"),
        (["check"], "error: etude check: the following arguments are required: file; etude check --help explains\n"),
        (["check", "a.yaml", "--resolvd"], "error: etude check: unrecognized arguments: --resolvd; etude check --help"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], says: str) -> None:
    done = etude(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = etude(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: etude {name}")


def test_debug_shows_the_traceback() -> None:
    done = etude("trian", ETUDE_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def ends_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(command, "_run", fail)
    return command.main([])


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(EtudeError("found", where="x", remedy="do"), monkeypatch) == 2
    assert ends_with(Interrupted("stopped"), monkeypatch) == 75
    assert ends_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr().err == "error: x: found; do\nerror: stopped\ninterrupted\n"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        ends_with(AssertionError("ours"), monkeypatch)


def test_a_reader_that_leaves_is_no_error() -> None:
    patched = "from etude.cli import main as m\nm.HELP = '{commands}' + 'x' * 1_000_000\n"
    writer = f"import sys\n{patched}sys.exit(m.main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (command.BROKEN_PIPE, b"")


def test_ctrl_c_ends_with_130() -> None:
    program = (
        "import os, signal, sys\nfrom etude.cli import main as m\n"
        "m._run = lambda arguments: os.kill(os.getpid(), signal.SIGINT)\nsys.exit(m.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "interrupted\n")
