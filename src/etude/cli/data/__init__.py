"""Data before training: look at it, clean it, divide it, all on files that are never changed in place."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "audit": ("etude.cli.data.audit", "find what is wrong with rows; a summary, and a page with pictures"),
    "drop": ("etude.cli.data.drop", "leave out the rows that an audit named"),
    "show": ("etude.cli.data.show", "print rows with what is learned, read and control marked"),
    "augment": ("etude.cli.data.augment", "make new rows from given ones; they are never held out"),
    "synthesize": ("etude.cli.data.synthesize", "let a model write new rows, each one checked; or preference pairs"),
    "recipe": ("etude.cli.data.recipe", "a commented run file for a field: healthcare, legal, finance, …"),
    "redact": ("etude.cli.data.redact", "replace personal data and secrets by masks or consistent fakes"),
    "clean": ("etude.cli.data.clean", "remove copies and near copies, make texts uniform, set unusable rows aside"),
    "split": ("etude.cli.data.split", "divide into training, validation and test rows, no near copy on two sides"),
    "decontaminate": ("etude.cli.data.decontaminate", "take out what evaluation sets ask"),
    "mix": ("etude.cli.data.mix", "mix sources in given shares, general data among them"),
    "preferences": ("etude.cli.data.preferences", "what people said of answers, as rows to learn from"),
    "agreement": ("etude.cli.data.agreement", "how far annotators agree, and what is particular about each"),
    "context": ("etude.cli.data.context", "make a task of context use from documents: places, facts alike, abstention"),
    "plant": ("etude.cli.data.plant", "make rows with random secrets, to measure memorisation with"),
}
"""Each in a module with `add_arguments` and `run`."""


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data SUBCOMMAND …`."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, says) in SUBCOMMANDS.items():
        command = import_module(module)
        described = (command.__doc__ or "").partition("\n\n")[0]
        own = commands.add_parser(name, help=says, description=described)
        command.add_arguments(own)
        own.set_defaults(run=command.run)


def run(arguments: Namespace) -> int:
    """What the subcommand does."""
    code: int = arguments.run(arguments)
    return code
