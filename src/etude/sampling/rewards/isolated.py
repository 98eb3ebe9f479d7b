"""A user's reward function in a process of its own: it may hang, raise or kill itself, and only its answer is lost."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from etude.errors import ConfigError

CHILD = """
import importlib.util, json, sys
path, name = sys.argv[1:3]
answers, sys.stdout = sys.stdout, sys.stderr
spec = importlib.util.spec_from_file_location("rewards_of_the_user", path)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
function = getattr(module, name)
print(json.dumps({"ready": True}), file=answers, flush=True)
for line in sys.stdin:
    try:
        value = function(*json.loads(line))
        told = {"reward": float(value)} if not isinstance(value, (str, bytes)) else {"wrong": f"gave {value!r}"}
    except Exception as error:
        told = {"wrong": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), file=answers, flush=True)
"""
START_SECONDS = 60.0


@dataclass
class Isolated:
    """Calls `name` in the file, one answer at a time; a process that was lost is started again for the next one."""

    path: Path
    name: str
    seconds: float
    failures: list[str] = field(default_factory=list)
    """Why answers have no reward."""
    _child: subprocess.Popen[str] | None = None

    def __call__(self, prompt: str, answer: str, reference: str | None) -> float:
        """The function's number; NaN where there is none.

        Raises:
            ConfigError: the file or the function cannot be loaded.
        """
        child = self._child or self._start()
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps([prompt, answer, reference]) + "\n")
            child.stdin.flush()
            told = self._told(self.seconds)
        except (OSError, ValueError) as error:
            return self._lost(f"its process ended ({error})")
        if told is None:
            return self._lost(f"took more than {self.seconds:g} s")
        found = float(str(told.get("reward", "nan")))
        if not math.isfinite(found):
            self.failures.append(str(told.get("wrong", f"gave {found}")))
            return math.nan
        return found

    def _lost(self, why: str) -> float:
        self.close()
        self.failures.append(why)
        return math.nan

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _start(self) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.path.parent), os.environ.get("PYTHONPATH", "")]),
        }
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(self.path), self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        told = None
        with suppress(ValueError):
            told = self._told(START_SECONDS)
        if told is None:
            child = self._child
            child.kill()
            _, errors = child.communicate()
            self._child = None
            last = errors.strip().rpartition("\n")[2] or "it did not start"
            raise ConfigError(f"cannot be used: {last}", where=f"{self.path}:{self.name}")
        return self._child

    def _told(self, seconds: float) -> dict[str, object] | None:
        """The child's next line; None after so many seconds.

        Raises:
            ValueError: it ended.
        """
        assert self._child is not None
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], seconds)
        if not ready:
            return None
        line = self._child.stdout.readline()
        if not line:
            raise ValueError(f"exit code {self._child.wait()}")
        return dict(json.loads(line))
