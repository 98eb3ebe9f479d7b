"""The iterations of a run as a chart: a page and a PNG, made again after each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.comparison.verdict import Verdict
from etude.diagnosis.iterations import IterationRecord, best_of
from etude.evaluation.report import is_share
from etude.pages.figures import grid
from etude.pages.report import environment_of_pages
from etude.pages.svg import LIGHT, Draw, picture, png
from etude.pages.wording import duration, interval, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, NARROW = 1000, 420, 380


def write_iterations(
    records: Sequence[IterationRecord],
    folder: Path,
    *,
    task: str,
    ended: str | None = None,
    verdict: Verdict | None = None,
) -> Path:
    """`iterations.html` and `iterations.png`; scores on the final part are shown once it has `ended`."""
    held = tuple(records)
    over, best = ended is not None, best_of(held)
    draw = _chart(held, over=over)
    alt = f"{task}: " + ", ".join(f"iteration {one.number} {score_of(one, one.steering)}" for one in held)
    durable.write_bytes(folder / "iterations.png", png(draw, width=WIDTH, height=HEIGHT))
    page = folder / "iterations.html"
    text = environment_of_pages().get_template("iterations.html.jinja").render(
        task=task,
        metric=best.metric.replace("_", " "),
        headline=_headline(held, ended, verdict),
        tone="none" if not over else "good" if verdict is not None and verdict.better else "unsure",
        verdict=verdict,
        ended=ended,
        items=(held[0].steering_items, held[0].final_items),
        wide=picture(draw, name="iterations-wide", alt=alt, width=WIDTH, height=HEIGHT),
        narrow=picture(draw, name="iterations-narrow", alt=alt, width=NARROW, height=HEIGHT),
        rows=[_row(one, over=over, is_best=over and one is best) for one in held],
    )  # fmt: skip
    durable.write_text(page, text)
    return page


def _headline(records: Sequence[IterationRecord], ended: str | None, verdict: Verdict | None) -> str:
    last = records[-1]
    if ended is None:
        return f"After iteration {last.number}: {score_of(last, last.steering)} on the items that steer"
    if verdict is None:
        return "The first training was the best; nothing was gained"
    return f"Iteration {best_of(tuple(records)).number} is {verdict.answer} on items that decided nothing"


def score_of(one: IterationRecord, value: float) -> str:
    """A score of an iteration as people read it."""
    return score(value, is_share=is_share(one.metric, higher_is_better=one.higher_is_better))


def ends_of(one: IterationRecord, ends: tuple[float, float]) -> str:
    """The interval of such a score."""
    return interval(*ends, is_share=is_share(one.metric, higher_is_better=one.higher_is_better))


def _row(one: IterationRecord, *, over: bool, is_best: bool) -> dict[str, object]:
    return {
        "number": one.number,
        "rows": one.rows,
        "added": "; ".join(f"{name} {count}" for name, count in one.added.items()),
        "steering": f"{score_of(one, one.steering)} ({ends_of(one, one.steering_interval)})",
        "final": f"{score_of(one, one.final)} ({ends_of(one, one.final_interval)})" if over else "",
        "worse": ", ".join(one.worse),
        "seconds": duration(one.seconds),
        "is_best": is_best,
    }


def _chart(records: Sequence[IterationRecord], *, over: bool) -> Draw:
    """Scores with intervals over iterations; the rows learned from stand below each."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "iteration, and the rows that it learned from", records[0].metric.replace("_", " "))
        _series(axes, records, "tuned", "items that steer", is_final=False)
        if over:
            _series(axes, records, "heldout", "items kept for the end", is_final=True)
        axes.set_xticks([one.number for one in records], [f"{one.number}\n{one.rows:,}" for one in records])
        axes.margins(x=0.08, y=0.1)
        if is_share(records[0].metric, higher_is_better=records[0].higher_is_better):
            from matplotlib.ticker import FuncFormatter

            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{100 * value:.3g} %"))
        figure.legend(loc="outside upper right", ncols=2, labelcolor=LIGHT["soft"], handlelength=1.4)

    return draw


def _series(axes: Axes, records: Sequence[IterationRecord], role: str, name: str, *, is_final: bool) -> None:
    shift = 0.03 if is_final else -0.03
    at = [one.number + shift for one in records]
    values = [one.final if is_final else one.steering for one in records]
    for x, one in zip(at, records, strict=True):
        axes.plot((x, x), one.final_interval if is_final else one.steering_interval, color=LIGHT[role], linewidth=2)
    axes.plot(at, values, color=LIGHT[role], marker="o", markersize=8, markeredgecolor=LIGHT["card"], label=name)
