"""Before evaluating: the smallest gain that so many items can show, and how many items are enough for a given gain.

From numbers alone (--items, and what is assumed of the items), from the base's report, or from two reports.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import EtudeError

if TYPE_CHECKING:
    from rich.table import Table

    from etude.comparison.plan import Assumed, Plan
    from etude.evaluation.report import Report

GAINS = (0.01, 0.02, 0.05, 0.1)
DEVIATIONS = (0.1, 0.2, 0.3, 0.5)
"""Gains asked about for scores that are no shares, in standard deviations of items' gains."""


def add_arguments(parser: ArgumentParser) -> None:
    """Where the assumptions come from, and which gains are asked about."""
    parser.add_argument("base", metavar="B", nargs="?", help="the base's report, or a run directory")
    parser.add_argument("tuned", metavar="A", nargs="?", help="a report of another model: how far items differ")
    parser.add_argument("--task", metavar="NAME", help="of a run directory: the task (needed where there are several)")
    parser.add_argument("--items", type=int, metavar="N", help="how many items (as many as the report has)")
    parser.add_argument("--score", type=float, metavar="S", help="the base's score, 0 to 1")
    parser.add_argument(
        "--discordance", type=float, metavar="D", help="share of items that exactly one of the models gets right"
    )
    parser.add_argument(
        "--deviation", type=float, metavar="SD", help="standard deviation of items' gains, other scores"
    )
    parser.add_argument("--gain", type=float, nargs="+", metavar="G", help="gains to ask about, 0.01 is a point")
    parser.add_argument("--level", type=float, default=0.95, help="confidence level (0.95)")


def run(arguments: Namespace) -> int:
    """Plan and print."""
    from etude.cli.terminal import console
    from etude.comparison.plan import plan
    from etude.comparison.verdict import refuse_level

    refuse_level(arguments.level)
    assumed, items = _assumed(arguments)
    factor = 1.0 if assumed.deviation is None else assumed.deviation
    usual = [gain for gain in GAINS if gain <= assumed.most]
    gains = arguments.gain or (usual if assumed.deviation is None else [factor * one for one in DEVIATIONS])
    found = plan(assumed, items=items, gains=gains, level=arguments.level)
    for line in lines(found):
        console.print(line, markup=False, soft_wrap=True)
    console.print(gains_table(found))
    return 0


def _assumed(arguments: Namespace) -> tuple[Assumed, int]:
    """What is assumed of the items, and how many there are."""
    from etude.comparison.plan import Assumed, assumed_from

    for name in ("score", "discordance"):
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= 1:
            raise EtudeError(f"must be from 0 to 1, got {value:g}", where=f"--{name}")
    if arguments.deviation is not None and arguments.deviation <= 0:
        raise EtudeError(f"must be above 0, got {arguments.deviation:g}", where="--deviation")
    if arguments.base is not None:
        if arguments.score is not None or arguments.deviation is not None:
            raise EtudeError("--score and --deviation are for plans without a report; a report has its own")
        base, tuned = _reports(arguments)
        assumed = assumed_from(base, tuned, discordance=arguments.discordance)
        return assumed, arguments.items or len(base.items)
    if arguments.items is None:
        raise EtudeError("how many items?", where="--items", remedy="give a number, or the base's report")
    given = [arguments.score is not None or arguments.discordance is not None, arguments.deviation is not None]
    if sum(given) != 1:
        raise EtudeError(
            "say what the items are like", remedy="--score or --discordance for right or wrong, --deviation for others",
        )  # fmt: skip
    return Assumed(
        arguments.discordance or None, arguments.score, arguments.deviation, says="as given"
    ), arguments.items


def _reports(arguments: Namespace) -> tuple[Report, Report | None]:
    """(base, tuned or None): two files, a base's file, or a run with its base."""
    from etude.cli.compare import find_pairs
    from etude.comparison.pairing import models
    from etude.evaluation.report import Report

    if arguments.tuned is None and not Path(arguments.base).is_dir():
        return Report.load(arguments.base), None
    whose = [arguments.base] if arguments.tuned is None else [arguments.tuned]
    names, pairs, _ = find_pairs(whose, [] if arguments.tuned is None else [arguments.base], task=arguments.task)
    if len(names) > 1:
        raise EtudeError(f"which task? there are {', '.join(names)}", where=arguments.base, remedy="--task NAME")
    ((tuned, base),) = pairs
    return models(base)[0], models(tuned)[0]


def lines(found: Plan) -> list[str]:
    """What the items can show, and what that rests on."""
    assumed = found.assumed
    said = []
    if found.detectable is None:
        said.append(f"{found.items:,} items: even the largest gain would not be shown four times in five")
    else:
        said.append(f"{found.items:,} items show a gain of {_gain(found.detectable, assumed)} four times in five")
    if assumed.deviation is not None:
        said.append(f"assumed ({assumed.says}): items' gains have a standard deviation of {assumed.deviation:.4g}")
    elif assumed.discordance is not None:
        share = f"{100 * assumed.discordance:.1f} %"
        said.append(f"assumed ({assumed.says}): {share} of the items (or the gain) are right in one model only")
    else:
        score = f"{100 * (assumed.base or 0):.1f} %"
        said.append(f"assumed ({assumed.says}): a base score of {score}, mistakes independent of each other")
        said.append("models of one base err alike, so as a rule fewer items change and less is enough (--discordance)")
    if assumed.design_effect > 1:
        worth = found.items / assumed.design_effect
        said.append(f"items come in groups: they are worth {worth:,.0f} independent ones")
    return said


def gains_table(found: Plan) -> Table:
    """A line per gain: its chance with these items, and the items that are enough."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for name in ("true gain", f"shown by {found.items:,} items", "items for four in five"):
        table.add_column(name, justify="right")
    for gain, chance, rows in found.rows:
        enough = "over 10 million" if rows is None else f"{rows:,}"
        table.add_row(*map(Text, (_gain(gain, found.assumed), f"{100 * chance:.0f} %", enough)))
    return table


def _gain(gain: float, assumed: Assumed) -> str:
    return f"{100 * gain:.1f} points" if assumed.deviation is None else f"{gain:.4g}"
