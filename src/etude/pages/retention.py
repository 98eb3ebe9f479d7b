"""What training cost beside the task: probes before and after, and how far the model moved."""

from __future__ import annotations

from dataclasses import dataclass

from etude.comparison.retention import Drift
from etude.pages.run_files import RunFiles
from etude.pages.verdicts import Card, card
from etude.pages.wording import THIN, duration, number

TONE = {"worse": "forgotten", "better": "better than before", "not enough evidence": "no sign of forgetting"}


@dataclass(frozen=True)
class Probe:
    """One probe: its verdict in words, read as what was kept."""

    name: str
    says: str
    card: Card


@dataclass(frozen=True)
class DriftRow:
    on: str
    value: str
    interval: str
    rows: str


@dataclass(frozen=True)
class RetentionSection:
    """What the page shows of it."""

    answer: str
    is_bad: bool
    probes: tuple[Probe, ...]
    drifts: tuple[DriftRow, ...]
    took: str


def retention_section(run: RunFiles) -> RetentionSection | None:
    """None where nothing was measured."""
    found = run.retention
    if found is None:
        return None
    forgotten = [verdict.task for verdict in found.verdicts if verdict.answer == "worse"]
    answer = f"Worse after training: {', '.join(forgotten)}" if forgotten else "No sign of forgetting"
    return RetentionSection(
        answer=answer,
        is_bad=bool(forgotten),
        probes=tuple(
            Probe(verdict.task, TONE.get(verdict.answer, verdict.answer), card(verdict)) for verdict in found.verdicts
        ),
        drifts=tuple(map(_drift_row, found.drifts)),
        took=duration(found.seconds),
    )


def _drift_row(drift: Drift) -> DriftRow:
    return DriftRow(
        on=drift.on,
        value=f"{number(drift.nats)}{THIN}nats a token",
        interval=f"{number(drift.low)} to {number(drift.high)}",
        rows=f"{drift.num_rows:,} rows, {drift.num_tokens:,} tokens",
    )
