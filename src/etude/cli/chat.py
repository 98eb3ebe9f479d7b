"""Talk to a model or a run.

On a terminal: a conversation, the answers as they are written. /reset forgets it, /system TEXT sets the system message
(and forgets), /quit or Ctrl-D leaves; Ctrl-C stops the answer. From a pipe: each line is a prompt of its own, and its
answer one line, with line breaks written as \\n.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from etude.cli.terminal import visible
from etude.errors import EtudeError
from etude.records import Message

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel
    from etude.sampling.options import SampleOptions

DEFAULT_MODEL = "smollm2-135m-instruct"
ASK = "> "


def add_arguments(parser: ArgumentParser) -> None:
    """Whom to talk to, and how the answers are drawn."""
    parser.add_argument(
        "subject", nargs="?", default=DEFAULT_MODEL, metavar="MODEL_OR_RUN", help="default: %(default)s"
    )
    parser.add_argument("--base", action="store_true", help="of a run: its base model, before training")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="default: %(default)s")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="default: %(default)s, greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")


def run(arguments: Namespace) -> int:
    """Opens the model and answers until there is nothing more to answer."""
    from etude.sampling.options import SampleOptions

    options = SampleOptions(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
    )
    options.check()
    from etude.cli.terminal import quiet_libraries
    from etude.cycle.subjects import open_subject

    quiet_libraries()

    subject = open_subject(arguments.subject, base=arguments.base)
    with subject.use() as model:
        session = Session(model, options, system=arguments.system)
        if sys.stdin.isatty():
            print(f"{subject.name}. /reset, /system TEXT, /quit; Ctrl-C stops an answer.")
            talk(session, _typed_lines(), sys.stdout)
        else:
            answer_lines(session, sys.stdin, sys.stdout)
    return 0


class Session:
    """One conversation: its messages so far, and answers that stop without harm when interrupted."""

    def __init__(self, model: LoadedModel, options: SampleOptions, *, system: str | None = None) -> None:
        from etude.data.render import Renderer

        self._model = model
        self._options = options
        self._renderer = Renderer(model.tokenizer)
        self.messages: list[Message] = []
        self.reset(system)

    def reset(self, system: str | None = None) -> None:
        """Forgets the conversation; a system message given here begins the next one, else the last one does."""
        kept = [message for message in self.messages if message.role == "system"]
        self.messages = kept if system is None else [Message("system", system)]

    def answer(self, text: str) -> Generator[str, None, None]:
        """Yields the answer's text as it is written; what was written is remembered, also if it is cut short.

        A question that cannot be answered (the conversation outgrew the context) raises EtudeError and is forgotten.
        """
        from etude.sampling.sampler import stream

        asked = [*self.messages, Message("user", text)]
        # Each turn draws anew; the same conversation with the same seed is still the same.
        options = replace(self._options, seed=self._options.seed + len(self.messages))
        prompt = self._renderer.prompt(asked)
        pieces: list[str] = []
        try:
            for piece in stream(self._model, prompt, options, end_ids=self._renderer.end_ids):
                pieces.append(piece)
                yield piece
        except EtudeError:
            asked, pieces = self.messages, []
            raise
        finally:
            said = [Message("assistant", "".join(pieces))] if asked is not self.messages else []
            self.messages = [*asked, *said]


def talk(session: Session, lines: Iterator[str], out: TextIO) -> None:
    """Reads a line, writes its answer piece by piece, until /quit or the end."""
    for line in lines:
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return
        if command == "/reset":
            session.reset()
            print("The conversation is forgotten.", file=out)
        elif command == "/system":
            session.reset(rest.strip())
            print("A new conversation, with this system message.", file=out)
        elif command.startswith("/"):
            print(f"No such command: {command}. There are /reset, /system TEXT and /quit.", file=out)
        elif command:
            _write(session, line.strip(), out)


def _write(session: Session, text: str, out: TextIO) -> None:
    answer = session.answer(text)
    try:
        for piece in answer:
            out.write(visible(piece))
            out.flush()
    except KeyboardInterrupt:
        out.write(" [stopped]")
    except EtudeError as error:
        out.write(f"error: {error} (/reset begins a new conversation)")
    finally:
        # Not left to the garbage collector: the answer so far has to be in the conversation before the next line.
        answer.close()
    print(file=out, flush=True)


def answer_lines(session: Session, lines: TextIO, out: TextIO) -> None:
    """One prompt a line, one answer a line, each in a conversation of its own; blank lines stay blank."""
    for line in lines:
        session.reset()
        text = "".join(session.answer(line.strip())) if line.strip() else ""
        print(text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n"), file=out, flush=True)


def _typed_lines() -> Iterator[str]:
    """What is typed, with line editing where Python has it; Ctrl-C clears the line, Ctrl-D ends."""
    with suppress(ImportError):
        import readline  # noqa: F401  # importing it is what switches line editing on
    while True:
        try:
            yield input(ASK)
        except KeyboardInterrupt:
            print("\n(/quit or Ctrl-D leaves)")
        except EOFError:
            print()
            return
