"""The command `etude`: a static table of commands, so that help and mistakes cost nothing to load."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from etude.errors import EtudeError

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("etude.cli.quickstart", "the whole circle on a small data set that ships with Etude"),
    "advise": ("etude.cli.advise", "prompt, retrieve or fine-tune? measures all, recommends one"),
    "check": ("etude.cli.check", "validate a run file: everything wrong with it at once"),
    "data": ("etude.cli.data", "look at data as the model will see it, clean it, divide it, mix it"),
    "label": ("etude.cli.label", "judge answers at the terminal: which of two is better, or how good one is"),
    "plan": ("etude.cli.plan", "what a run will take: memory by term, what fits, time and cost"),
    "train": ("etude.cli.train", "fine-tune as a run file says, and measure before and after"),
    "sweep": ("etude.cli.sweep", "search over settings of a run file, or find a learning rate"),
    "evaluate": ("etude.cli.evaluate", "measure a model or a run on a task"),
    "iterate": ("etude.cli.iterate", "improve a run where it fails: explain, propose rows, add, train again"),
    "power": ("etude.cli.power", "before evaluating: the gain that so many items can show"),
    "compare": ("etude.cli.compare", "two reports, paired: better, worse, equivalent, or not enough evidence"),
    "report": ("etude.cli.report", "gain against forgetting of several runs; what one run has memorised"),
    "export": ("etude.cli.export", "write a model for other tools, proven to answer as the trained one does"),
    "chat": ("etude.cli.chat", "talk to a model or a run"),
    "runs": ("etude.cli.runs", "list, show and compare runs"),
}

HELP = """\
Etude: fine-tuning that shows its work.

usage: etude COMMAND [ARGUMENTS]

{commands}

the life cycle:
  etude data audit tickets.jsonl        find what is wrong with the rows
  etude data show tickets.jsonl         check what would be learned
  etude check tickets.yaml              check the run file
  etude train tickets.yaml              fine-tune; writes runs/tickets with a report
  etude train tickets.yaml training.epochs=3 output=runs/longer
                                        the same with settings changed
  etude runs diff runs/tickets runs/longer
                                        what changed, and what it did
  etude chat runs/tickets               try it

etude COMMAND --help explains a command. New here? Run etude quickstart.
"""

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the returned exit code is 0, 1 (a negative answer), 2 (mendable), 75 (resumable) or 130."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except EtudeError as error:
        if os.environ.get("ETUDE_DEBUG") == "1":
            raise
        from etude.cli.terminal import visible

        print(f"error: {visible(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; stdout must not be flushed into the closed pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        print(_help(), end="")
        return 0
    if name in ("--version", "-V", "version"):
        from importlib.metadata import version

        print(f"etude {version('etude')}")
        return 0
    if name not in COMMANDS:
        raise _unknown(name)
    return _command(name, arguments[1:])


def _command(name: str, arguments: Sequence[str]) -> int:
    from etude.cli.arguments import Parser

    command = import_module(COMMANDS[name][0])
    parser = Parser(prog=f"etude {name}", description=_sentence(command.__doc__))
    command.add_arguments(parser)
    code: int = command.run(parser.parse(arguments))
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {says}" for name, (_, says) in COMMANDS.items()]
    return HELP.format(commands="\n".join(["commands:", *lines]))


def _unknown(name: str) -> EtudeError:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    remedy = f"did you mean 'etude {near[0]}'?" if near else "etude --help lists the commands"
    return EtudeError(f"unknown command {name!r}", remedy=remedy)


def _sentence(docstring: str | None) -> str | None:
    return docstring.strip().partition("\n\n")[0] if docstring else None


if __name__ == "__main__":
    sys.exit(main())
