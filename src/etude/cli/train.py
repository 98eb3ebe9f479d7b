"""Fine-tune as a run file says: measures the base, trains, measures again, and says whether it got better.

With --resume, goes on from the run's last checkpoint, bit for bit. Under torchrun, all processes train together.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import Interrupted

if TYPE_CHECKING:
    from etude.cli.terminal import OnProgress
    from etude.config import RunFile, Stage
    from etude.cycle.fine_tune import Finished


def add_arguments(parser: ArgumentParser) -> None:
    """The run file, changes to it, and whether to go on with a run that was stopped."""
    parser.add_argument("file", help="the run file (YAML), or a run's folder to train it again")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change for this run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.add_argument(
        "--profile", action="store_true", help="record some updates: where their time goes, in profile.txt of the run"
    )
    parser.epilog = (
        "Exit code 0 when the run is finished, 1 when it is but a gate is not passed, 75 when it was stopped and can be"
        " resumed, 2 on a mistake."
    )


def run(arguments: Namespace) -> int:
    """Trains and prints the verdict with what to do next."""
    from etude.config import load_run_file, load_stages

    path = os.path.join(arguments.file, "run.yaml") if os.path.isdir(arguments.file) else arguments.file
    stages = load_stages(path, arguments.overrides)
    if stages is not None:
        return _train_stages(stages, ["train", path, *arguments.overrides], arguments)
    return fine_tune_and_tell(
        load_run_file(path, arguments.overrides),
        ["train", path, *arguments.overrides],
        resume=arguments.resume,
        profile=arguments.profile,
    )


def _train_stages(stages: list[Stage], command: list[str], arguments: Namespace) -> int:
    """One run after the other; with --resume those that are finished stay as they are."""
    from etude.cycle.stages import before_all_stages
    from etude.pages.stages import write_stages_page
    from etude.runs.directory import RunDirectory, is_run

    for stage in stages:
        stage.load(begun=False)  # what is wrong with the last one is said before the first one trains
    folder = Path(stages[0].load(begun=False).output).parent
    for place, stage in enumerate(stages, start=1):
        run_file = stage.load()
        begun = is_run(Path(run_file.output))
        done = begun and RunDirectory(Path(run_file.output)).state == "finished"
        if arguments.resume and done:
            print(f"stage {place} of {len(stages)}, {stage.name}: finished in {run_file.output}")
            continue
        print(f"stage {place} of {len(stages)}, {stage.name}:", flush=True)
        resume = arguments.resume and begun
        code = fine_tune_and_tell(run_file, command, resume=resume, profile=arguments.profile)
        write_stages_page(folder, [stage.name for stage in stages])
        print(flush=True)
        if code:
            return code
    before_all_stages([stage.load() for stage in stages], folder, OnTerminal())
    page, together = write_stages_page(folder, [stage.name for stage in stages])
    if together is not None:
        print(f"all stages together: {together.sentence()}")
    print(f"open {page}  all stages side by side")
    return 0


def fine_tune_and_tell(run_file: RunFile, command: list[str], *, resume: bool = False, profile: bool = False) -> int:
    """One run with its progress on the terminal; `command` is what would be typed after `etude` to repeat it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # processes that a run starts never tokenize
    from etude.cli.terminal import quiet_libraries
    from etude.cycle.fine_tune import fine_tune

    quiet_libraries()
    try:
        finished = fine_tune(run_file, command=["etude", *command], resume=resume, profile=profile, show=OnTerminal())
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}\n  {shlex.join(['etude', *command, '--resume'])}") from None
    if finished is None:
        return 0
    tell(finished)
    return 0 if all(gate.passed for gate in finished.gates) else 1


class OnTerminal:
    """Shows a run's progress on stderr."""

    def say(self, line: str) -> None:
        """One line above the bars."""
        from etude.cli.terminal import visible

        print(visible(line), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[OnProgress]:
        """A bar with the time left."""
        from etude.cli.terminal import progress

        with progress(title) as on_progress:
            yield on_progress


def tell(finished: Finished) -> None:
    """The verdict, where everything is, and the commands that come next."""
    where = finished.run.path
    print()
    for verdict in finished.verdicts:
        print(verdict.sentence())
    if not finished.verdicts:
        print("No task was measured before and after, so nothing is proven; add evaluation.tasks to the run file.")
    if finished.gap is not None:
        print(finished.gap.sentence())
    for gate in finished.gates:
        print(f"gate {gate.sentence()}")
    for line in finished.profile:
        print(f"profile: {line}")
    minutes, seconds = divmod(round(sum(finished.seconds.values())), 60)
    print(f"\n{minutes} min {seconds:02d} s; everything is in {where}")
    for command, says in (
        (f"open {finished.run.page}", "the report: curves, scores, answers before and after"),
        (f"etude chat {where}", "talk to it (--base: to its base)"),
        (f"etude runs show {where}", "what it is made of"),
        *([(f"less {where}/profile.txt", "where the time of an update went")] if finished.profile else []),
    ):
        print(f"  {command:<44}  {says}")
