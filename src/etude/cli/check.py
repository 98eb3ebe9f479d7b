"""Validate a run file: every problem at once, each with its place, its cause and the nearest known name."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import Field, fields, is_dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from etude.config import RunFile


def add_arguments(parser: ArgumentParser) -> None:
    """The run file, changes to it, and whether to print all of it."""
    parser.add_argument("file", help="the run file (YAML)")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change, as in train"
    )
    parser.add_argument("--resolved", action="store_true", help="print the whole run file, defaults written out")
    parser.epilog = "Exit code 0 when the run file can be trained, 2 when something must be mended."


def run(arguments: Namespace) -> int:
    """Print what the run would be; problems go up as one Problems."""
    from etude.config import dump, load_run_file, load_stages

    stages = load_stages(arguments.file, arguments.overrides)
    for stage in stages or ():
        run_file = stage.load(begun=False)
        name = f"{arguments.file}, stage {stage.name},"
        print(dump(run_file) if arguments.resolved else summary(name, run_file), end="")
    if stages is not None:
        return 0
    run_file = load_run_file(arguments.file, arguments.overrides)
    print(dump(run_file) if arguments.resolved else summary(arguments.file, run_file), end="")
    return 0


def summary(name: str, run_file: RunFile) -> str:
    """The run in a few lines: what is fine-tuned, on what, how long, and where it goes."""
    data, training, evaluation = run_file.data, run_file.training, run_file.evaluation
    length = f"{training.steps} steps" if training.steps is not None else f"{training.epochs or 1:g} epochs"
    rows = {
        "model": f"{run_file.model.name} ({run_file.model.precision} precision)",
        "data": f"{_shown(data.train)}, {_holdout(data.holdout)}, rows up to {data.max_tokens:,} tokens",
        "technique": _kind(run_file.technique),
        "objective": _kind(run_file.objective),
        "training": f"{length}, {training.batch_rows} rows an update, learning rate {training.learning_rate:g}",
        "evaluation": ", ".join(map(_shown, evaluation.tasks))
        or "no tasks: nothing will be proven; add evaluation.tasks",
        "output": run_file.output,
    }
    return "\n".join([f"{name} is fine", *(f"  {key:<10}  {value}" for key, value in rows.items()), ""])


def _shown(path: str) -> str:
    """An absolute path below the current folder, as people write it."""
    here = f"{os.getcwd()}{os.sep}"
    return path.removeprefix(here)


def _holdout(holdout: float | str) -> str:
    if isinstance(holdout, str):
        return f"held out: {_shown(holdout)}"
    return f"{holdout:.0%} held out" if holdout else "nothing held out"


def _kind(options: object) -> str:
    """The kind with its first setting, and whatever is not as it is when left out."""
    from etude.config import plain

    assert is_dataclass(options)
    first, *_ = [field.name for field in fields(options) if field.name != "kind"] or [""]
    usual = {field.name: _usual(field) for field in fields(options)}
    shown = [name for name in usual if name != "kind" and (name == first or getattr(options, name) != usual[name])]
    values = cast("dict[str, object]", plain(options))
    settings = ", ".join(f"{name} {_inline(values[name])}" for name in shown if values[name] is not None)
    return f"{values['kind']} ({settings})" if settings else str(values["kind"])


def _usual(field: Field[object]) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default


def _inline(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
