"""Make new rows from given ones: typing mistakes, paraphrase, swapped values, more of rare answers; a new file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.data.files import add_step, is_unfinished, perform, quiet_where_local, settings_of
from etude.data.augment import Augment
from etude.data.augmentation.methods import BY_MODEL
from etude.errors import EtudeError, Problems

if TYPE_CHECKING:
    from etude.config import RunFile
    from etude.data.synthesis.asking import Asked


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data augment FILE… -o OUT`."""
    add_step(parser, Augment)
    who = "an endpoint's settings (YAML), a base model, an adapter or a run"
    parser.add_argument("--model", metavar="WHO", help=f"who paraphrases and translates: {who}")
    parser.add_argument("--judge", metavar="WHO", help=f"who rates the new wordings from 1 to 5: {who}")
    parser.add_argument(
        "--measure", metavar="RUN.yaml", help="then train this run without and with the made rows, and compare the two"
    )


def run(arguments: Namespace) -> int:
    """Augment, say how many rows each method made, and measure what they do if that is asked for."""
    chosen = settings_of(arguments, Augment)
    runs = None if arguments.measure is None else _runs(arguments)
    asked = _asked(arguments, chosen)
    embed = None
    if chosen.embedder is not None:
        from etude.cli.data.audit import embedder

        embed = embedder(chosen.embedder)
    force = arguments.force or is_unfinished(Path(arguments.output), chosen, "augmentation")
    code = perform(arguments, Augment, asked=asked, embed=embed, force=force)
    if runs is None:
        return code
    if asked is not None and asked.ended:
        remedy = "the same command with a larger budget goes on"
        raise EtudeError("not all rows were made, so nothing was measured", where="--measure", remedy=remedy)
    return _measure(arguments, *runs)


def _asked(arguments: Namespace, chosen: Augment) -> Asked | None:
    """Who writes and judges; None where nobody is asked."""
    given = {"--model": arguments.model, "--judge": arguments.judge}
    says = f"no method that was asked for needs a model; add one to --methods: {', '.join(BY_MODEL)}"
    if not chosen.uses_model and (wrong := [f"{flag}: {says}" for flag, name in given.items() if name is not None]):
        raise Problems("command line", wrong)
    if arguments.model is None:
        return None
    from etude.cycle.asking import Drawing, open_judge, open_writer
    from etude.data.synthesis.asking import Asked

    quiet_where_local(arguments.model, arguments.judge)
    cache = Path(f"{arguments.output}.answers")
    writer = open_writer(arguments.model, cache, Drawing(seed=chosen.seed))
    judge = None if arguments.judge is None else open_judge(arguments.judge, cache, writer=writer)
    return Asked(writer, judge)


def _runs(arguments: Namespace) -> tuple[RunFile, str, str]:
    """The run file as it is, and where the runs without and with the made rows go."""
    from etude.config import load_run_file

    given = load_run_file(arguments.measure)
    files = {Path(file).resolve() for file in arguments.files}
    if files != {Path(given.data.train).resolve()}:
        found = f"trains on {given.data.train}, which is not what is augmented"
        raise EtudeError(found, where=arguments.measure, remedy="augment the file that data.train names")
    if not given.evaluation.tasks:
        remedy = "add a task file to evaluation.tasks"
        raise EtudeError("measures no task, so nothing could be compared", where=arguments.measure, remedy=remedy)
    return given, f"{given.output}-without", f"{given.output}-with"


def _measure(arguments: Namespace, given: RunFile, without: str, augmented: str) -> int:
    """Two runs of one run file, the second on the made rows too, and the paired verdicts on its tasks."""
    from etude.cli.compare import STYLES, find_pairs
    from etude.cli.terminal import say
    from etude.cli.train import fine_tune_and_tell
    from etude.comparison.verdict import compare_all
    from etude.config import load_run_file

    trained_on = {without: str(given.data.train), augmented: str(Path(arguments.output).resolve())}
    for output, rows in trained_on.items():
        overrides = [f"data.train={rows}", f"output={output}"]
        run_file = load_run_file(arguments.measure, overrides)
        fine_tune_and_tell(run_file, ["train", arguments.measure, *overrides])
    _, pairs, _ = find_pairs([augmented], [without])
    say(f"\nwith the made rows ({augmented}) against without ({without}):")
    for verdict in compare_all(pairs):
        say(verdict.sentence(), STYLES[verdict.answer])
    return 0
