"""What a model still knows after training, beside its task: probes before and after, and how far it drifted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etude import durable
from etude.comparison.verdict import Verdict
from etude.errors import EtudeError
from etude.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class Drift:
    """KL(tuned‖base) on some rows."""

    on: str
    """What the rows are."""
    nats: float
    """A token."""
    low: float
    high: float
    level: float
    num_rows: int
    num_tokens: int

    @staticmethod
    def of(report: Report) -> Drift:
        """From the report of a drift."""
        low, high = report.intervals.get(report.metric, (report.score, report.score))
        count = round(sum(item.weight for item in report.items))
        return Drift(report.task, report.score, low, high, report.level, len(report.items), count)


@dataclass(frozen=True, slots=True)
class Retention:
    """All of it for one run; a probe's verdict "worse" is something forgotten."""

    verdicts: tuple[Verdict, ...]
    drifts: tuple[Drift, ...]
    seconds: float
    """What measuring took, before and after training together."""

    def save(self, path: Path) -> None:
        """Write `retention.json`: {"verdicts": [...], "drifts": [...], "seconds": …}."""
        held = {
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "drifts": [asdict(drift) for drift in self.drifts],
            "seconds": self.seconds,
        }
        durable.write_json(path, held)

    @staticmethod
    def load(path: Path) -> Retention:
        """Read `retention.json`; EtudeError when it is missing or damaged."""
        try:
            held: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return Retention(
                tuple(Verdict.from_dict(values) for values in held["verdicts"]),
                tuple(Drift(**values) for values in held["drifts"]),
                float(held["seconds"]),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise EtudeError(f"is not a whole retention file ({error})", where=str(path)) from error
