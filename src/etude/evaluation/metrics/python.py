"""A metric of the user's own: a function in a file, called in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from etude.errors import EtudeError, Problems
from etude.evaluation.metrics.base import Answered, Metric, Scored, file_identity


@dataclass(frozen=True, kw_only=True)
class Python(Metric):
    """What `function(prompt, answer, reference)` says of each answer: a number from 0 to 1, more is better."""

    function: str = ""
    """`file.py:name`, which is what the task's `metric` says."""
    seconds: float = 5.0
    """Longest time for one answer."""

    primary: ClassVar[str] = "python"

    @property
    def needs_reference(self) -> bool:
        return False

    def problems(self) -> list[tuple[str, str]]:
        return [] if self.seconds > 0 else [("seconds", f"must be above 0, got {self.seconds:g}")]

    def beside(self, folder: Path) -> Self:
        path, _, name = self.function.rpartition(":")
        return replace(self, function=f"{folder / Path(path).expanduser()}:{name}")

    def settings(self) -> dict[str, Any]:
        path, _, name = self.function.rpartition(":")
        return {"function": f"{file_identity(Path(path))}:{name}", "seconds": self.seconds}

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """
        Raises:
            Problems: the function gave no number, or none from 0 to 1, for some answers.
            ConfigError: the file or the function cannot be loaded.
        """
        from etude.sampling.rewards.isolated import Isolated

        path, _, name = self.function.rpartition(":")
        function = Isolated(Path(path), name, self.seconds)
        try:
            found = [function(one.prompt, one.answer, one.reference or None) for one in answered]
        finally:
            function.close()
        wrong = [f"answer {place}: gave {value:g}" for place, value in enumerate(found, 1) if not _is_share(value)]
        if wrong:
            reasons = list(dict.fromkeys(function.failures))
            raise Problems(f"the metric {self.function}", [EtudeError(one) for one in (*reasons, *wrong)[:20]])
        return [Scored({self.primary: value}) for value in found]


def _is_share(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1
