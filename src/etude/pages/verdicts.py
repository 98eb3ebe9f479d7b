"""The answer on top of the page: better, worse, equivalent or not enough evidence, in a sentence with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from etude.comparison.gap import Gap
from etude.comparison.verdict import Verdict
from etude.evaluation.report import is_share
from etude.pages.run_files import RunFiles
from etude.pages.wording import duration, number, p_value, percent, points, score_name, signed

Tone = Literal["good", "bad", "unsure", "none"]

TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "equivalent": "none", "not enough evidence": "unsure"}
GATE_TONES: dict[str, Tone] = {"passed": "good", "not passed": "bad", "not enough evidence": "unsure"}


@dataclass(frozen=True)
class Strip:
    """A difference and its interval on a line with zero marked; places in percent of the line's width."""

    point: float
    low: float
    high: float
    zero: float
    asked: float | None
    """The smallest gain that matters, where one was set."""
    alt: str


@dataclass(frozen=True)
class Card:
    """One verdict."""

    task: str
    tone: Tone
    answer: str
    change: str
    """`exact match 3.1 % → 91.4 %`."""
    evidence: str
    """`+88.3 points, 95 % interval 83 to 92, n = 200 (exact McNemar p < 1e-9)`."""
    counts: tuple[tuple[str, int], ...]
    note: str | None
    strip: Strip | None


@dataclass(frozen=True)
class GateLine:
    """One gate of the run file, and how it went."""

    tone: Tone
    outcome: str
    condition: str
    found: str


@dataclass(frozen=True)
class Headline:
    """What the whole page says."""

    tone: Tone
    text: str
    reason: str | None
    cards: tuple[Card, ...]


def headline(run: RunFiles) -> Headline:
    """One verdict speaks for itself; several are counted; none is explained."""
    cards = tuple(card(verdict) for verdict in run.verdicts)
    if not cards:
        return Headline("none", "No verdict", _why_none(run), ())
    if len(cards) == 1:
        return Headline(cards[0].tone, cards[0].answer, None, cards)
    counts = {answer: sum(verdict.answer == answer for verdict in run.verdicts) for answer in TONES}
    said = [f"{answer} on {count}" for answer, count in counts.items() if count]
    text = f"{said[0].capitalize()}{''.join(f', {more}' for more in said[1:])} of {len(cards)} tasks"
    tones = {found.tone for found in cards}
    return Headline(tones.pop() if len(tones) == 1 else "none", text, None, cards)


def gate_lines(run: RunFiles) -> tuple[GateLine, ...]:
    """The gates in the run file's order."""
    return tuple(
        GateLine(
            tone=GATE_TONES.get(gate.outcome, "none"),
            outcome=gate.outcome,
            condition=gate.condition,
            found=signed(f"{gate.found}; {gate.note}" if gate.note else gate.found),
        )
        for gate in run.gates
    )


def _why_none(run: RunFiles) -> str:
    if run.state in ("running", "died", "interrupted", "failed"):
        steps = run.metrics.loss.steps
        where = f" after update {steps[-1]:,}" if steps else " before the first update"
        said = {"running": "is still running; this page shows it", "died": "ended without a word; its last figures are"}
        return f"The run {said.get(run.state, f'was {run.state}' if run.state != 'failed' else 'failed')}{where}."
    if not run.tasks:
        return "Nothing was measured: the run file names no evaluation tasks."
    if not any(task.base and task.tuned for task in run.tasks):
        return "There is nothing to compare: no task was measured both before and after training."
    return "The run directory holds no verdict, though there are reports to compare."


def card(verdict: Verdict) -> Card:
    """A verdict in words, and its interval as a strip."""
    in_percent = _in_percent(verdict)
    name = score_name(verdict.metric)
    level = f"{100 * verdict.level:.4g}\u202f%"
    ends = (verdict.low, verdict.high)
    if in_percent:
        gain = f"{points(verdict.difference)} points"
        between = f"{points(ends[0], plus=False)} to {points(ends[1], plus=False)}"
    else:
        gain = f"gain {_plain_gain(verdict.difference)}"
        between = f"{_plain_gain(ends[0])} to {_plain_gain(ends[1])}"
    if not all(map(math.isfinite, ends)):
        between = "unknown"
    test = f"{verdict.method} {p_value(verdict.p_value)}"
    among = f", corrected for {verdict.comparisons} comparisons" if verdict.comparisons > 1 else ""
    groups = f" in {verdict.groups:,} groups" if verdict.groups is not None else ""
    return Card(
        task=verdict.task,
        tone=TONES.get(verdict.answer, "none"),
        answer=verdict.answer.capitalize(),
        change=f"{name} {shown(verdict.base, verdict)} → {shown(verdict.tuned, verdict)}",
        evidence=f"{gain}, {level} interval {between}, n\u202f=\u202f{verdict.n:,}{groups} ({test}{among})",
        counts=_counts(verdict),
        note=_note(verdict),
        strip=_strip(verdict) if all(map(math.isfinite, ends)) else None,
    )


