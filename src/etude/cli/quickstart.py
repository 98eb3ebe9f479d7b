"""The whole circle on a small data set that ships with Etude: customer messages become JSON tickets.

Checks the data, measures the base model, fine-tunes it with LoRA, measures again and writes a report, offline.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib.resources import as_file, files


def add_arguments(parser: ArgumentParser) -> None:
    """Settings may be changed as in train."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change for this run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")


def run(arguments: Namespace) -> int:
    """Trains on the shipped data set; the second run goes into a folder of its own."""
    from etude.cli.train import fine_tune_and_tell
    from etude.config import load_run_file

    with as_file(files("etude.quickstart")) as folder:
        overrides = list(arguments.overrides)
        if not arguments.resume and not any(one.startswith("output=") for one in overrides):
            overrides.append(f"output={free_output('runs/quickstart')}")
        run_file = load_run_file(folder / "tickets.run.yaml", overrides)
        return fine_tune_and_tell(run_file, ["quickstart", *overrides], resume=arguments.resume)


def free_output(name: str) -> str:
    """The first of name, name-2, name-3 … that is not taken."""
    from pathlib import Path

    number = 1
    while Path(name if number == 1 else f"{name}-{number}").exists():
        number += 1
    return name if number == 1 else f"{name}-{number}"
