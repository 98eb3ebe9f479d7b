"""The report of a run: one self-contained HTML page and PNG plots, made from the run directory's files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from etude import durable
from etude.pages import facts, verdicts
from etude.pages.figures import Curve, before_and_after, loss_curves, trend
from etude.pages.live import live_drawing, live_section
from etude.pages.memorization import memorization_section
from etude.pages.retention import retention_section
from etude.pages.run_files import RunFiles, read_run_files
from etude.pages.svg import Draw, picture, png
from etude.pages.tasks import confusion, field_pairs, matrix_drawing, share_pairs, task_section
from etude.pages.wording import number, visible
from etude.runs.manifest import Status

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "report.html"
PLOTS = "plots"
MOST_WARNINGS = 8


def write_report(run: Path, *, status: Status | None = None) -> Path:
    """Writes `report.html` and `plots/*.png` into the run directory, from the files there; returns the page's path.

    `status` is what the page says of the run instead of what its manifest still says: the page is written before the
    manifest that declares the run finished.
    A part that is missing or torn is said on the page. Raises RunError when there is no run, EtudeError without
    matplotlib.
    """
    files = read_run_files(run)
    if status is not None and files.manifest is not None:
        files = replace(files, state=status, manifest=replace(files.manifest, status=status))
    plots = drawings(files)
    if plots:
        durable.make_directory(run / PLOTS, exist_ok=True)
    for plot in plots:
        durable.write_bytes(run / PLOTS / plot.file, png(plot.draw, width=plot.width, height=plot.height))
    page = run / PAGE
    durable.write_text(page, render(files))
    return page


def render(run: RunFiles) -> str:
    """The page's HTML. Whatever comes from the run is escaped, and its control characters are written out."""
    return (
        environment_of_pages()
        .get_template("report.html.jinja")
        .render(
            title=facts.place(run),
            run=run,
            about=_about(run),
            headline=verdicts.headline(run),
            gates=verdicts.gate_lines(run),
            tiles=verdicts.tiles(run, train_seconds=facts.train_seconds(run)),
            retention=retention_section(run),
            learning=learning(run),
            live=live_section(run),
            tasks=[task_section(task, place) for place, task in enumerate(run.tasks)],
            overfitting=verdicts.overfitting(run.gap) if run.gap else None,
            memorized=memorization_section(run),
            data_facts=facts.data_facts(run),
            data_notes=facts.data_notes(run),
            examples=facts.examples(run),
            phases=facts.phases(run),
            speed=facts.speed_facts(run),
            cost=facts.cost_facts(run),
            environment=facts.environment(run),
            files=facts.files(run),
            command=facts.reproduce(run),
            next_commands=facts.next_commands(run),
        )
    )


def environment_of_pages() -> Environment:
    """Templates whose every expression is escaped and has its control characters written out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("etude.pages", "templates"), autoescape=True, undefined=StrictUndefined, finalize=_seen,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _seen(value: Any) -> Any:
    """What every expression of the template goes through before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _about(run: RunFiles) -> str:
    """Base, technique and objective in a line."""
    rank, kind = run.setting("technique.rank"), run.setting("technique.kind")
    technique = f"{kind}, rank {rank}" if kind and rank else kind
    base = run.manifest.base.name if run.manifest else run.setting("model.name") or run.setting("model")
    return " · ".join(str(part) for part in (base, technique, run.setting("objective.kind")) if part)


@dataclass(frozen=True)
class Panel:
    """A small figure with its name."""

    name: str
    figure: Markup


@dataclass(frozen=True)
class Learning:
    """How the losses went."""

    sentence: str
    wide: Markup
    narrow: Markup
    panels: tuple[Panel, ...]
    warnings: tuple[str, ...]
    """What was odd about updates, the first ones."""
    num_warnings: int


