"""Prompt, retrieve or fine-tune? Measures all of them on the same items, and recommends one with its reasons.

What was measured is kept: the same command again measures only what is new.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from etude.advice.recommend import Advice


def add_arguments(parser: ArgumentParser) -> None:
    """The task, and what may be used for it."""
    from etude.advice.options import AdviseOptions
    from etude.cli.data.files import add_settings

    parser.add_argument("file", metavar="TASK.yaml", help="the task file")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings of the trainings"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where everything goes (advice/NAME of the task)")
    parser.add_argument(
        "--embedder", metavar="PATH", help="folder of an embedding model; without one, words are weighed"
    )
    add_settings(parser, AdviseOptions)


def run(arguments: Namespace) -> int:
    """Measure, write the page, tell."""
    from etude.advice.options import AdviseOptions
    from etude.cli.data.files import settings_of
    from etude.cli.terminal import console, quiet_libraries, say, the_same_command_goes_on
    from etude.cli.train import OnTerminal
    from etude.cycle.advise import advise
    from etude.pages.advice import write_advice

    quiet_libraries()
    options = settings_of(arguments, AdviseOptions)
    out = Path(arguments.out) if arguments.out else None
    with the_same_command_goes_on():
        advice = advise(
            arguments.file, arguments.overrides, options, out=out, show=OnTerminal(), embedder=arguments.embedder
        )
    page = (out or Path(f"advice/{advice.task}")) / "advice.html"
    write_advice(advice, page)
    console.print(arms_table(advice))
    say(advice.recommendation.sentence, "bold green" if advice.recommendation.decided else "bold yellow")
    for reason in advice.recommendation.reasons:
        say(f"  {reason}")
    say("what comes with it:")
    for drawback in advice.recommendation.drawbacks:
        say(f"  {drawback}")
    say(f"page: {page}", "bold")
    return 0


def arms_table(advice: Advice) -> Table:
    """Every way, the best first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from etude.cli.terminal import cell
    from etude.pages.advice import row

    models = {arm.model for arm in advice.arms}
    common = next(iter(models)) if len(models) == 1 else ""  # said once: a narrow terminal has no room for it
    title = ", ".join(filter(None, (advice.task, common, f"{advice.arms[0].items:,} items")))
    table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    names = {"title": "way", "score": advice.arms[0].metric, "interval": "95 %", "tokens": "tokens",
             "latency": "latency", "cost": "1,000 requests", "one_off": "one-off"}  # fmt: skip
    for key, name in names.items():
        is_title = key == "title"
        table.add_column(name, justify="left" if is_title else "right", min_width=20 if is_title else None)
    for arm in advice.arms:
        shown = {**row(arm), "title": arm.title.removeprefix(f"{common}, ")}
        style = "bold" if arm.name == advice.recommendation.arm else ""
        table.add_row(*(cell(shown[key]) for key in names), style=style)
    return table
