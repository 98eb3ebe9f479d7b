"""What a run must show before it ships: conditions on tasks and figures, each passed, not passed, or undecided.

All gates must pass, so each is tested at its own full level: the whole lets a run through that fails a condition with
at most that error, whatever their number (intersection-union test, Berger 1982,
https://doi.org/10.1080/00401706.1982.10487790). Undecided is not passed. Pure: reports in, results out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from etude.comparison.judgement import UNDECIDED, Evidence, bounds
from etude.comparison.pairing import Side, models, pair
from etude.comparison.wording import Scale, round_up, shown_level
from etude.errors import ConfigError
from etude.evaluation.intervals import RESAMPLES, mean_interval
from etude.evaluation.report import Report

Figure = Literal["seconds_per_answer", "tokens_per_answer", "cost_per_1000_answers", "training_cost", "bytes"]
Outcome = Literal["passed", "not passed", "not enough evidence"]
OF_ANSWERS = ("seconds_per_answer", "tokens_per_answer", "cost_per_1000_answers")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition: `task` with `better_by` or `no_worse_than`, or `figure` with `at_most`."""

    task: str | None = None
    """The task whose reports decide, or a retention probe as `retention.NAME`; for figures of answers, the task whose
    answers count."""
    metric: str | None = None
    """Another item score than the task's primary one."""
    better_by: float | None = None
    """Superiority: the interval of the gain must lie above this. 0: any gain; 0.02: two points."""
    no_worse_than: float | None = None
    """Non-inferiority: the interval of the gain must lie above minus this. 0.01: no more than a point is lost."""
    figure: Figure | None = None
    """`seconds_per_answer` (as asked, in batches), `tokens_per_answer`, `cost_per_1000_answers` and `training_cost`
    (both with `planning.price_per_hour`), or `bytes` (of the weights that the run wrote)."""
    at_most: float | None = None
    """The figure's interval must lie below this."""
    level: float = 0.95
    """Of the interval: a condition that does not hold passes with half of what is left."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        asked = [name for name in ("better_by", "no_worse_than", "at_most") if getattr(self, name) is not None]
        found: list[tuple[str, str]] = []
        if len(asked) != 1:
            got = " and ".join(asked) or "none"
            found.append(
                (asked[-1] if asked else "task", f"a gate says one of better_by, no_worse_than, at_most; {got}")
            )
        if (self.at_most is not None) != (self.figure is not None):
            found.append(("figure", "figure and at_most go together"))
        if self.task is None and (self.figure is None or self.figure in OF_ANSWERS):
            found.append(("task", "missing; whose reports decide?"))
        if self.metric is not None and self.figure is not None:
            found.append(("metric", "a figure has no metric; leave it out"))
        if self.better_by is not None and self.better_by < 0:
            found.append(("better_by", f"must be at least 0, got {self.better_by:g}; no_worse_than allows a loss"))
        if self.no_worse_than is not None and self.no_worse_than <= 0:
            found.append(
                ("no_worse_than", "must be above 0: that nothing at all is lost cannot be shown; 0.01 is a point")
            )
        if not 0.5 <= self.level <= 0.9999:
            found.append(("level", f"must be from 0.5 to 0.9999, got {self.level:g}"))
        return found


@dataclass(frozen=True, slots=True)
class GateResult:
    """How one gate went."""

    outcome: Outcome
    condition: str
    """What was asked, in words."""
    found: str
    """What was measured, with its interval."""
    note: str = ""
    """Undecided: what would decide it."""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    def sentence(self) -> str:
        """One line for a terminal or a log."""
        said = f"{self.outcome} (counts as not passed)" if self.outcome == UNDECIDED else self.outcome
        return f"{said}: {self.condition}: {self.found}{f'; {self.note}' if self.note else ''}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; the fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run recorded beside its reports; None where it did not."""

    weights_bytes: int | None = None
    training_seconds: float | None = None
    price_per_hour: float | None = None


def judge_gates(
    gates: Sequence[Gate], sides: Mapping[str, tuple[Side, Side | None]], facts: Facts
) -> tuple[GateResult, ...]:
    """A result for each gate; `sides` maps a task to the (tuned, base) reports.

    Raises:
        EtudeError: a gate names a task without reports, or reports that cannot be compared.
    """
    refuse_unknown(gates, list(sides))
    return tuple(_task_gate(gate, sides) if gate.figure is None else _figure_gate(gate, sides, facts) for gate in gates)