def shown(value: float, verdict: Verdict) -> str:
    """A score of the verdict: percent, or nats and rewards to the fourth place, where differences show."""
    return percent(value) if _in_percent(verdict) else signed(f"{value:.4f}")


def _plain_gain(value: float) -> str:
    return signed(f"{value:+.4f}")


def _gain(value: float, verdict: Verdict) -> str:
    return f"{points(value)} points" if _in_percent(verdict) else _plain_gain(value)


def _in_percent(verdict: Verdict) -> bool:
    return is_share(verdict.metric, higher_is_better=verdict.higher_is_better)


def _counts(verdict: Verdict) -> tuple[tuple[str, int], ...]:
    names = {
        "only_tuned": "fixed by training", "only_base": "broken by training", "both": "right both times",
        "neither": "wrong both times", "tuned_better": "items better", "base_better": "items worse",
        "equal": "items equal",
    }  # fmt: skip
    return tuple((said, int(verdict.details[key])) for key, said in names.items() if key in verdict.details)


def _note(verdict: Verdict) -> str | None:
    """What stands behind the answer: the verdict's own words as sentences."""
    said = [f"{note[0].upper()}{note[1:]}." for note in verdict.notes()]
    return signed(" ".join(said)) if said else None


def _strip(verdict: Verdict) -> Strip:
    asked = verdict.smallest_gain if verdict.smallest_gain > 0 else None
    says = f"difference {_gain(verdict.difference, verdict)}"
    ends = (_gain(verdict.low, verdict), _gain(verdict.high, verdict))
    return strip(verdict.difference, verdict.low, verdict.high, asked=asked, says=says, ends=ends)


def strip(point: float, low: float, high: float, *, asked: float | None, says: str, ends: tuple[str, str]) -> Strip:
    """The places of a difference, its interval and zero on a line that just holds them all."""
    marks = (0.0, point, low, high, asked or 0.0)
    least, most = min(marks), max(marks)
    margin = 0.07 * (most - least) or 1.0
    least, most = least - margin, most + margin

    def place(value: float) -> float:
        return round(100 * (value - least) / (most - least), 2)

    return Strip(
        point=place(point),
        low=place(low),
        high=place(high),
        zero=place(0.0),
        asked=None if asked is None else place(asked),
        alt=f"{says}, interval {ends[0]} to {ends[1]}, on a line with zero marked",
    )


@dataclass(frozen=True)
class Overfitting:
    """The gap between held-out and training loss, in words and as a strip."""

    tone: Tone
    answer: str
    sentence: str
    strip: Strip | None


def overfitting(gap: Gap) -> Overfitting:
    """Nats per learned token: how much less surprised the tuned model is by rows it learned from."""
    ends = (signed(f"{gap.low:+.4f}"), signed(f"{gap.high:+.4f}"))
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    between = f"{ends[0]} to {ends[1]}" if known else "unknown"
    unit = "nats per learned token" if gap.unit == "nats per token" else gap.unit
    says = (
        f"Held-out loss is {number(gap.heldout_loss)} {unit},"
        f" training loss {number(gap.train_loss)}:"
        f" a gap of {signed(f'{gap.gap:+.4f}')}, {100 * gap.level:.4g}\u202f% interval {between},"
        f" over {gap.n_heldout:,} held-out and {gap.n_train:,} training rows."
    )
    drawn = strip(gap.gap, gap.low, gap.high, asked=gap.smallest_gap or None, says="gap", ends=ends) if known else None
    answer = "The model knows its training rows better than new ones" if gap.overfits else "No sign of overfitting"
    return Overfitting("unsure" if gap.overfits else "good", answer, says, drawn)


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    name: str
    value: str
    detail: str


def tiles(run: RunFiles, *, train_seconds: float | None) -> tuple[Tile, ...]:
    """The figures that one looks for first; a part that is missing has no tile."""
    found: list[Tile] = []
    for verdict in run.verdicts[:2]:
        before = f"{shown(verdict.base, verdict)} before training"
        found.append(Tile(f"{verdict.task}: {score_name(verdict.metric)}", shown(verdict.tuned, verdict), before))
    metrics = run.metrics
    if len(metrics.heldout):
        step, lowest = metrics.heldout.lowest
        first = number(metrics.heldout.values[0])
        found.append(Tile("lowest held-out loss", number(lowest), f"at update {step:,}; {first} at the first look"))
    elif len(metrics.loss):
        found.append(
            Tile("last training loss", number(metrics.loss.values[-1]), f"{number(metrics.loss.values[0])} at first")
        )
    if train_seconds:
        found.append(
            Tile("time to train", duration(train_seconds), f"{len(metrics.loss):,} updates, {metrics.rows:,} rows")
        )
    if metrics.seconds > 0:
        found.append(Tile("tokens a second", f"{metrics.tokens / metrics.seconds:,.0f}", _shared(run)))
    return tuple(found)


def _shared(run: RunFiles) -> str:
    metrics = run.metrics
    if not 0 < metrics.tokens_computed < metrics.tokens:
        return f"{metrics.tokens:,} in all"
    return f"{percent(1 - metrics.tokens_computed / metrics.tokens, 0)} of them shared, not computed"
