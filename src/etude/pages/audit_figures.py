"""What the audit's page draws: lengths, labels, topics, rates of groups, and production beside training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etude.data.audit.coverage import Topic
from etude.data.audit.groups import Rate
from etude.data.audit.labels import LabelTable
from etude.data.audit.lengths import LengthTable, Spread
from etude.data.audit.production import Compared
from etude.pages.figures import grid
from etude.pages.svg import LIGHT, Draw
from etude.pages.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 30
NAME_WIDTH, NAME_HEIGHT = 92.0, 34.0
"""Room for a bubble's name, in pixels."""
ROUNDS = 400


def lengths(table: LengthTable) -> Draw:
    """How many rows have how many tokens, all of them and the learned ones, and where the limit is."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "tokens", "rows")
        _steps(axes, table.total, "tuned", "whole row")
        _steps(axes, table.learned, "heldout", "learned")
        _logarithmic(axes)
        axes.axvline(table.max_tokens, color=LIGHT["bad"], linewidth=1.6, linestyle=(0, (4, 3)))
        axes.annotate(
            f"limit {table.max_tokens:,}", (table.max_tokens, 1), xycoords=("data", "axes fraction"), xytext=(-6, -4),
            textcoords="offset points", color=LIGHT["bad"], va="top", ha="right",
        )  # fmt: skip
        axes.legend(loc="upper left", labelcolor=LIGHT["soft"], handlelength=1.2, borderaxespad=0.2)

    return draw


def words(training: Spread, production: Spread) -> Draw:
    """The inputs' lengths in words, as shares of either side."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "words", "share of rows")
        _steps(axes, training, "base", "training", share=True)
        _steps(axes, production, "tuned", "production", share=True)
        _logarithmic(axes)
        axes.legend(loc="upper left", labelcolor=LIGHT["soft"], handlelength=1.2, borderaxespad=0.2)

    return draw


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)


def _steps(axes: Axes, spread: Spread, role: str, name: str, *, share: bool = False) -> None:
    """A histogram; counts are drawn as they are, for bins of a logarithmic axis look equally wide."""
    total = sum(spread.counts) if share else 1
    heights = [count / total for count in spread.counts]
    axes.stairs(heights, spread.edges, fill=True, color=LIGHT[role], alpha=0.16)
    axes.stairs(heights, spread.edges, color=LIGHT[role], linewidth=1.8, label=name)


