"""The page of a run in several stages: what each came to, and their answers side by side, made from files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude import durable
from etude.comparison.verdict import Verdict, compare
from etude.errors import EtudeError
from etude.evaluation.report import Report
from etude.pages.answers import LONGEST_ANSWER, LONGEST_PROMPT, ShownText, evenly, shown_text
from etude.pages.figures import against, trend
from etude.pages.report import PAGE, Panel, environment_of_pages
from etude.pages.run_files import RunFiles, read_run_files
from etude.pages.svg import picture
from etude.pages.verdicts import Card, card
from etude.pages.wording import duration, number, percent
from etude.runs.directory import is_run

BEFORE = "before.jsonl"
"""The report of the model before all stages, beside the stages' folders."""
REWARD, PAIRS = "reward", "preference"
SIDE_BY_SIDE = 8
KL = ("kl", "kl_now")


@dataclass(frozen=True)
class StageRow:
    """One stage in the table."""

    name: str
    kind: str
    state: str
    page: str | None
    """Its report, from this page."""
    time: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Judge:
    """How far a reward model is to be trusted, on pairs that it did not learn from."""

    stage: str
    accuracy: str
    interval: str
    longer: str
    num_pairs: int
    calibration_error: str | None
    calibration: tuple[tuple[str, str, int], ...]
    """(promised, came true, pairs), from unsure to sure."""


@dataclass(frozen=True)
class Answers:
    """One prompt, and what each stage's model answered."""

    prompt: ShownText
    by: tuple[tuple[str, ShownText, str], ...]
    """(whose, answer, reward)."""


def write_stages_page(folder: Path, names: Sequence[str]) -> tuple[Path, Verdict | None]:
    """Writes `report.html` beside the stages' folders; stages that have not begun are said to be waiting.

    Also what all stages came to together, where that is known.
    """
    runs = {name: read_run_files(folder / name) if is_run(folder / name) else None for name in names}
    before = whole_report(folder / BEFORE)
    together = _together(runs, before)
    page = (
        environment_of_pages()
        .get_template("stages.html.jinja")
        .render(
            title=folder.name,
            stages=[_row(name, run) for name, run in runs.items()],
            together=card(together) if together else None,
            judges=[judge for name, run in runs.items() if run for judge in _judges(name, run)],
            policies=[(name, _panels(name, run)) for name, run in runs.items() if run and _panels(name, run)],
            win_rate=_win_rate(runs),
            answers=side_by_side(runs, before),
        )
    )
    place = folder / PAGE
    durable.write_text(place, page)
    return place, together


def _together(runs: dict[str, RunFiles | None], before: Report | None) -> Verdict | None:
    """What all stages came to, by the rewards of the last; None where a report is missing or of other prompts."""
    last = _last_rewarded(runs)
    if before is None or last is None:
        return None
    try:
        return compare(last[3], before)
    except EtudeError:
        return None


def _last_rewarded(runs: dict[str, RunFiles | None]) -> tuple[str, RunFiles, Report, Report] | None:
    """The last stage whose answers to held-out prompts were rewarded before and after it, with both reports."""
    for name, run in reversed(runs.items()):
        for task in run.tasks if run else ():
            if run is not None and task.name == REWARD and task.base is not None and task.tuned is not None:
                return name, run, task.base, task.tuned
    return None


def whole_report(place: Path) -> Report | None:
    """None where there is none, or a torn one."""
    try:
        return Report.load(place) if place.exists() else None
    except EtudeError:
        return None


def _row(name: str, run: RunFiles | None) -> StageRow:
    if run is None:
        return StageRow(name, "", "waiting", None, "", ())
    kind = str(run.setting("objective.kind") or run.setting("objective") or "sft")
    seconds = sum(run.manifest.timings.values()) if run.manifest else 0.0
    return StageRow(
        name=name,
        kind=kind,
        state=run.state,
        page=f"{name}/{PAGE}" if (run.folder / PAGE).exists() else None,
        time=duration(seconds) if seconds else "",
        cards=tuple(card(verdict) for verdict in run.verdicts),
    )


def _judges(name: str, run: RunFiles) -> list[Judge]:
    found = []
    for task in run.tasks:
        report = task.tuned
        if report is None or report.metric != PAIRS or run.setting("objective.kind") != "reward":
            continue
        summary = report.summary
        table: Sequence[Any] = report.tables.get("calibration", ())
        error = summary.get("calibration_error")
        found.append(
            Judge(
                stage=name,
                accuracy=percent(summary[PAIRS]),
                interval=_between(report.intervals.get(PAIRS)),
                longer=percent(summary["longer_first"]),
                num_pairs=len(report.items),
                calibration_error=None if error is None else percent(error),
                calibration=tuple((percent(r["promised"]), percent(r["came_true"]), int(r["count"])) for r in table),
            )
        )
    return found


def _between(ends: tuple[float, float] | None) -> str:
    return f"{percent(ends[0])} to {percent(ends[1])}" if ends and all(map(math.isfinite, ends)) else ""


def _panels(name: str, run: RunFiles) -> list[Panel]:
    """Reward against distance, then rewards, lengths and uncertainty over updates."""
    figures = run.metrics.figures
    if REWARD not in figures:
        return []
    reward = figures[REWARD]
    panels = []
    kl = next((figures[key] for key in KL if key in figures), None)
    if kl is not None and len(kl) == len(reward):
        draw = against(kl.values, reward.values, "nats a token from the model before", "reward")
        panels.append(_panel(f"{name}-against", "reward against distance (later updates darker)", draw))
    shown = {
        "reward": reward,
        "reward, held out": run.metrics.heldout_figures.get(REWARD),
        "tokens an answer": figures.get("answer_tokens"),
        "nats a token that answers surprise the model by (entropy)": figures.get("surprise"),
    }
    for place, (says, curve) in enumerate(shown.items()):
        if curve is not None and len(curve):
            panels.append(_panel(f"{name}-{place}", says, trend(curve)))
    return panels


def _panel(name: str, says: str, draw: Any) -> Panel:
    return Panel(says, picture(draw, name=f"stage-{name}", alt=says, width=340, height=220))


def _win_rate(runs: dict[str, RunFiles | None]) -> tuple[str, str, str] | None:
    """(stage, rate, interval) of the last stage that was rewarded."""
    for name, run in reversed(runs.items()):
        for task in run.tasks if run else ():
            if task.tuned is not None and "win_rate" in task.tuned.summary:
                ends = task.tuned.intervals.get("win_rate")
                return name, percent(task.tuned.summary["win_rate"]), _between(ends)
    return None


def side_by_side(runs: dict[str, RunFiles | None], before: Report | None) -> list[Answers]:
    """Some prompts of the last rewarded stage, evenly spread, with the answers of the models before and after it."""
    last = _last_rewarded(runs)
    if last is None:
        return []
    name, run, base, tuned = last
    start = Path(str(run.setting("model.name") or run.setting("model") or "")).name
    named = [("before all stages", before), (start or "before", base), (name, tuned)]
    columns = [(says, {item.id: item for item in report.items}) for says, report in named if report is not None]
    shared = [item for item in tuned.items if all(item.id in items for _, items in columns)]
    return [
        Answers(
            prompt=shown_text(item.prompt, LONGEST_PROMPT),
            by=tuple(
                (says, shown_text(items[item.id].answer or "", LONGEST_ANSWER), _reward(items[item.id].scores))
                for says, items in columns
            ),
        )
        for item in evenly(shared, SIDE_BY_SIDE)
    ]


def _reward(scores: Any) -> str:
    return number(float(scores[REWARD]))
