"""What the report draws: each function gives a drawing that `svg.picture` and `svg.png` put on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.pages.svg import LIGHT, Draw
from etude.pages.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 600
LOG_FROM = 12.0
"""Highest over lowest loss from which the axis is logarithmic."""


@dataclass(frozen=True)
class Curve:
    """A series over updates."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def lowest(self) -> tuple[int, float]:
        """(step, value) of the first lowest point."""
        place = min(range(len(self.values)), key=self.values.__getitem__)
        return self.steps[place], self.values[place]


@dataclass(frozen=True)
class Pair:
    """One score before and after, with intervals where there are any; shares of 1 or plain numbers."""

    name: str
    base: float | None
    tuned: float | None
    base_interval: tuple[float, float] | None = None
    tuned_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Confusion:
    """counts[reference][answer]."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """At most so many points, each the mean of its neighbours."""
    if len(curve) <= most:
        return curve
    group = -(-len(curve) // most)
    starts = range(0, len(curve), group)
    means = tuple(sum(part) / len(part) for part in (curve.values[start : start + group] for start in starts))
    return Curve(tuple(curve.steps[min(start + group // 2, len(curve) - 1)] for start in starts), means)


def smoothed(curve: Curve) -> Curve:
    """The running mean over about a twentieth of the curve; at both ends the line through the last whole window.

    A narrower mean there would end at the raw last value, noise and all, a lopsided one would lag behind a slope
    (Savitzky and Golay 1964, https://doi.org/10.1021/ac60214a047).
    """
    reach = len(curve) // 40
    if not reach:
        return curve
    from scipy.signal import savgol_filter

    calm = savgol_filter(curve.values, 2 * reach + 1, polyorder=1, mode="interp")
    return Curve(curve.steps, tuple(float(value) for value in calm))


def loss_curves(train: Curve, heldout: Curve, *, unit: str = "nats per learned token") -> Draw:
    """Training loss, raw and smoothed, and held-out loss with its lowest point marked."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "update", unit)
        _losses_axis(axes, (*smoothed(train).values, *heldout.values), unit)
        if len(train):
            raw = thinned(train)
            axes.plot(raw.steps, raw.values, color=LIGHT["tuned"], alpha=0.4, linewidth=1.0)
            calm = thinned(smoothed(train))
            axes.plot(calm.steps, calm.values, color=LIGHT["tuned"], linewidth=2.2, label="training, smoothed")
        if len(heldout):
            axes.plot(
                heldout.steps, heldout.values, color=LIGHT["heldout"], linewidth=2.2, marker="o", markersize=5,
                markeredgewidth=0, label="held out",
            )  # fmt: skip
            axes.plot(
                *heldout.lowest, color=LIGHT["heldout"], marker="o", markersize=11, markerfacecolor="none",
                markeredgewidth=1.6, linestyle="none", label="lowest held out",
            )  # fmt: skip
        axes.margins(x=0.02)
        axes.legend(loc="upper right", labelcolor=LIGHT["soft"], handlelength=1.4, borderaxespad=0.2)

    return draw


def _losses_axis(axes: Axes, values: Sequence[float], unit: str) -> None:
    """From zero, or logarithmic where losses fell so far that their end could not be told apart.

    The raw curve does not count: a single wild step must not flatten the others.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lowest, highest = min(values), max(values)
    if lowest <= 0 or highest / lowest < LOG_FROM:
        axes.set_ylim(bottom=min(0.0, lowest), top=1.12 * highest or 1.0)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0.8 * lowest, top=1.25 * highest)
    axes.set_title(f"{unit}, logarithmic", color=LIGHT["soft"])


def trend(curve: Curve, *, colour: str = "tuned") -> Draw:
    """One small panel: a series on its own."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "update", "")
        raw = thinned(curve, 240)
        axes.plot(raw.steps, raw.values, color=LIGHT[colour], linewidth=1.6)
        lowest, highest = 1.1 * min(0.0, *raw.values), 1.1 * max(0.0, *raw.values)
        axes.set_ylim(bottom=lowest, top=highest if highest > lowest else 1.0)
        axes.locator_params(axis="both", nbins=4)
        axes.margins(x=0.02)

    return draw


def score_curve(score: Curve, low: Curve, high: Curve, best: int | None, *, is_share: bool) -> Draw:
    """A score over updates inside its interval, with the update whose weights were kept."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "update", "")
        axes.fill_between(low.steps, low.values, high.values, color=LIGHT["tuned"], alpha=0.15, linewidth=0)
        axes.plot(
            score.steps, score.values, color=LIGHT["tuned"], linewidth=2.2, marker="o", markersize=5, markeredgewidth=0,
            label="score, with its interval",
        )  # fmt: skip
        if best is not None:
            axes.plot(
                best, score.values[score.steps.index(best)], color=LIGHT["tuned"], marker="o", markersize=11,
                markerfacecolor="none", markeredgewidth=1.6, linestyle="none", label="highest",
            )  # fmt: skip
        if is_share:
            axes.set_ylim(-0.02, 1.02)
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.margins(x=0.02)
        figure.legend(loc="outside upper right", ncols=2, labelcolor=LIGHT["soft"], handlelength=1.4)

    return draw


def against(across: Sequence[float], up: Sequence[float], across_says: str, up_says: str) -> Draw:
    """One series over another, a point an update; later ones are fuller."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, across_says, up_says)
        last = max(1, len(up) - 1)
        axes.plot(across, up, color=LIGHT["line"], linewidth=1.0)
        for place, (x, y) in enumerate(zip(across, up, strict=True)):
            axes.plot(
                x, y, color=LIGHT["tuned"], marker="o", markersize=6, markeredgewidth=0, alpha=0.2 + 0.8 * place / last
            )
        axes.locator_params(axis="both", nbins=5)
        axes.margins(x=0.05)

    return draw


def before_and_after(pairs: Sequence[Pair], *, is_share: bool) -> Draw:
    """A row a score: where it was, where it is, and how far each can be off."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "", "", rows=True)
        for place, pair in enumerate(pairs):
            if pair.base is not None and pair.tuned is not None:
                axes.plot(
                    (pair.base, pair.tuned), (place, place), color=LIGHT["line"], linewidth=7, solid_capstyle="butt"
                )
            _point(axes, place + 0.12, pair.base, pair.base_interval, "base")
            _point(axes, place - 0.12, pair.tuned, pair.tuned_interval, "tuned")
        axes.set_yticks(range(len(pairs)), [label(pair.name) for pair in pairs])
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        if is_share:
            axes.set_xlim(-0.015, 1.015)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        else:
            axes.locator_params(axis="x", nbins=5)
        figure.legend(handles=_base_and_tuned(), loc="outside upper right", ncols=2, labelcolor=LIGHT["soft"])

    return draw


def _base_and_tuned() -> list[object]:
    from matplotlib.lines import Line2D

    names = {"base": "base model", "tuned": "after training"}
    return [
        Line2D([], [], color=LIGHT[role], marker="o", markersize=8, linewidth=2, label=name)
        for role, name in names.items()
    ]


def _point(axes: Axes, height: float, value: float | None, ends: tuple[float, float] | None, role: str) -> None:
    if value is None:
        return
    if ends is not None:
        axes.plot(ends, (height, height), color=LIGHT[role], linewidth=2.4)
    axes.plot(
        value, height, color=LIGHT[role], marker="o", markersize=8, markeredgecolor=LIGHT["card"], markeredgewidth=1.2
    )


def confusion_matrix(table: Confusion, *, role: str = "tuned", font: float | None = None) -> Draw:
    """A row a reference, a column an answer; darker is a larger share of the row. Small ones show their counts."""

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        axes.spines[:].set_visible(False)
        letters = font or (11.0 if len(table.rows) <= 16 else 8.0)
        for row, counts in enumerate(table.counts):
            total = sum(counts)
            for column, count in enumerate(counts):
                share = count / total if total else 0.0
                colour = LIGHT[role] if _diagonal(table, row, column) else LIGHT["heldout"]
                if count:
                    axes.add_patch(
                        Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=0.12 + 0.88 * share)
                    )
                if len(table.rows) <= 16 and count:
                    ink = LIGHT["card"] if share > 0.55 else LIGHT["ink"]
                    axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=letters)
        rotation = 90 if len(table.columns) > 6 else 30
        axes.set_xticks(
            range(len(table.columns)), [label(name, 22) for name in table.columns], rotation=rotation, fontsize=letters
        )
        axes.set_yticks(range(len(table.rows)), [label(name, 22) for name in table.rows], fontsize=letters)
        axes.tick_params(axis="both", labelcolor=LIGHT["soft"])
        axes.set_xlim(-0.5, len(table.columns) - 0.5)
        axes.set_ylim(len(table.rows) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xlabel("answered")
        axes.set_ylabel("reference")

    return draw


def _diagonal(table: Confusion, row: int, column: int) -> bool:
    return table.rows[row] == table.columns[column]


def grid(axes: Axes, across: str, up: str, *, rows: bool = False) -> None:
    """Names of the axes, and lines to read values by; `rows`: values go across."""
    axes.grid(visible=True, axis="x" if rows else "y")
    axes.set_xlabel(across)
    if up:
        axes.set_title(up, color=LIGHT["soft"])
