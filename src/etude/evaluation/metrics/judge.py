"""What another language model thinks of answers: a grade, or whether they are better than the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from etude.evaluation.metrics.base import Answered, Metric, Scored, Summary, file_identity, means, plain_settings
from etude.runs.directory import is_run, open_run
from etude.sampling.rewards.options import JudgeOptions


@dataclass(frozen=True, kw_only=True)
class Judged(Metric):
    """A judge's grade from 0 (worst) to 1; with `judge.pairwise`, what the answer won against the reference.

    Pairs are asked in both orders: 1 where the answer wins both, 0.5 for ties and where the order decides.
    """

    judge: JudgeOptions = field(default_factory=JudgeOptions)
    """Who judges, by what, and how, as in `rollouts.rewards`: `endpoint` or `model`, `rubric`, `pairwise`, scale."""
    agreement: str | None = None
    """A file of preferences of people, on which the judge is measured too: how often does it say what they said?"""
    agreement_rows: int = 100
    """The first so many of those pairs."""

    primary: ClassVar[str] = "judged"

    @property
    def needs_reference(self) -> bool:
        return self.judge.pairwise

    def problems(self) -> list[tuple[str, str]]:
        found = [(f"judge.{name}", says) for name, says in self.judge.problems()]
        if self.agreement_rows < 2:
            found.append(("agreement_rows", f"must be at least 2, got {self.agreement_rows}"))
        return found

    def beside(self, folder: Path) -> Self:
        agreement = None if self.agreement is None else str(folder / Path(self.agreement).expanduser())
        return replace(self, agreement=agreement, judge=judge_beside(self.judge, folder))

    def settings(self) -> dict[str, Any]:
        people = None if self.agreement is None else file_identity(Path(self.agreement))
        return {"judge": judge_settings(self.judge), "agreement": people, "agreement_rows": self.agreement_rows}

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """
        Raises:
            EtudeError: the judge cannot be asked, or says nothing that can be read.
        """
        from etude.evaluation.judging import open_judge, refuse_silence, written

        judge = open_judge(self.judge)
        asked = [written(one.prompt, one.answer, one.reference or None) for one in answered]
        if not self.judge.pairwise:
            grades = judge(asked)
            refuse_silence(judge, grades)
            return [Scored({self.primary: grade}) for grade in grades]
        both = judge.both_ways(asked)
        refuse_silence(judge, [first + second for first, second in both])
        return [_compared(self.primary, first, second) for first, second in both]

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """With an agreement file also how far the judge is to be believed."""
        if self.agreement is None:
            return Summary(means(scored))
        from etude.evaluation.judging import agreement, open_judge

        found = agreement(open_judge(self.judge), self.agreement, rows=self.agreement_rows)
        beside = {
            "agrees_with_people": found.agrees,
            "ties_on_their_pairs": found.ties,
            "prefers_longer": found.prefers_longer,
            "their_pairs": float(found.pairs),
        }
        return Summary({**means(scored), **beside}, intervals={"agrees_with_people": found.interval})


def judge_beside(judge: JudgeOptions, folder: Path) -> JudgeOptions:
    """With local paths taken from the folder of the task file."""
    if judge.model is not None and (
        judge.model.startswith(("./", "../", "~")) or is_run(folder / Path(judge.model).expanduser())
    ):
        return replace(judge, model=str(folder / Path(judge.model).expanduser()))
    if judge.endpoint is not None and judge.endpoint.cache is not None:
        cache = str(folder / Path(judge.endpoint.cache).expanduser())
        return replace(judge, endpoint=replace(judge.endpoint, cache=cache))
    return judge


def judge_settings(judge: JudgeOptions) -> dict[str, Any]:
    """What its judgements depend on; where answers are kept and how patiently it is asked do not count."""
    held: dict[str, Any] = plain_settings(judge)
    if judge.endpoint is not None:
        held["endpoint"] = {name: held["endpoint"][name] for name in ("url", "model", "max_tokens", "temperature")}
    if judge.model is not None:
        place = Path(judge.model)
        held["model"] = place.name if place.is_absolute() else judge.model
        if is_run(place):
            held["model"] = f"{place.name} {open_run(place).manifest().run_id}"
    return held


def _compared(primary: str, first: float, second: float) -> Scored:
    """`first`, `second`: what the answer won where it came first, and where it came second."""
    won = (first + second) / 2
    unknown = won != won
    by_order = won if unknown else float({first, second} == {0.0, 1.0})
    tie = won if unknown else float(first == second == 0.5)
    return Scored(
        {primary: won, "ties": tie, "decided_by_order": by_order}, {"first": _said(first), "second": _said(second)}
    )


def _said(won: float) -> str | None:
    return {1.0: "better", 0.5: "tie", 0.0: "worse"}.get(won)
