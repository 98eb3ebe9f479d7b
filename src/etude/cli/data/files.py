"""What the data commands have in common: the files they read, the file they write, a step's settings as flags."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from etude.cli.terminal import say
from etude.errors import EtudeError, Problems

if TYPE_CHECKING:
    from etude.data.audit.vectors import Embed
    from etude.data.inputs import Inputs
    from etude.data.synthesis.asking import Asked
    from etude.data.work import Outcome, Step

Chosen = TypeVar("Chosen", bound="Options")
FORMATS = ("auto", "messages", "sharegpt", "alpaca", "prompt-completion", "preference", "judged", "grounded", "text")


class Options(Protocol):
    """A dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        ...


def add_reading(parser: ArgumentParser) -> None:
    """How the rows are to be understood."""
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="FIELD=TEMPLATE", help="a field's column or template"
    )
    parser.add_argument("--format", default="auto", choices=FORMATS, help="the rows' layout (auto: detect it)")


def add_inputs(parser: ArgumentParser, *, needed: bool = True) -> None:
    """The files to read."""
    parser.add_argument(
        "files",
        nargs="+" if needed else "*",
        metavar="FILE",
        help="data files, folders of them, or hub data sets' names",
    )
    add_reading(parser)


def add_step(parser: ArgumentParser, step: type[Step], *, needs_files: bool = True) -> None:
    """The files, the output, and a flag for each of the step's settings."""
    add_inputs(parser, needed=needs_files)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write (JSON lines)")
    parser.add_argument("--force", action="store_true", help="replace the output if it is there")
    add_settings(parser, step)


def add_settings(parser: ArgumentParser, options: type) -> None:
    """A flag for each field of an options dataclass; its docstring is the help."""
    from etude.config.reference import field_docstrings

    hints, says = get_type_hints(options), field_docstrings(options)
    group = parser.add_argument_group("settings")
    for item in fields(options):
        if item.name == "kind":
            continue
        default = item.default if item.default_factory is MISSING else item.default_factory()
        known: dict[str, Any] = (
            {"default": default, "dest": item.name} if default is not MISSING else {"required": True}
        )
        shown = "" if default in (MISSING, None, (), True, False) else f" ({_plain(default)})"
        known["help"] = f"{says.get(item.name, '')}{shown}".replace("%", "%%")
        group.add_argument(_flag(item.name), **known, **_accepted(hints[item.name], item.name))


def settings_of(arguments: Namespace, options: type[Chosen]) -> Chosen:
    """The dataclass as the flags say it; Problems name every flag that is out of range."""
    chosen = {}
    for item in fields(options):
        if item.name != "kind":
            given = getattr(arguments, item.name)
            chosen[item.name] = tuple(given) if isinstance(given, list) else given
    made = options(**chosen)
    wrong = made.problems()
    if wrong:
        raise Problems("command line", [f"{_flag(name)}: {what}" for name, what in wrong])
    return made


def open_files(arguments: Namespace, *, need_layout: bool = True) -> Inputs:
    """The files that were named, each looked at, their layouts said."""
    from etude.cli.terminal import progress
    from etude.data.inputs import Reading, open_inputs

    columns = parse_columns(arguments.columns)
    reading = Reading(format=arguments.format, columns=columns, need_layout=need_layout)
    inputs = open_inputs(arguments.files, reading, progress=progress)
    for file in inputs.files:
        say(f"{file.name}: {file.source.format}, {file.layout or 'no known layout'}")
    return inputs


def perform(
    arguments: Namespace,
    step: type[Step],
    *,
    need_layout: bool = True,
    asked: Asked | None = None,
    embed: Embed | None = None,
    force: bool | None = None,
    inputs: Inputs | None = None,
) -> int:
    """Do a step on the files that were named, or on `inputs`, and tell what became of their rows; `asked` and `embed`
    are the step's models, `force` replaces the output whatever the flag says."""
    from etude.data.work import dropped_of, manifest_of, work

    chosen, output = settings_of(arguments, step), Path(arguments.output)
    given = open_files(arguments, need_layout=need_layout) if inputs is None else inputs
    outcome = work(
        given, chosen, output, command=command_line(),
        force=arguments.force if force is None else force, asked=asked, embed=embed,
    )  # fmt: skip
    tell(outcome, dropped=dropped_of(output), manifest=manifest_of(output))
    return 0


def is_unfinished(output: Path, chosen: Options, note: str) -> bool:
    """Whether the output was written by these settings when a budget was spent, so that this command goes on; `note`
    names the step's note in the manifest."""
    from etude.data.work import manifest_of

    try:
        manifest = json.loads(manifest_of(output).read_text(encoding="utf-8"))
        settings, finished = manifest["settings"], manifest["notes"][note]["finished"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return finished is False and settings == json.loads(json.dumps(asdict(chosen)))


def quiet_where_local(*names: str | None) -> None:
    """Silences the model library if one of those who are asked is a model on this machine; without one it is not even
    loaded."""
    from etude.cli.terminal import quiet_libraries
    from etude.cycle.asking import is_endpoint

    if any(name is not None and not is_endpoint(name) for name in names):
        quiet_libraries()


def command_line() -> list[str]:
    """As it was typed."""
    return ["etude", *sys.argv[1:]]


def tell(outcome: Outcome, *, dropped: Path, manifest: Path) -> None:
    """The counts, and where everything is."""
    say(f"{outcome.rows_in:,} rows read, {outcome.rows_out:,} written to {outcome.output}")
    for what, number in outcome.changed.items():
        say(f"  changed  {number:>9,}  {what}")
    for reason, number in outcome.dropped.items():
        say(f"  dropped  {number:>9,}  {reason}")
    for sentence in outcome.says:
        say(sentence)
    if outcome.dropped:
        say(f"what was dropped: {dropped}")
    say(f"manifest: {manifest}")


def parse_columns(written: Sequence[str]) -> dict[str, str]:
    """`field=column or template` arguments as a mapping."""
    pairs = [item.partition("=") for item in written]
    wrong = [item for item, (_, sign, value) in zip(written, pairs, strict=True) if not sign or not value]
    if wrong:
        remedy = 'write --columns "prompt=Classify: {text}" completion=category'
        raise EtudeError(f"{wrong[0]!r} is not FIELD=TEMPLATE", where="--columns", remedy=remedy)
    return {field.strip(): value for field, _, value in pairs}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _plain(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _accepted(hint: Any, name: str) -> dict[str, Any]:
    """What argparse has to know to read a value of the type."""
    if get_origin(hint) in (Union, UnionType):
        [hint] = [part for part in get_args(hint) if part is not NoneType]
    if hint is bool:
        return {"action": BooleanOptionalAction}
    if get_origin(hint) is tuple:
        return {**_accepted(get_args(hint)[0], name), "nargs": "+"}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    assert hint in (int, float, str), f"{name}: no flag can hold {hint}"
    return {"type": hint, "metavar": {int: "N", float: "X", str: "TEXT"}[hint]}