def refuse_unknown(gates: Sequence[Gate], tasks: Sequence[str]) -> None:
    """ConfigError for gates on tasks that are not measured."""
    for place, gate in enumerate(gates):
        if gate.task is not None and gate.task not in tasks:
            raise ConfigError(
                f"no task {gate.task!r} is measured", where=f"gates[{place}].task",
                remedy=f"there are {', '.join(tasks) or 'none'}",
            )  # fmt: skip


def _task_gate(gate: Gate, sides: Mapping[str, tuple[Side, Side | None]]) -> GateResult:
    assert gate.task is not None
    tuned, base = sides[gate.task]
    first = models(tuned)[0]
    metric = gate.metric or first.metric
    scale = Scale.of(metric, higher_is_better=first.higher_is_better)
    loss = gate.no_worse_than
    bound = gate.better_by if loss is None else -loss
    assert bound is not None
    if loss is None:
        condition = f"{metric} on {gate.task} better by more than {scale.amount(bound)}"
    else:
        condition = f"{metric} on {gate.task} loses no more than {scale.amount(loss)}"
    if base is None:
        return GateResult(UNDECIDED, condition, "the base was not measured", "measure it: evaluation.base")
    resamples = max(RESAMPLES, math.ceil(50 / (1 - gate.level)))
    paired = pair(tuned, base, metric, resamples=resamples)
    evidence = paired.evidence
    low, high = bounds(evidence, 1 - gate.level)
    found = (
        f"gain {scale.interval(evidence.difference, low, high)}, {shown_level(gate.level)} interval,"
        f" n = {paired.n:,} ({evidence.method})"
    )
    if low > bound:
        return GateResult("passed", condition, found)
    if high < bound or (high <= 0 and bound == 0):
        return GateResult("not passed", condition, found)
    return GateResult(UNDECIDED, condition, found, _rows(evidence, bound, gate.level))


def _rows(evidence: Evidence, bound: float, level: float) -> str:
    distance = abs(evidence.difference - bound)
    rows = evidence.rows_for(distance, level) if distance > 0 else None
    if rows is None or not math.isfinite(rows):
        return ""
    return f"if the difference is what was seen, about {round_up(math.ceil(rows)):,} items would decide"


def _figure_gate(gate: Gate, sides: Mapping[str, tuple[Side, Side | None]], facts: Facts) -> GateResult:
    assert gate.figure is not None
    assert gate.at_most is not None
    on = f" on {gate.task}" if gate.task is not None and gate.figure in OF_ANSWERS else ""
    condition = f"{gate.figure}{on} at most {_plain(gate.at_most)}"
    if gate.figure in ("seconds_per_answer", "tokens_per_answer"):
        assert gate.task is not None
        return _answers_gate(gate, models(sides[gate.task][0]), condition)
    value, missing = _known(gate, sides, facts)
    if value is None:
        return GateResult(UNDECIDED, condition, missing)
    return GateResult("passed" if value <= gate.at_most else "not passed", condition, _plain(value))


def _plain(value: float) -> str:
    """12,345,678 and 0.0123."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _answers_gate(gate: Gate, reports: Sequence[Report], condition: str) -> GateResult:
    assert gate.at_most is not None
    items = [item for report in reports for item in report.items if item.answer is not None]
    values = [float(item.answer_tokens) if gate.figure == "tokens_per_answer" else item.seconds for item in items]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return GateResult(UNDECIDED, condition, "the report does not say", "evaluate again")
    low, high = mean_interval(known, groups=[item.group for item in items], level=gate.level)
    found = (
        f"{sum(known) / len(known):.4g} [{low:.4g}, {high:.4g}], {shown_level(gate.level)} interval"
        f" over {len(known):,} answers"
    )
    if high <= gate.at_most:
        return GateResult("passed", condition, found)
    if low > gate.at_most:
        return GateResult("not passed", condition, found)
    return GateResult(UNDECIDED, condition, found, "more answers would narrow it")


def _known(gate: Gate, sides: Mapping[str, tuple[Side, Side | None]], facts: Facts) -> tuple[float | None, str]:
    """A figure that is a plain number, or why there is none."""
    if gate.figure == "bytes":
        return facts.weights_bytes, "no run's weights are at hand"
    if facts.price_per_hour is None:
        return None, "planning.price_per_hour is not set"
    if gate.figure == "training_cost":
        seconds = facts.training_seconds
        return None if seconds is None else seconds / 3600 * facts.price_per_hour, "no run says how long it trained"
    assert gate.task is not None
    report = models(sides[gate.task][0])[0]
    if report.seconds is None:
        return None, "the report does not say how long answering took"
    return 1000 * report.seconds / len(report.items) / 3600 * facts.price_per_hour, ""
