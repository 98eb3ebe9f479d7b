"""Reports on finished runs: gain against forgetting of several, what one has memorised, and where it fails."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.explaining import add_explaining
from etude.errors import EtudeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etude.comparison.epochs import Epoch
    from etude.evaluation.canaries import Exposure
    from etude.evaluation.memorization import Memorization


def add_arguments(parser: ArgumentParser) -> None:
    """Which page, of which runs."""
    actions = parser.add_subparsers(title="pages", metavar="frontier | memorization | explain", required=True)
    frontier = actions.add_parser("frontier", help="task gain against forgetting, a point a run, with intervals")
    frontier.add_argument("runs", nargs="+", metavar="RUN", help="folders of finished runs")
    frontier.add_argument("--task", metavar="NAME", help="the task whose gain counts; the first one if left out")
    frontier.add_argument(
        "--by", default="probes", metavar="NAME", help="what counts as lost: probes (their mean), drift, or one probe"
    )
    frontier.add_argument("--out", default="frontier.html", metavar="FILE", help="the page (%(default)s)")
    frontier.set_defaults(action=_frontier)
    memory = actions.add_parser("memorization", help="does a run recite its training rows; its epochs one by one")
    memory.add_argument("run", metavar="RUN", help="folder of a finished run")
    memory.add_argument("--rows", type=int, default=32, metavar="N", help="training rows and held-out rows (32 each)")
    memory.add_argument("--canaries", metavar="FILE", help="what `etude data plant` made and the run was trained on")
    memory.set_defaults(action=_memorization)
    why = actions.add_parser("explain", help="where a run fails: worse slices, kinds of mistake, rows that would help")
    why.add_argument("run", metavar="RUN", help="folder of a finished run")
    why.add_argument("--task", metavar="NAME", help="the task to explain; the first one if left out")
    add_explaining(why)
    why.set_defaults(action=_explain)


def run(arguments: Namespace) -> int:
    """Do what was asked."""
    code: int = arguments.action(arguments)
    return code


def _frontier(arguments: Namespace) -> int:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from etude.cli.terminal import cell, console, say
    from etude.pages.frontier import frontier_of, write_frontier

    found = frontier_of([Path(name) for name in arguments.runs], task=arguments.task, by=arguments.by)
    write_frontier(found, Path(arguments.out))
    table = Table(title=cell(f"gain on {found.task}"), title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    for name in ("run", "gain", found.lost_title, ""):
        table.add_column(name)
    for name, gain, lost, is_best in found.rows():
        table.add_row(cell(name), gain, lost, "on the frontier" if is_best else "", style="bold" if is_best else "")
    console.print(table)
    say(f"page: {arguments.out}")
    return 0


def _memorization(arguments: Namespace) -> int:
    import json

    from etude.cli.terminal import quiet_libraries, say
    from etude.cli.train import OnTerminal
    from etude.comparison.epochs import advice, epochs_of
    from etude.cycle.memorization import memorization_of, note_memorization
    from etude.runs.directory import open_run

    if arguments.rows < 1:
        raise EtudeError(f"must be at least 1, got {arguments.rows}", where="--rows")
    quiet_libraries()
    run = open_run(Path(arguments.run))
    canaries = Path(arguments.canaries) if arguments.canaries else None
    found, exposed = memorization_of(run.path, OnTerminal(), rows=arguments.rows, canaries=canaries)
    entries = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    epochs = epochs_of(entries)
    for line in (*_recited(found), *map(_secret, exposed), *map(_epoch, epochs), advice(epochs)):
        say(line)
    note_memorization(run, found, exposed)
    say(f"on the page: {run.page}")
    return 0


def _explain(arguments: Namespace) -> int:
    from etude.cli.data.audit import embedder
    from etude.cli.explaining import options_of, write_and_tell
    from etude.cli.terminal import quiet_libraries
    from etude.cli.train import OnTerminal
    from etude.cycle.explaining import explain_run

    quiet_libraries()
    embed = embedder(arguments.embedder)
    found = explain_run(Path(arguments.run), options_of(arguments), OnTerminal(), task=arguments.task, embed=embed)
    write_and_tell(found, arguments.out)
    return 0


def _recited(found: Memorization) -> Iterator[str]:
    yield found.sentence()
    for name, one in (("training", found.copied_train), ("held-out", found.copied_heldout)):
        low, high = one.interval
        yield (
            f"{one.count} of {one.of} continuations of {name} rows hold eight tokens in a row of another training "
            f"answer ({low:.0%} to {high:.0%})"
        )


def _secret(one: Exposure) -> str:
    said = "is written when asked" if one.extracted else "is not written when asked"
    return (
        f"secret in {one.canary.repeats} rows: rank {one.rank}, exposure {one.sampled:.1f} bits "
        f"({one.extrapolated:.1f} extrapolated), {said}"
    )


def _epoch(one: Epoch) -> str:
    heldout = "not looked at" if one.heldout_loss is None else f"{one.heldout_loss:.4f}"
    return f"epoch {one.number}: training loss {one.train_loss:.4f}, held out {heldout}"
