"""What a run's model knew before training and still knows after it, beside its task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from etude import durable
from etude.batch import Sample, TokenRow
from etude.comparison.retention import Drift, Retention
from etude.comparison.verdict import compare_all
from etude.config import RunFile
from etude.cycle.known_bases import keep_report, kept_at, known_report
from etude.cycle.measure import Measuring, TaskRows, measure, named_tasks
from etude.data.prepare import Prepared
from etude.data.read import read
from etude.data.render import Renderer
from etude.evaluation.drift import drift
from etude.evaluation.report import Report
from etude.evaluation.retention import FOLDER, probe_file
from etude.models.loaded import LoadedModel
from etude.records import Text
from etude.techniques.policy import Policy

TEXT, OWN = "plain text", "held-out rows of the task"


def probes_of(run_file: RunFile) -> dict[str, TaskRows]:
    """The probes by name; none where the base is not measured, or where what is trained answers nothing."""
    if not run_file.evaluation.base or not run_file.objective.needs_policy:
        return {}
    return named_tasks([str(probe_file(name)) for name in run_file.evaluation.retention], "evaluation.retention")


@dataclass
class Retaining:
    """The probes of one run, asked before training and after it; without probes it does nothing."""

    measuring: Measuring
    probes: Mapping[str, TaskRows]
    known: dict[str, Report] = field(default_factory=dict)
    """The base's reports."""
    after: dict[str, Report] = field(default_factory=dict)
    """The tuned model's."""
    seconds: float = 0.0
    """What measuring has taken so far."""

    @property
    def both(self) -> dict[str, tuple[Report, Report]]:
        """Each probe's (tuned, base) reports, once both are there."""
        return {name: (report, self.known[name]) for name, report in self.after.items() if name in self.known}

    def measure_before(self, model: LoadedModel) -> None:
        """Asks the base what no earlier run has asked it."""
        if not self.probes:
            return
        started = time.monotonic()
        evaluation = self.measuring.evaluation
        kept = {
            name: kept_at(model, task, rows, limit=evaluation.limit, batch_rows=evaluation.batch_rows)
            for name, (task, rows) in self.probes.items()
        }
        found = {name: report for name, place in kept.items() if (report := known_report(place, model)) is not None}
        for name, report in found.items():
            place = self.measuring.run.report(name, base=True, retention=True)
            durable.make_directory(place.parent, exist_ok=True)
            report.save(place)
        if found:
            self.measuring.show.say(f"retention of the base is known from an earlier run: {', '.join(found)}")
        rest = {name: probe for name, probe in self.probes.items() if name not in found}
        asked = measure(replace(self.measuring, retention=True), model, rest, base=True) if rest else {}
        for name, report in asked.items():
            keep_report(kept[name], report)
        self.known = {name: found[name] if name in found else asked[name] for name in self.probes}
        self.seconds += time.monotonic() - started

    def measure_after(self, policy: Policy, prepared: Prepared) -> Retention | None:
        """Asks the tuned model, compares it with the base, measures the drift, and writes all of it down."""
        if not self.probes:
            return None
        started = time.monotonic()
        self.after = measure(replace(self.measuring, retention=True), policy, self.probes, base=False)
        verdicts = compare_all(list(self.both.values()))
        drifts = tuple(Drift.of(one) for one in _drifts(self.measuring, policy, prepared))
        self.seconds += time.monotonic() - started
        found = Retention(tuple(verdicts), drifts, round(self.seconds, 3))
        found.save(self.measuring.run.retention_file)
        for verdict in verdicts:
            self.measuring.show.say(f"retention: {verdict.sentence()}")
        for one in drifts:
            between = f"{one.low:.4f} to {one.high:.4f}"
            self.measuring.show.say(f"drift on {one.on}: {one.nats:.4f} nats a token from the base ({between})")
        return found


def _drifts(measuring: Measuring, policy: Policy, prepared: Prepared) -> list[Report]:
    most = measuring.evaluation.drift_rows
    renderer = Renderer(policy.model.tokenizer)
    texts = [renderer.row(record) for record in read(FOLDER / "text.jsonl", Text).rows[:most]]
    chosen: dict[str, Sequence[TokenRow]] = {TEXT: [TokenRow(row.tokens, row.weights) for row in texts]}
    own: Sequence[Sample] = prepared.heldout or prepared.samples
    chosen[OWN if prepared.heldout else "training rows"] = [sample.rows[0] for sample in islice(own, most)]
    found = []
    for name, rows in chosen.items():
        if rows:
            with measuring.show.progress(f"measuring the drift on {name}") as on_progress:
                found.append(drift(name, policy, policy.base, rows, on_progress=on_progress))
    return found
