"""Rewards code by the share of given tests that it passes: runs what the model wrote, confined, and only if allowed."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.errors import DataError, EtudeError
from etude.sampling.rewards.options import CodeOptions

if TYPE_CHECKING:
    from etude.sampling.rewards.mixture import Written

CHILD = Path(__file__).with_name("confined.py")
FENCED = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
MOST_OUTPUT = 1 << 20
"""Bytes of a program's output that are compared."""
HOLDS = {
    "limits": "memory, time and file size are limited",
    "files": "no files but its own folder's",
    "processes": "no other processes",
    "network": "no network",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one confined process."""

    passed: frozenset[int] = frozenset()
    """Numbers of the tests."""
    held: tuple[str, ...] = ()
    """What it had given away; empty where it did not get so far."""
    output: bytes = b""
    ended_well: bool = False


@dataclass
class CodeTests:
    """A term: the share of the reference's tests that the answer's code passes, 0 to 1."""

    options: CodeOptions
    seconds: float
    failures: list[str] = field(default_factory=list)
    """Why answers have no reward; code that fails is no such reason."""

    def __call__(self, written: Sequence[Written]) -> list[float]:
        """
        Raises:
            DataError: a reference that holds no tests.
        """
        jobs = [(code_in(one.answer), tests_in(one.reference)) for one in written]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda job: self._share(*job), jobs))

    def _share(self, code: str, tests: Sequence[str | Mapping[str, str]]) -> float:
        statements = [test for test in tests if isinstance(test, str)]
        programs = [test for test in tests if not isinstance(test, str)]
        passed = 0
        try:
            if statements:
                passed += len(run_confined(code, statements, options=self.options, seconds=self.seconds).passed)
            for test in programs:
                ran = run_confined(code, (), given=test["input"], options=self.options, seconds=self.seconds)
                passed += ran.ended_well and _lines(ran.output.decode("utf-8", "replace")) == _lines(test["output"])
        except OSError as error:
            self.failures.append(f"the sandbox could not be started: {error}")
            return math.nan
        return passed / len(tests)


def code_in(answer: str) -> str:
    """The last fenced block of Python, else the whole answer."""
    blocks: list[str] = FENCED.findall(answer)
    return blocks[-1] if blocks else answer


def tests_in(reference: str | None) -> list[str | dict[str, str]]:
    """The tests of a row: a JSON list of statements that must not raise, and of {input, output} of a whole program.

    Raises:
        DataError: anything else.
    """
    try:
        found = json.loads(reference or "")
    except ValueError:
        found = None
    if isinstance(found, list) and found and all(map(_is_test, found)):
        return found
    raise DataError(
        f"the reference holds no tests: {(reference or 'nothing')[:60]!r}",
        where="rollouts.rewards",
        remedy='the reward code needs a JSON list such as ["assert add(1, 2) == 3"] or [{"input": "1", "output": "2"}]',
    )


def _is_test(value: object) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"input", "output"} and all(isinstance(text, str) for text in value.values())
    return isinstance(value, str)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def run_confined(
    code: str, statements: Sequence[str], *, options: CodeOptions, seconds: float, given: str | None = None
) -> Ran:
    """The code, then each statement in its names; with `given`, the code alone as a program that reads it.

    Raises:
        OSError: no process could be started.
    """
    with tempfile.TemporaryDirectory(prefix="etude-code-") as name:
        folder = Path(name)
        files = {"answer.py": code, **{f"test_{number}.py": text for number, text in enumerate(statements)}}
        if given is not None:
            files["input.txt"] = given
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8", errors="replace")
        with (folder / "output").open("w+b") as output:
            read, write = os.pipe()
            job = {
                "told": write,
                "nonce": secrets.token_hex(16),
                "memory_bytes": options.memory_mb << 20,
                "cpu_seconds": math.ceil(seconds),
                "num_tests": len(statements),
                "input": None if given is None else "input.txt",
            }
            try:
                ended_well = _wait(folder, output.fileno(), write, json.dumps(job), seconds)
                os.close(write)
                write = -1
                with os.fdopen(read, "rb") as lines:
                    told = [line for line in map(_told, lines) if line.get("nonce") == job["nonce"]]
            finally:
                if write >= 0:
                    os.close(write)
                    os.close(read)
            output.seek(0)
            held = next((tuple(line["held"]) for line in told if "held" in line), ())
            passed = frozenset(line["passed"] for line in told if line.get("passed") in range(len(statements)))
            return Ran(passed, held, output.read(MOST_OUTPUT + 1), ended_well)


def _wait(folder: Path, output: int, told: int, job: str, seconds: float) -> bool:
    """Whether the child ended well in time; its whole group is gone afterwards."""
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-I", str(CHILD)], cwd=folder, env=environment, start_new_session=True, pass_fds=(told,),
        stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        child.communicate(job, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return child.returncode == 0


def _told(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def confinement() -> str:
    """What holds the code on this machine, in a sentence.

    Raises:
        EtudeError: no confined process can be started here.
    """
    ran = run_confined("", ["pass"], options=CodeOptions(run_model_code=True), seconds=20.0)
    if not ran.passed:
        raise EtudeError("a confined process cannot be started here", where="rollouts.rewards")
    missing = [name for name in HOLDS if name not in ran.held]
    said = "; ".join(HOLDS[name] for name in ran.held)
    return f"code that the model writes is run: {said}" + (
        f" (not held on this machine: {', '.join(missing)})" if missing else ""
    )