def labels(table: LabelTable, *, rare: int) -> Draw:
    """Rows by label from the commonest on; rare ones in another colour. Many labels become one curve of columns."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        names = [name for name, _ in table.counts]
        counts = [count for _, count in table.counts]
        colours = [LIGHT["heldout"] if count < rare else LIGHT["tuned"] for count in counts]
        if len(names) > MOST_BARS:
            grid(axes, f"{len(names)} labels, the commonest first", "rows")
            axes.bar(range(len(names)), counts, color=colours, width=0.8)
            axes.set_xticks([])
            axes.margins(x=0.01)
            for at, side in ((0, "left"), (len(names) - 1, "right")):
                axes.annotate(
                    f"{label(names[at], 40)} {counts[at]:,}", (at, counts[0]), xytext=(0, 6), ha=side,
                    textcoords="offset points", color=LIGHT["soft"],
                )  # fmt: skip
            axes.set_ylim(top=1.15 * max(counts))
            return
        grid(axes, "rows", "", rows=True)
        axes.barh(range(len(names)), counts, color=colours, height=0.66)
        axes.set_yticks(range(len(names)), [label(name, 30) for name in names])
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(names) - 0.4, -0.6)
        for at, count in enumerate(counts):
            axes.annotate(
                f"{count:,}", (count, at), xytext=(5, 0), textcoords="offset points", va="center", color=LIGHT["soft"]
            )
        axes.margins(x=0.1)

    return draw


def topic_map(topics: Sequence[Topic], *, width: int, height: int) -> Draw:
    """A bubble a topic, as large as it has rows; alike topics lie near each other. Sizes in pixels."""

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Circle

        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(0, height)
        largest = min(58.0, (0.26 * width * height / max(1, len(topics)) / 3.2) ** 0.5)
        most = max(topic.rows for topic in topics)
        radii = [max(14.0, largest * (topic.rows / most) ** 0.5) for topic in topics]
        starts = [(x * width, y * height) for x, y in (topic.place for topic in topics)]
        for topic, (x, y), radius in zip(topics, apart(starts, radii, width, height), radii, strict=True):
            axes.add_patch(Circle((x, y), radius, facecolor=LIGHT["tuned"], alpha=0.18, edgecolor="none"))
            axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=LIGHT["tuned"], linewidth=1.2))
            axes.text(x, y, f"{topic.rows:,}", ha="center", va="center", color=LIGHT["tuned"], fontsize=11)
            for line, word in enumerate(topic.words[:2]):
                colour = LIGHT["soft" if line else "ink"]
                below = y - radius - 4 - 14 * line
                axes.text(x, below, label(word, 18), ha="center", va="top", color=colour, fontsize=12 - line)

    return draw


def apart(
    places: Sequence[tuple[float, float]], radii: Sequence[float], width: float, height: float
) -> list[tuple[float, float]]:
    """The places, pushed until no bubble or name lies on another, as far as there is room; always the same way."""
    found = [list(place) for place in places]
    for _ in range(ROUNDS):
        moved = False
        for at in range(len(found)):
            for other in range(at):
                moved = _push(found[at], found[other], radii[at], radii[other], at) or moved
        for place, radius in zip(found, radii, strict=True):
            side = max(radius, NAME_WIDTH / 2)
            place[0] = min(max(place[0], side), width - side)
            place[1] = min(max(place[1], radius + NAME_HEIGHT), height - radius - 2)
        if not moved:
            break
    return [(x, y) for x, y in found]


def _push(one: list[float], other: list[float], radius: float, other_radius: float, at: int) -> bool:
    """Two bubbles with the names below them a little apart, if their boxes overlap."""
    across, up = one[0] - other[0], one[1] - other[1]
    lacking_across = max(radius + other_radius + 8, NAME_WIDTH) - abs(across)
    lacking_up = radius + other_radius + NAME_HEIGHT + 6 - abs(up)
    if lacking_across <= 0 or lacking_up <= 0:
        return False
    axis, gap = (0, lacking_across) if lacking_across < lacking_up else (1, lacking_up)
    way = (across, up)[axis] or (1 if at % 2 else -1)
    step = 0.25 * gap * (1 if way > 0 else -1)
    one[axis] += step
    other[axis] -= step
    return True


def rates(shown: Sequence[Rate]) -> Draw:
    """A row a rate: the group's with its interval, and everybody else's."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        grid(axes, "share of rows", "", rows=True)
        for at, rate in enumerate(shown):
            colour = LIGHT["heldout"] if rate.stands_out else LIGHT["base"]
            axes.plot(rate.interval, (at, at), color=colour, linewidth=2.4)
            axes.plot(rate.share, at, color=colour, marker="o", markersize=8, markeredgecolor=LIGHT["card"])
            axes.plot(rate.other_share, at, color=LIGHT["ink"], marker="|", markersize=13, markeredgewidth=1.8)
        axes.set_yticks(
            range(len(shown)),
            [label(f"{rate.group}: {rate.outcome} {rate.value}".replace("answer ", ""), 44) for rate in shown],
        )
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        _percent(axes)

    return draw


def compared(shown: Sequence[Compared]) -> Draw:
    """A row a share: in training, and in production with its interval."""

    def draw(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        axes = figure.add_subplot()
        grid(axes, "share of rows", "", rows=True)
        for at, one in enumerate(shown):
            axes.plot((one.training, one.production), (at, at), color=LIGHT["line"], linewidth=7, solid_capstyle="butt")
            axes.plot(one.interval, (at, at), color=LIGHT["tuned"], linewidth=2.0)
            for share, role in ((one.training, "base"), (one.production, "tuned")):
                axes.plot(share, at, color=LIGHT[role], marker="o", markersize=8, markeredgecolor=LIGHT["card"])
        axes.set_yticks(range(len(shown)), [label(one.name, 44) for one in shown])
        for tick, one in zip(axes.get_yticklabels(), shown, strict=True):
            tick.set_fontweight("bold" if one.differs else "normal")
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        _percent(axes)
        handles = [
            Line2D([], [], color=LIGHT[role], marker="o", markersize=8, linewidth=0, label=name)
            for role, name in (("base", "training"), ("tuned", "production"))
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, labelcolor=LIGHT["soft"])

    return draw


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{100 * value:.3g} %"))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
