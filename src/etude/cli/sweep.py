"""Search over settings of a run file, or find a learning rate; a search that was stopped goes on where it was."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

SHOWN = 12


def add_arguments(parser: ArgumentParser) -> None:
    """What is searched, by which score, how long."""
    parser.add_argument("file", help="the run file (YAML)")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change in every trial"
    )
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="training.learning_rate=1e-5..1e-2 or technique.rank=8|16|32; once for each setting",
    )
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all, earlier calls' included (20)")
    parser.add_argument(
        "--score", default="heldout_loss", metavar="NAME", help="heldout_loss, or a task of the run file (heldout_loss)"
    )
    parser.add_argument("--out", metavar="FOLDER", help="study and runs; sweeps/<name of the run file> if left out")
    parser.add_argument("--find-rate", action="store_true", help="try rising learning rates instead, and suggest one")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="of --find-rate (100)")
    parser.epilog = "The same command again goes on; in a second terminal it helps along."


def run(arguments: Namespace) -> int:
    """Search or find, then print."""
    from etude.cli.terminal import quiet_libraries

    quiet_libraries()
    return _find_rate(arguments) if arguments.find_rate else _sweep(arguments)


def _find_rate(arguments: Namespace) -> int:
    from etude.cli.terminal import console
    from etude.cli.train import OnTerminal
    from etude.config import load_run_file
    from etude.cycle.find_rate import find_rate

    found = find_rate(load_run_file(arguments.file, arguments.overrides), steps=arguments.steps, show=OnTerminal())
    every = max(1, len(found.rates) // SHOWN)
    for rate, loss in list(zip(found.rates, found.losses, strict=True))[::every]:
        console.print(f"  {rate:.1e}  {loss:.3f}  {'█' * min(60, round(loss * 10))}", markup=False, highlight=False)
    console.print(
        f"lowest at {found.highest:.1e}; a tenth of that is safe: try training.learning_rate={found.suggestion:.1e}",
        markup=False,
    )
    return 0


def _sweep(arguments: Namespace) -> int:
    from etude.cli.terminal import say
    from etude.cli.train import OnTerminal
    from etude.cycle.sweep import Searched, Sweeping, sweep
    from etude.errors import ConfigError

    if not arguments.over:
        raise ConfigError("nothing is searched", where="sweep", remedy="as in --over training.learning_rate=1e-5..1e-2")
    out = Path(arguments.out or f"sweeps/{Path(arguments.file).stem}")
    searched = tuple(Searched.parse(text) for text in arguments.over)
    sweeping = Sweeping(searched=searched, trials=arguments.trials, score=arguments.score, out=out)
    swept = sweep(arguments.file, arguments.overrides, sweeping, show=OnTerminal())
    for one in swept.trials[:SHOWN]:
        score = one.state if one.score is None or one.state != "complete" else f"{one.score:.5g}"
        settings = " ".join(f"{name}={value}" for name, value in one.settings.items())
        line = f"  trial {one.number:>3}  {score:<10}  {settings}"
        say(line)
    say(f"best settings: {swept.run_file}\n  etude train {swept.run_file}")
    return 0
