"""Measures one way to do a task, or takes what was measured of it under the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etude import durable
from etude.advice.arms import Arm, Way
from etude.advice.options import AdviseOptions
from etude.comparison.verdict import Verdict, compare_best
from etude.cycle.askers import Asker
from etude.cycle.show import Show
from etude.cycle.wording import Wording
from etude.data.read import content_of
from etude.evaluation.intervals import mean_interval
from etude.evaluation.items import settings_of
from etude.evaluation.prompted import questions_of, report_of
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task
from etude.json_values import json_sha256


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """Who answers, before it is opened."""

    name: str
    """As people call it."""
    identity: str
    """A hash of all that its answers depend on, the questions apart."""
    open: Callable[[], Asker]
    """Loads it, and trains it first if need be."""
    cost: Callable[[Report], float | None]
    """Of 1,000 requests like those; None where nobody knows."""
    rows: int = 0
    """Learned from."""
    training_seconds: Callable[[], float] = lambda: 0.0
    """What its training took, once it is trained."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An arm before it is measured."""

    name: str
    """Its file's name."""
    title: str
    way: Way
    who: Answerer
    wording: Wording


@dataclass
class Measuring:
    """Where arms go, and what all of them are asked."""

    folder: Path
    task: Task
    options: AdviseOptions
    show: Show
    arms: dict[str, Arm] = field(default_factory=dict)
    """Those of the task itself, by name."""

    def report(self, arm: Arm) -> Report:
        """The arm's answers, item by item."""
        return Report.load(self.folder / f"{arm.name}.jsonl")

    def key(self, plan: Plan, task: Task) -> str:
        """A hash of all that an arm's answers and their scores depend on, the same in every process and every folder.

        It holds the content of the items, the settings of the task and of its metric with the limit, who answers (its
        files, what it was trained on and how), and what stands in its prompts beside the question. Names, titles, paths
        and prices are not in it.
        """
        return json_sha256(
            {
                "items": content_of(task.data).sha256,
                "task": settings_of(task),
                "who": plan.who.identity,
                "prompt": plan.wording.facts(),
            }
        )

    def measure(self, plan: Plan, *, aside: Task | None = None) -> Arm:
        """The arm, on the task or on rows set `aside`; who answers is opened only where it must be asked."""
        path, task = self.folder / f"{plan.name}.json", aside or self.task
        key = self.key(plan, task)
        arm = Arm.known(path, key)
        if arm is None:
            durable.remove(path)  # its report is about to be another one
            arm = self._measured(plan, task, timed=aside is None)
            arm.save(path, key)
        if aside is None:
            arm = self._priced(arm, plan)
            self.arms[plan.name] = arm
        return arm

    def _measured(self, plan: Plan, task: Task, *, timed: bool) -> Arm:
        asker = plan.who.open()
        asked = questions_of(task)
        ways = plan.wording.prepare(asked.prompts)
        started = time.perf_counter()
        told = asker.answers(ways, max_new_tokens=task.max_new_tokens, title=plan.title)
        report = report_of(asked, told, plan.title, seconds=time.perf_counter() - started)
        report.save(self.folder / f"{plan.name}.jsonl")
        self.show.say(f"{plan.title}: {report.metric} {report.score:.4g}")
        number = len(report.items)
        return Arm(
            name=plan.name,
            title=plan.title,
            way=plan.way,
            model=plan.who.name,
            metric=report.metric,
            higher_is_better=report.higher_is_better,
            score=report.score,
            interval=report.intervals[report.metric],
            items=number,
            prompt_tokens=sum(item.prompt_tokens for item in report.items) / number,
            answer_tokens=sum(item.answer_tokens for item in report.items) / number,
            latency=asker.latency(ways, told, max_new_tokens=task.max_new_tokens) if timed else None,
            cost=None,
            rows=plan.who.rows,
            training_seconds=plan.who.training_seconds(),
        )

    def _priced(self, arm: Arm, plan: Plan) -> Arm:
        """With what it costs now, for prices change and answers do not; and as it is called now."""
        hour, row = self.options.price_per_hour or 0.0, self.options.price_per_row
        return replace(
            arm,
            title=plan.title,
            model=plan.who.name,
            cost=plan.who.cost(self.report(arm)),
            one_off=arm.training_seconds / 3600 * hour + arm.rows * row,
        )


@dataclass(frozen=True)
class ReportJudge:
    """What the arms' reports show."""

    measuring: Measuring
    bases: int
    """Base models of which one was chosen on the same items; each would have brought as many arms."""

    def compared(self, tuned: Sequence[Arm], prompted: Sequence[Arm]) -> Verdict:
        """At a share of the error for every arm that could have been chosen."""
        return compare_best(
            [self.measuring.report(arm) for arm in tuned],
            [self.measuring.report(arm) for arm in prompted],
            choices=(self.bases * len(tuned), self.bases * len(prompted)),
            smallest_gain=self.measuring.options.matters,
        )

    def interval(self, arm: Arm, level: float) -> tuple[float, float]:
        """Of the arm's score, over items."""
        items = self.measuring.report(arm).items
        scores, groups = [item.scores[arm.metric] for item in items], [item.group for item in items]
        return mean_interval(scores, groups=groups, level=1 - (1 - level) / self.bases)
