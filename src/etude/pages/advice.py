"""Advice as one self-contained HTML page: the recommendation, every arm, what more rows would bring, when it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from etude import durable
from etude.advice.arms import Arm, total_cost
from etude.advice.curve import LearningCurve
from etude.advice.recommend import Advice, best, shown_score
from etude.evaluation.report import is_share
from etude.pages.figures import grid
from etude.pages.report import environment_of_pages
from etude.pages.svg import LIGHT, Draw, picture
from etude.pages.wording import duration, label, number

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, NARROW = 1000, 380
LETTERS, NARROW_LETTERS = 52, 26
"""In a line beside a drawing's points."""
POINTS = 40


@dataclass(frozen=True)
class Drawing:
    """One drawing for wide screens and one for narrow ones."""

    wide: Markup
    narrow: Markup
    caption: str


def write_advice(advice: Advice, page: Path) -> None:
    """Writes the page."""
    durable.write_text(page, render_advice(advice, made=datetime.now(UTC)))


def render_advice(advice: Advice, *, made: datetime) -> str:
    """The page's HTML. Whatever comes from files is escaped."""
    return environment_of_pages().get_template("advice.html.jinja").render(
        advice=advice,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        version=version("etude"),
        metric=advice.arms[0].metric.replace("_", " "),
        rows=[row(arm) for arm in advice.arms],
        chosen=advice.recommendation.arm,
        bases=[row(arm) for arm in advice.bases],
        drawings=list(_drawings(advice)),
        predicted=[] if advice.curve is None else _predictions(advice.curve),
    )  # fmt: skip


def row(arm: Arm) -> dict[str, str]:
    """An arm in words, for a table."""
    low, high = arm.interval
    return {
        "name": arm.name,
        "title": arm.title,
        "score": shown_score(arm, arm.score),
        "interval": f"{shown_score(arm, low)} to {shown_score(arm, high)}",
        "tokens": f"{arm.prompt_tokens:,.0f} + {arm.answer_tokens:,.0f}",
        "latency": "" if arm.latency is None else f"{arm.latency:.2f} s",
        "cost": "not known" if arm.cost is None else number(arm.cost),
        "one_off": number(arm.one_off) if arm.one_off else "",
        "training": duration(arm.training_seconds) if arm.training_seconds else "",
    }


def _predictions(curve: LearningCurve) -> list[tuple[str, str, str]]:
    return [
        (f"{one.rows:,}", f"{100 * one.score:.1f} %", f"{100 * one.low:.1f} to {100 * one.high:.1f} %")
        for one in curve.predicted
    ]


def _drawings(advice: Advice) -> Sequence[Drawing]:
    arms = advice.arms
    alt = "; ".join(f"{arm.title}: {shown_score(arm, arm.score)}" for arm in arms)
    wide, narrow = (_arms(arms, advice.recommendation.arm, letters) for letters in (LETTERS, NARROW_LETTERS))
    found = [_both(wide, "arms", alt, 70 + 32 * len(arms), (
        "Points with 95 % intervals; fine-tuned models in blue, prompted ones in grey, the recommended one in green."
    ), narrow=narrow)]  # fmt: skip
    if advice.curve is not None:
        alt = ", ".join(
            f"{n} rows {100 * s:.1f} %" for n, s in zip(advice.curve.rows, advice.curve.scores, strict=True)
        )
        beyond = (
            "What was measured, and what a power law through it promises, with the 95 % range of items drawn anew. "
            "Another seed of training would move the points, which that range does not hold."
        )
        within = (
            "What was measured. Another seed of training would move the points; of so few sizes nothing is promised."
        )
        found.append(_both(_curve(advice.curve), "curve", alt, 360, beyond if advice.curve.predicted else within))
    pair = best([arm for arm in arms if arm.is_tuned]), best([arm for arm in arms if not arm.is_tuned])
    known = [arm for arm in pair if arm is not None and arm.cost is not None]
    if len(known) == 2:
        alt = f"total cost of {known[0].title} and {known[1].title} over requests"
        found.append(_both(_costs(known, advice), "costs", alt, 320, "What is paid in all, by the number of requests."))
    return found


def _both(draw: Draw, name: str, alt: str, height: int, caption: str, *, narrow: Draw | None = None) -> Drawing:
    wide = picture(draw, name=f"{name}-wide", alt=alt, width=WIDTH, height=height)
    return Drawing(wide, picture(narrow or draw, name=f"{name}-narrow", alt=alt, width=NARROW, height=height), caption)


def _arms(arms: Sequence[Arm], chosen: str, letters: int) -> Draw:
    """Titles in two lines of so many letters."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        factor = 100 if is_share(arms[0].metric, higher_is_better=arms[0].higher_is_better) else 1
        grid(axes, f"{arms[0].metric.replace('_', ' ')}{', %' if factor == 100 else ''}", "", rows=True)
        for at, arm in enumerate(arms):
            role = "good" if arm.name == chosen else "tuned" if arm.is_tuned else "base"
            axes.plot([factor * end for end in arm.interval], (at, at), color=LIGHT[role], linewidth=2.4)
            axes.plot(
                factor * arm.score, at, color=LIGHT[role], marker="o", markersize=8, markeredgecolor=LIGHT["card"]
            )
        axes.set_yticks(range(len(arms)), [_lines(arm.title, letters) for arm in arms])
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(arms) - 0.5, -0.5)

    return draw


def _lines(title: str, letters: int) -> str:
    return "\n".join(label(line, letters) for line in wrap(title, letters)[:2])


def _curve(curve: LearningCurve) -> Draw:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "training rows", "%")
        axes.set_xscale("log")
        scores = [100 * score for score in curve.scores]
        axes.plot(curve.rows, scores, color=LIGHT["tuned"], marker="o", markersize=8, label="measured")
        if curve.predicted:
            at = [curve.rows[-1], *(one.rows for one in curve.predicted)]
            axes.plot(
                at, [scores[-1], *(100 * one.score for one in curve.predicted)], color=LIGHT["heldout"], marker="o",
                linestyle=(0, (4, 3)), markersize=8, markerfacecolor="none", label="extrapolated",
            )  # fmt: skip
            for one in curve.predicted:
                axes.plot((one.rows, one.rows), (100 * one.low, 100 * one.high), color=LIGHT["heldout"], linewidth=2)
        _plain_ticks(axes, [*curve.rows, *(one.rows for one in curve.predicted)])
        figure.legend(loc="outside upper right", ncols=2, labelcolor=LIGHT["soft"], handlelength=1.6)

    return draw


def _plain_ticks(axes: Axes, places: Sequence[int]) -> None:
    from matplotlib.ticker import NullLocator

    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [f"{place:,}" for place in places])


def _costs(known: Sequence[Arm], advice: Advice) -> Draw:
    """From no request to twice the number at which fine-tuning pays, or that is expected."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "requests", "total cost")
        most = 2 * max(advice.recommendation.pays_from or 0, advice.wishes.requests or 0) or 100_000
        across = [most * at / POINTS for at in range(POINTS + 1)]
        for arm, role in zip(known, ("tuned", "base"), strict=True):
            axes.plot(
                across, [total_cost(arm, at) or 0.0 for at in across], color=LIGHT[role], label=label(arm.title, 44)
            )
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside upper right", labelcolor=LIGHT["soft"], handlelength=1.6)

    return draw
