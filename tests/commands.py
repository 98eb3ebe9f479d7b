"""Runs as `python -m tests.commands`: imports everything once, then forks a process for each command line of `etude`.

A request is a JSON line on stdin, its answer a JSON line on stdout. `{"start": {...}}` forks a command and gives its
process id; `{"wait": pid}` gives its exit code (-9: killed by SIGKILL).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass, field
from importlib import import_module

from etude.cli.main import main

SLOW = (
    "etude.cycle.fine_tune",
    "etude.cli.compare",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "matplotlib.backends.backend_agg",
)


@dataclass(frozen=True)
class Command:
    """One command line, and where it runs."""

    arguments: list[str]
    folder: str
    words: str
    """File to which stdout and stderr go."""
    environment: dict[str, str] = field(default_factory=dict)
    stdin: str = os.devnull
    """File to read from."""
    file_size: int | None = None
    """Largest file, in bytes, that the process may write."""


def start(command: Command) -> int:
    """The process id of a fresh process that runs the command."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _run(command)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(command: Command) -> int:
    os.chdir(command.folder)
    os.environ.update(command.environment)
    os.dup2(os.open(command.stdin, os.O_RDONLY), 0)
    words = os.open(command.words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(words, 1)
    os.dup2(words, 2)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    if command.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.file_size, command.file_size))
    try:
        return main(command.arguments)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0


def serve() -> None:
    """Answers requests until stdin ends."""
    for module in SLOW:
        import_module(module)
    import_module("torch").set_num_threads(1)  # a forked child must not miss threads that its parent had
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = start(Command(**request["start"]))
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