def learning(run: RunFiles) -> Learning | None:
    """The loss figure with its small companions; None before the first update."""
    metrics = run.metrics
    if not len(metrics.loss) and not len(metrics.heldout):
        return None
    unit = _unit(run)
    heldout = _heldout(run)
    warnings = (*(run.manifest.notes if run.manifest else ()), *metrics.warnings)
    sentence = _losses_in_words(metrics.loss, heldout, unit)
    draw = loss_curves(metrics.loss, heldout, unit=unit)
    panels = {
        **{_spelt(name): curve for name, curve in metrics.figures.items()},
        **{f"{_spelt(name)}, held out": curve for name, curve in metrics.heldout_figures.items()},
        "learning rate": metrics.learning_rate,
        "gradient norm": metrics.grad_norm,
        "tokens a second": metrics.tokens_per_second,
    }
    return Learning(
        sentence=sentence,
        wide=picture(draw, name="loss-wide", alt=f"Loss curves. {sentence}", width=1000, height=340),
        narrow=picture(draw, name="loss-narrow", alt=f"Loss curves. {sentence}", width=380, height=330),
        panels=tuple(
            Panel(name, picture(trend(curve), name=f"panel-{place}", alt=_range(name, curve), width=340, height=170))
            for place, (name, curve) in enumerate(panels.items())
            if len(curve)
        ),
        warnings=warnings[:MOST_WARNINGS],
        num_warnings=len(warnings),
    )


def _range(name: str, curve: Curve) -> str:
    return f"{name} over updates, from {number(min(curve.values))} to {number(max(curve.values))}"


def _heldout(run: RunFiles) -> Curve:
    """What may stand beside the training loss: a held-out reward is another quantity, with a panel of its own."""
    return Curve((), ()) if "reward" in run.metrics.heldout_figures else run.metrics.heldout


def _unit(run: RunFiles) -> str:
    """What a loss is in: only imitation has one that can be read by itself."""
    return "nats per learned token" if run.setting("objective.kind") in (None, "sft") else "loss"


def _spelt(name: str) -> str:
    return name.replace("_", " ")


def _losses_in_words(train: Curve, heldout: Curve, unit: str) -> str:
    said = []
    if len(heldout) > 1:
        step, lowest = heldout.lowest
        first, last = number(heldout.values[0]), number(heldout.values[-1])
        of = " nats per learned token" if unit != "loss" else ""
        said.append(f"Held-out loss went from {first} to {last}{of};")
        said.append(f"its lowest was {number(lowest)} at update {step:,}.")
    if len(train) > 1:
        first, last = number(train.values[0]), number(train.values[-1])
        said.append(f"Training loss went from {first} to {last} in {len(train):,} updates.")
    return " ".join(said) or "There is a single point so far."


@dataclass(frozen=True)
class Plot:
    """A PNG file to write."""

    file: str
    draw: Draw
    width: int
    height: int


def drawings(run: RunFiles) -> Sequence[Plot]:
    """The plots of a run: losses, the score while it trained, all tasks' scores, each one's confusions or fields."""
    plots: list[Plot] = []
    if len(run.metrics.loss) or len(run.metrics.heldout):
        plots.append(Plot("loss.png", loss_curves(run.metrics.loss, _heldout(run), unit=_unit(run)), 900, 420))
    live = live_drawing(run)
    if live is not None:
        plots.append(Plot("live.png", live, 900, 320))
    scores = [pair for task in run.tasks for pair in share_pairs(task, prefix=f"{task.name}: ")]
    if scores:
        plots.append(Plot("scores.png", before_and_after(scores, is_share=True), 900, 90 + 44 * len(scores)))
    for task in run.tasks:
        table = confusion(task.tuned) or confusion(task.base)
        if table:
            draw, width, height = matrix_drawing(table, "tuned" if task.tuned else "base")
            plots.append(Plot(_name("confusion", task.name, plots), draw, width, height))
        fields = field_pairs(task)
        if fields:
            draw = before_and_after(fields, is_share=True)
            plots.append(Plot(_name("fields", task.name, plots), draw, 900, 90 + 44 * len(fields)))
    return plots


def _name(kind: str, task: str, plots: Sequence[Plot]) -> str:
    """The first of a kind has the plain name."""
    return f"{kind}-{task}.png" if any(plot.file == f"{kind}.png" for plot in plots) else f"{kind}.png"
