"""Terms of a reward added up, each within its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from etude.errors import EtudeError
from etude.sampling.rewards import judge, rules
from etude.sampling.rewards.code import CodeTests
from etude.sampling.rewards.isolated import Isolated
from etude.sampling.rewards.options import RewardOptions

MOST_FAILURES = 0.05
"""Share of answers without a reward above which a run stops."""


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as rewards see it."""

    prompt: str
    answer: str
    reference: str | None
    tokens: tuple[int, ...]
    """Prompt and answer."""
    num_answer_tokens: int


class Term(Protocol):
    """A part of a reward: a number for each answer, NaN where it has none."""

    @property
    def failures(self) -> list[str]:
        """Why answers had none, the newest last; whoever reads them clears the list."""
        ...

    def __call__(self, written: Sequence[Written]) -> list[float]: ...


OpenModel = Callable[[str], Callable[[Sequence[Sequence[int]]], list[float]]]
"""From a run's folder to what its reward model says of rows of tokens."""


@dataclass
class Mixture:
    """The weighted sum of terms; NaN where one of them has no answer."""

    terms: Sequence[tuple[RewardOptions, Term]]
    asked: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """The last different reasons for which there was no reward."""

    @staticmethod
    def of(options: Sequence[RewardOptions], open_model: OpenModel, open_judge: judge.OpenJudge) -> Mixture:
        """
        Raises:
            EtudeError: a function, a reward model or a judge that cannot be opened.
        """
        return Mixture([(one, _term(one, open_model, open_judge)) for one in options])

    def __call__(self, written: Sequence[Written]) -> list[tuple[float, dict[str, float]]]:
        """For each answer the whole, and its terms by kind (before their factors).

        Raises:
            EtudeError: too many answers got no reward.
        """
        parts = [self._bounded(options, term(written)) for options, term in self.terms]
        found = []
        for place in range(len(written)):
            named: dict[str, float] = {}
            for (options, _), values in zip(self.terms, parts, strict=True):
                name = options.kind if options.kind not in named else f"{options.kind} {len(named)}"
                named[name] = values[place]
            whole = sum(options.weight * values[place] for (options, _), values in zip(self.terms, parts, strict=True))
            found.append((whole, named))
        self._judge([whole for whole, _ in found])
        return found

    @staticmethod
    def _bounded(options: RewardOptions, values: list[float]) -> list[float]:
        lowest = -math.inf if options.lowest is None else options.lowest
        highest = math.inf if options.highest is None else options.highest
        return [value if math.isnan(value) else min(max(value, lowest), highest) for value in values]

    def _judge(self, wholes: Sequence[float]) -> None:
        self.asked += len(wholes)
        self.failed += sum(math.isnan(whole) for whole in wholes)
        for _, term in self.terms:
            told = term.failures
            self.failures = list(dict.fromkeys([*self.failures, *told]))[-3:]
            told.clear()
        if self.failed > max(1, MOST_FAILURES * self.asked):
            raise EtudeError(
                f"{self.failed} of {self.asked} answers got no reward ({'; '.join(self.failures) or 'NaN'})",
                where="rollouts.rewards",
                remedy="mend the reward; no answer without one was learned from",
            )


@dataclass(frozen=True, slots=True)
class Simple:
    """A term that a function of all answers gives."""

    function: Callable[[Sequence[Written]], list[float]]
    failures: list[str] = field(default_factory=list)

    def __call__(self, written: Sequence[Written]) -> list[float]:
        return self.function(written)


def _one_by_one(function: Callable[[str, str, str | None], float], failures: list[str]) -> Simple:
    return Simple(lambda written: [function(one.prompt, one.answer, one.reference) for one in written], failures)


def _term(options: RewardOptions, open_model: OpenModel, open_judge: judge.OpenJudge) -> Term:
    if options.kind == "model":
        assert options.run is not None
        rewards = open_model(options.run)
        return Simple(lambda written: rewards([one.tokens for one in written]))
    if options.kind == "length":
        most = options.most_tokens or 1
        return Simple(lambda written: [rules.too_long(one.num_answer_tokens, most) for one in written])
    if options.kind == "python":
        path, _, name = str(options.function).rpartition(":")
        isolated = Isolated(Path(path), name, options.seconds)
        return _one_by_one(isolated, isolated.failures)
    if options.kind == "code":
        assert options.code is not None
        return CodeTests(options.code, options.seconds)
    if options.kind == "judge":
        assert options.judge is not None
        return judge.Judge(options.judge, judge.ask_of(options.judge, open_judge))
    return _one_by_one(_rule(options), [])


def _rule(options: RewardOptions) -> Callable[[str, str, str | None], float]:
    def judged(_: str, answer: str, reference: str | None) -> float:
        wanted = reference or ""
        if options.kind == "exact":
            return rules.exact(answer, wanted)
        if options.kind == "regex":
            return rules.regex(answer, wanted, str(options.pattern))
        return rules.json_parts(answer, wanted, options.fields)

    return judged
