"""What one measuring process hands back: a line of JSON; standard library only, for it runs in every environment."""

from __future__ import annotations

import json
import resource
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "llamafactory")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side of a pair; a round is an update, or a batch of answers."""

    seconds: Sequence[float]
    """Of each round, from the end of the one before it, so nothing that a round needs is left out."""
    rows: Sequence[int]
    """Examples of each round."""
    tokens: Sequence[int]
    """Tokens of data of each round: those of the rows, without padding, shared prefixes counted in every row."""
    losses: Sequence[float] = ()
    gradient_norms: Sequence[float] = ()
    answers: Sequence[Sequence[int]] = ()
    """Token ids, where the rounds are batches of answers."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Whatever else a case measures."""
    peak_gigabytes: float = field(default_factory=lambda: peak_gigabytes())
    """Most memory that the process held at once, loading included."""
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    def steady(self, warm: int) -> float:
        """Median seconds of the rounds after the first `warm`."""
        return statistics.median(self.seconds[warm:])

    def rows_per_second(self, warm: int) -> float:
        return statistics.median(
            rows / seconds for rows, seconds in zip(self.rows[warm:], self.seconds[warm:], strict=True)
        )

    def tokens_per_second(self, warm: int) -> float:
        return statistics.median(
            tokens / seconds for tokens, seconds in zip(self.tokens[warm:], self.seconds[warm:], strict=True)
        )

    def whole_seconds(self) -> float:
        """All rounds, the first ones with their compiling included."""
        return sum(self.seconds)

    def print(self) -> None:
        """The line that `from_output` finds."""
        print("\n" + json.dumps(asdict(self)), flush=True)

    @staticmethod
    def from_output(text: str) -> Measured:
        return Measured(**json.loads(text.strip().splitlines()[-1]))


def peak_gigabytes() -> float:
    """Of this process; what the kernel counts otherwise starts with the peak of the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (one for one in status.read_text(encoding="utf-8").splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def versions() -> dict[str, str]:
    """Of the packages that decide about speed, as installed in this environment."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def read_job() -> dict[str, Any]:
    """The job that the runner wrote: a JSON file named on the command line."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return job
