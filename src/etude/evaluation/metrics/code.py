"""Code that an answer holds, by the tests that it passes; nothing is run unless the task file allows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from etude.errors import DataError, EtudeError
from etude.evaluation.metrics.base import Answered, Metric, Problem, Scored, plain_settings
from etude.sampling.rewards.options import CodeOptions


@dataclass(frozen=True, kw_only=True)
class Code(Metric):
    """1 where the answer's code passes all of the reference's tests, and the share that it passes.

    The reference is a JSON list of statements that must not raise, and of {input, output} of a whole program, as for
    the reward of that name; the code runs in its sandbox.
    """

    code: CodeOptions = field(default_factory=CodeOptions)
    """`run_model_code: true` allows it; `memory_mb`."""
    seconds: float = 5.0
    """Longest time for the statements of an answer, and for each program."""

    primary: ClassVar[str] = "passed_all"

    def problems(self) -> list[tuple[str, str]]:
        found = [(f"code.{name}", says) for name, says in self.code.problems()]
        if self.seconds <= 0:
            found.append(("seconds", f"must be above 0, got {self.seconds:g}"))
        return found

    def settings(self) -> dict[str, Any]:
        return {"code": plain_settings(self.code), "seconds": self.seconds}

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        from etude.sampling.rewards.code import tests_in

        found: list[Problem] = []
        for place, reference in enumerate(references):
            try:
                tests_in(reference)
            except DataError as error:
                found.append((place, error.found))
        return found

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """
        Raises:
            EtudeError: the sandbox cannot be started.
        """
        from etude.sampling.rewards.code import CodeTests, confinement
        from etude.sampling.rewards.mixture import Written

        held = confinement()
        tests = CodeTests(self.code, self.seconds)
        shares = tests([Written(one.prompt, one.answer, one.reference, (), 0) for one in answered])
        if any(map(math.isnan, shares)):
            raise EtudeError("; ".join(dict.fromkeys(tests.failures)), where="metric: code")
        return [
            Scored({self.primary: float(share == 1), "tests_passed": share}, {"confined": held}) for share in shares
        ]
