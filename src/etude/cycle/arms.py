"""Measures one way to do a task, or takes what was measured of it under the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from etude.advice.arms import Arm, Way
from etude.advice.options import AdviseOptions
from etude.cycle.askers import Asker
from etude.cycle.show import Show
from etude.cycle.wording import Wording
from etude.evaluation.prompted import questions_of, report_of
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An arm before it is measured."""

    name: str
    """Its file's name."""
    title: str
    way: Way
    model: str
    wording: Wording
    rows: int = 0
    """Learned from."""
    training_seconds: Callable[[], float] | None = None
    """What its training took, once it is trained; None: nothing is trained for it."""


@dataclass
class Measuring:
    """Where arms go, and what all of them depend on."""

    folder: Path
    task: Task
    options: AdviseOptions
    conditions: str
    """Hash of task, rows and settings."""
    show: Show
    arms: dict[str, Arm] = field(default_factory=dict)
    """Those of the task itself, by name."""

    def report(self, arm: Arm) -> Report:
        """The arm's answers, item by item."""
        return Report.load(self.folder / f"{arm.name}.jsonl")

    def measure(self, plan: Plan, asker: Callable[[], Asker], *, aside: Task | None = None) -> Arm:
        """The arm, on the task or on rows set `aside`; `asker` is opened (and trained) only where it must be asked."""
        path = self.folder / f"{plan.name}.json"
        facts = (self.conditions, plan.title, plan.model, plan.rows, plan.wording.number, aside is not None)
        key = sha256(repr(facts).encode()).hexdigest()
        arm = Arm.known(path, key)
        if arm is None:
            arm = self._measured(plan, asker(), aside or self.task, timed=aside is None)
            arm.save(path, key)
        if aside is None:
            self.arms[plan.name] = arm
        return arm

    def _measured(self, plan: Plan, asker: Asker, task: Task, *, timed: bool) -> Arm:
        asked = questions_of(task)
        ways = plan.wording.prepare(asked.prompts)
        started = time.perf_counter()
        told = asker.answers(ways, max_new_tokens=task.max_new_tokens, title=plan.title)
        report = report_of(asked, told, plan.title, seconds=time.perf_counter() - started)
        report.save(self.folder / f"{plan.name}.jsonl")
        self.show.say(f"{plan.title}: {report.metric} {report.score:.4g}")
        number = len(report.items)
        arm = Arm(
            name=plan.name,
            title=plan.title,
            way=plan.way,
            model=plan.model,
            metric=report.metric,
            higher_is_better=report.higher_is_better,
            score=report.score,
            interval=report.intervals[report.metric],
            items=number,
            prompt_tokens=sum(item.prompt_tokens for item in report.items) / number,
            answer_tokens=sum(item.answer_tokens for item in report.items) / number,
            latency=asker.latency(ways, told, max_new_tokens=task.max_new_tokens) if timed else None,
            cost=asker.cost(report),
            rows=plan.rows,
        )
        return arm if plan.training_seconds is None else self._with_training(arm, plan.training_seconds())

    def _with_training(self, arm: Arm, seconds: float) -> Arm:
        """With what it cost before the first request."""
        price = self.options.price_per_hour or 0.0
        one_off = seconds / 3600 * price + arm.rows * self.options.price_per_row
        return replace(arm, training_seconds=seconds, one_off=one_off)
