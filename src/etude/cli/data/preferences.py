"""What people said of answers, as rows to learn from.

Read are pairs, rankings, ratings, thumbs and edits, by the names of their columns, and the exports of Label Studio and
Argilla.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.cli.terminal import say

SHOWN = 10


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data preferences FILE… -o OUT`."""
    from etude.cli.data.files import add_settings
    from etude.feedback.preferences import Preferences

    parser.add_argument("files", nargs="+", metavar="FILE", help="files of judgements, or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write (JSON lines)")
    parser.add_argument("--heldout", metavar="FILE", help="write what held-out annotators said here, not to OUT")
    parser.add_argument("--force", action="store_true", help="replace the outputs if they are there")
    add_settings(parser, Preferences)


def run(arguments: Namespace) -> int:
    """Read, divide if asked, write, tell."""
    from etude.cli.data.files import command_line, settings_of, tell
    from etude.cli.terminal import progress
    from etude.data.inputs import Reading, open_inputs
    from etude.data.work import dropped_of, manifest_of, work
    from etude.feedback.preferences import Preferences

    chosen = settings_of(arguments, Preferences)
    outputs = {arguments.output: chosen}
    if arguments.heldout is not None:
        outputs[arguments.output] = replace(chosen, side="train")
        outputs[arguments.heldout] = replace(chosen, side="heldout")
    inputs = open_inputs(arguments.files, Reading(need_layout=False), progress=progress)
    for output, step in outputs.items():
        outcome = work(inputs, step, Path(output), command=command_line(), force=arguments.force)
        if output == arguments.output:
            tell_unusable(outcome.notes.get("unusable", ()))
        tell(outcome, dropped=dropped_of(Path(output)), manifest=manifest_of(Path(output)))
        for name, share in outcome.notes.get("reliability", {}).items():
            say(f"  {name}: right in an estimated {share:.0%}")
    return 0


def tell_unusable(reasons: Sequence[str]) -> None:
    """The first rows that say nothing, a line each."""
    for reason in reasons[:SHOWN]:
        say(f"unusable: {reason}", "yellow")
    if len(reasons) > SHOWN:
        say(f"... and {len(reasons) - SHOWN:,} more unusable rows", "yellow")
