"""An explanation as one self-contained HTML page: the slices that are worse, what goes wrong there, what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.diagnosis.explanation import Cluster, Explanation, Failure, Near, Slice
from etude.evaluation.report import is_share
from etude.pages.figures import grid
from etude.pages.report import environment_of_pages
from etude.pages.svg import LIGHT, Draw, picture
from etude.pages.verdicts import Tile
from etude.pages.wording import interval, label, p_value, percent, points, score

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

DRAWN = 24
LISTED = 40
NEAR = 8


@dataclass(frozen=True)
class Card:
    """A slice or a cluster of failures on the page."""

    chip: str
    name: str
    title: str
    advice: str
    command: str
    mistakes: tuple[tuple[str, int], ...]
    confusions: tuple[tuple[str, int], ...]
    failures: tuple[Failure, ...]
    nearest: tuple[Near, ...]


def write_explanation(found: Explanation, page: Path, *, json_file: Path) -> None:
    """Writes the page; `json_file` is the same explanation for other commands."""
    durable.write_text(page, render_explanation(found, made=datetime.now(UTC), json_file=str(json_file)))


def render_explanation(found: Explanation, *, made: datetime, json_file: str) -> str:
    """The page's HTML. Whatever comes from rows is escaped, and its control characters are written out."""
    shown = found.slices[:DRAWN]
    alt = "; ".join(f"{one.name}: {_score(found, one.mean)}, others {_score(found, one.rest)}" for one in shown[:6])
    return environment_of_pages().get_template("explanation.html.jinja").render(
        found=found,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        version=version("etude"),
        headline=headline(found),
        tone="bad" if found.worse else "unsure" if found.failed else "good",
        tiles=_tiles(found),
        cards=[_slice_card(found, one, json_file) for one in found.worse],
        clusters=[_cluster_card(one) for one in found.clusters],
        wide=_drawn(found, shown, alt, 1000) if shown else None,
        narrow=_drawn(found, shown, alt, 380) if shown else None,
        rows=[_row(found, one) for one in found.slices[:LISTED]],
        more=max(0, len(found.slices) - LISTED),
        mistakes=[(name, count, count / max(1, found.failed)) for name, count in found.mistakes],
        json_file=json_file,
    )  # fmt: skip


def headline(found: Explanation) -> str:
    """What to know, in a sentence."""
    if not found.failed:
        return "Nothing failed"
    if not found.slices:
        return f"{found.failed:,} of {found.items:,} items failed; no part of them is large enough to be judged"
    if not found.worse:
        return (
            f"{found.failed:,} of {found.items:,} items failed, and no part of them is worse than the rest by more "
            "than chance"
        )
    several = len(found.worse)
    part, verb = ("part", "is") if several == 1 else ("parts", "are")
    named = ", ".join(one.name for one in found.worse[:3]) + (", …" if several > 3 else "")
    return f"{several} {part} of the task {verb} worse than the rest: {named}"


def sentence(found: Explanation, one: Slice) -> str:
    """A slice against the rest, with the interval."""
    low, high = one.difference_interval
    unit = " points" if _shares(found) else ""
    ends = f"{points(low)} to {points(high)}" if _shares(found) else f"{low:+.3f} to {high:+.3f}"
    worse = points(one.difference) if _shares(found) else f"{one.difference:+.3f}"
    return (
        f"{one.failed:,} of {one.items:,} failed: {_score(found, one.mean)}, the rest {_score(found, one.rest)} "
        f"({worse}{unit} worse, {ends}; {p_value(one.p_value)}, Holm-corrected for {len(found.slices)} slices)"
    )


def _shares(found: Explanation) -> bool:
    return is_share(found.metric, higher_is_better=found.higher_is_better)


def _score(found: Explanation, value: float) -> str:
    return score(value, is_share=_shares(found))


def _tiles(found: Explanation) -> tuple[Tile, ...]:
    ends = "" if found.interval is None else f"95 %: {interval(*found.interval, is_share=_shares(found))}"
    win = sum(one.excess for one in found.worse)
    return (
        Tile(found.metric.replace("_", " "), _score(found, found.score), ends),
        Tile("failed", f"{found.failed:,}", f"of {found.items:,} items; {found.threshold}"),
        Tile("worse slices", f"{len(found.worse):,}", f"of {len(found.slices):,} that were looked at"),
        Tile("to win there", f"{win:,.0f}", "failures beyond the rest’s share, slices may overlap"),
    )


def _slice_card(found: Explanation, one: Slice, json_file: str) -> Card:
    command = f"etude data synthesize --for-slice {_quoted(f'{json_file}:{one.name}')} --model WHO -o new.jsonl"
    return Card(
        one.attribute, one.name, sentence(found, one), one.suggestion, command if one.nearest else "",
        one.mistakes, one.confusions, one.failures, one.nearest[:NEAR],
    )  # fmt: skip


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _cluster_card(one: Cluster) -> Card:
    title = f"{one.size:,} failures about {', '.join(one.words)}"
    return Card("", "", title, "", "", one.mistakes, (), one.failures, one.nearest)


def _row(found: Explanation, one: Slice) -> tuple[str, str, str, str, str, str, bool]:
    low, high = one.difference_interval
    ends = f"{points(low)} to {points(high)}" if _shares(found) else f"{low:+.3f} to {high:+.3f}"
    note = f"mostly {one.same_as}" if one.same_as else "worse" if one.is_worse else ""
    return (
        one.name, f"{one.failed:,} of {one.items:,}", _score(found, one.mean), ends, p_value(one.p_value), note,
        one.is_worse,
    )  # fmt: skip


def _drawn(found: Explanation, shown: Sequence[Slice], alt: str, width: int) -> Markup:
    name = "slices-wide" if width > 500 else "slices-narrow"
    return picture(_figure(found, shown, width), name=name, alt=alt, width=width, height=80 + 26 * len(shown))


def _figure(found: Explanation, shown: Sequence[Slice], width: int) -> Draw:
    """A row a slice: its score with the interval, and the rest's."""

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter

        axes = figure.add_subplot()
        grid(axes, found.metric.replace("_", " "), "", rows=True)
        for at, one in enumerate(shown):
            colour = LIGHT["bad"] if one.is_worse else LIGHT["base"]
            axes.plot(one.interval, (at, at), color=colour, linewidth=2.4)
            axes.plot(one.mean, at, color=colour, marker="o", markersize=8, markeredgecolor=LIGHT["card"])
            axes.plot(one.rest, at, color=LIGHT["ink"], marker="|", markersize=13, markeredgewidth=1.8)
        axes.set_yticks(range(len(shown)), [label(one.name, 46 if width > 500 else 22) for one in shown])
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        if _shares(found):
            axes.set_xlim(-0.015, 1.015)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: percent(value, 0)))

    return draw
