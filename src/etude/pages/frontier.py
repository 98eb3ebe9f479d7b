"""Several runs on one page: what their task gained against what else they forgot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.comparison.frontier import Estimate, Pair, Point, lost_of, mean_gain, moved, undominated
from etude.errors import RunError
from etude.evaluation.report import Report, is_share
from etude.pages.report import environment_of_pages
from etude.pages.run_files import RunFiles, read_run_files
from etude.pages.svg import LIGHT, Draw, picture
from etude.pages.wording import label, points, score_name, signed
from etude.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRIFT = "drift"
PROBES = "probes"


@dataclass(frozen=True)
class Frontier:
    """The points, and in what they are measured."""

    points: tuple[Point, ...]
    task: str
    by: str
    gain_in_points: bool
    lost_in_points: bool

    @property
    def best(self) -> tuple[Point, ...]:
        return tuple(undominated(self.points))

    def rows(self) -> list[tuple[str, str, str, bool]]:
        """(run, gain, loss, whether it is on the frontier), the largest gain first."""
        best = {point.name for point in self.best}
        ordered = sorted(self.points, key=lambda point: -point.gain.value)
        return [
            (one.name, _shown(one.gain, self.gain_in_points), _shown(one.lost, self.lost_in_points), one.name in best)
            for one in ordered
        ]

    @property
    def lost_title(self) -> str:
        names = {
            PROBES: "mean loss on the retention probes",
            DRIFT: "distance from the base on plain text, nats a token",
        }
        return names.get(self.by, f"loss on {self.by}")


def frontier_of(folders: Sequence[Path], *, task: str | None = None, by: str = PROBES) -> Frontier:
    """Reads the runs. `by`: `probes` (the mean over those that are shares), `drift`, or a probe's name.

    Raises:
        RunError: a run that has not been measured on these before and after.
        EtudeError: shares and other scores would be averaged.
    """
    runs = [read_run_files(folder) for folder in folders]
    chosen = task or next((verdict.task for run in runs for verdict in run.verdicts), "")
    gains, losses = [_task_pair(run, chosen) for run in runs], [_lost(run, by) for run in runs]
    first = gains[0][0]
    return Frontier(
        points=tuple(
            Point(str(run.folder), mean_gain([pair]), lost) for run, pair, lost in zip(runs, gains, losses, strict=True)
        ),
        task=f"{chosen}: {score_name(first.metric)}",
        by=by,
        gain_in_points=is_share(first.metric, higher_is_better=first.higher_is_better),
        lost_in_points=by == PROBES or (by != DRIFT and _in_points(runs[0], by)),
    )


def _task_pair(run: RunFiles, task: str) -> Pair:
    for one in run.tasks:
        if one.name == task and one.tuned is not None and one.base is not None:
            return one.tuned, one.base
    raise RunError(f"was not measured on {task!r} before and after training", where=str(run.folder))


def _lost(run: RunFiles, by: str) -> Estimate:
    if run.retention is None:
        raise RunError("has no retention.json: nothing beside its task was measured", where=str(run.folder))
    if by == DRIFT:
        if not run.retention.drifts:
            raise RunError("its distance from the base was not measured", where=str(run.folder))
        return moved(run.retention.drifts[0])
    names = [verdict.task for verdict in run.retention.verdicts]
    if by != PROBES and by not in names:
        raise RunError(f"has no probe {by!r}; it has {', '.join(names)}", where=str(run.folder))
    pairs = [_probe_pair(run, name) for name in (names if by == PROBES else [by])]
    shares = [pair for pair in pairs if is_share(pair[0].metric, higher_is_better=pair[0].higher_is_better)]
    return lost_of(shares if by == PROBES else pairs)


def _probe_pair(run: RunFiles, name: str) -> Pair:
    place = RunDirectory(run.folder)
    return tuple(Report.load(place.report(name, base=base, retention=True)) for base in (False, True))  # type: ignore[return-value]  # two


def _in_points(run: RunFiles, probe: str) -> bool:
    assert run.retention is not None
    found = next(one for one in run.retention.verdicts if one.task == probe)
    return is_share(found.metric, higher_is_better=found.higher_is_better)


def _shown(one: Estimate, in_points: bool) -> str:
    if in_points:
        return f"{points(one.value)} points ({points(one.low)} to {points(one.high)})"
    return signed(f"{one.value:+.4f} ({one.low:+.4f} to {one.high:+.4f})")


def scatter(found: Frontier) -> Draw:
    """A point a run with both intervals; the frontier is joined."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.grid(visible=True)
        across, up = (100 if found.lost_in_points else 1), (100 if found.gain_in_points else 1)
        best = found.best
        axes.plot(
            [across * one.lost.value for one in best], [up * one.gain.value for one in best], color=LIGHT["line"],
            linewidth=5, zorder=1,
        )  # fmt: skip
        for one in found.points:
            role = "tuned" if one in best else "base"
            x, y = across * one.lost.value, up * one.gain.value
            axes.plot([across * one.lost.low, across * one.lost.high], [y, y], color=LIGHT[role], linewidth=1.6)
            axes.plot([x, x], [up * one.gain.low, up * one.gain.high], color=LIGHT[role], linewidth=1.6)
            axes.plot(x, y, color=LIGHT[role], marker="o", markersize=8)
            axes.annotate(
                label(Path(one.name).name, 30), (x, y), xytext=(8, 6), textcoords="offset points", color=LIGHT["ink"]
            )
        axes.axvline(0, color=LIGHT["soft"], linewidth=1)
        axes.set_xlabel(f"{found.lost_title}{', points' if found.lost_in_points else ''}")
        axes.set_title(f"gain on {found.task}{', points' if found.gain_in_points else ''}", color=LIGHT["soft"])
        axes.margins(0.12)

    return draw


def write_frontier(found: Frontier, page: Path) -> None:
    """The page, self-contained."""
    alt = f"Gain on {found.task} against {found.lost_title}, a point a run"
    figure = picture(scatter(found), name="frontier", alt=alt, width=1000, height=520)
    template = environment_of_pages().get_template("frontier.html.jinja")
    durable.write_text(page, template.render(found=found, figure=figure, rows=found.rows()))
