"""Judge answers at the terminal: which of two is better, or how good one is. Every decision is saved at once.

Run the same command again to go on. The output is what `etude data preferences` reads.
"""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.terminal import visible
from etude.errors import EtudeError, Problems

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from etude.feedback.items import Showing
    from etude.feedback.judgements import Messages
    from etude.feedback.labelling import Session

SIDE_BY_SIDE = 100
"""Columns from which on two answers stand beside each other."""
ENTER, CLOSED = ("\r", "\n"), ""
LEAVING = ("q", "\x04", CLOSED)
UNDECIDED = object()
LISTENING_SECONDS = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    """`etude label FILE… -o OUT`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="rows with a prompt and two answers, or one")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file of decisions, new or begun")
    parser.add_argument("--annotator", metavar="NAME", help="who you are (the login name)")
    parser.add_argument("--mode", choices=("pairs", "thumbs", "rating", "edit"), default="pairs", help="(pairs)")
    parser.add_argument("--repeat", type=float, default=0.05, metavar="SHARE", help="items to show again later (0.05)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the answers' order (0)")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="FIELD=COLUMN", help="a field's column where its name is not known"
    )
    parser.epilog = "Keys: 1, 2, = (pairs), + - (thumbs), 1 to 5 (rating), e (edit); s skip, u undo, n note, q quit."


def run(arguments: Namespace) -> int:
    """Read what there is to judge, open the log, and ask until all is judged or nobody answers."""
    from etude.cli.terminal import console, progress
    from etude.data.inputs import Reading, open_inputs
    from etude.feedback.items import read_items, showings
    from etude.feedback.labelling import Session, opened_log
    from etude.feedback.layouts import mapping, mapping_problems

    wrong = [f"--columns: {one}" for one in mapping_problems(arguments.columns)]
    if not 0 <= arguments.repeat <= 1:
        wrong.append(f"--repeat: must be from 0 to 1, got {arguments.repeat:g}")
    if wrong:
        raise Problems("command line", wrong)
    if not sys.stdin.isatty():
        raise EtudeError("labelling needs a terminal to read keys from", remedy="run it in one, without a pipe")
    annotator = arguments.annotator or _login_name()
    output = Path(arguments.output)
    inputs = open_inputs(arguments.files, Reading(need_layout=False), progress=progress)
    if any(file.source.path.resolve() == output.resolve() for file in inputs.files):
        raise EtudeError("is what is to be judged", where=str(output), remedy="choose another output")
    items, reasons = read_items(inputs, mapping(arguments.columns), single=arguments.mode != "pairs")
    if not items:
        raise Problems(f"{', '.join(arguments.files)}: there is nothing to judge", reasons[:10])
    order = showings(items, annotator=annotator, seed=arguments.seed, repeat=arguments.repeat)
    with opened_log(output) as log:
        session = Session(order, log, arguments.mode, annotator, arguments.seed)
        page = _Page(console, session)
        if reasons:
            page.say(f"rows that hold nothing to judge: {len(reasons):,}, the first: {reasons[0]}", "yellow")
        if log.mended:
            page.say("the last line was torn when the session before was stopped; it was cut off", "yellow")
        with suppress(KeyboardInterrupt), _keys() as read_key:
            _ask(page, session, read_key)
        page.farewell(output)
    return 0


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise EtudeError("who are you?", remedy="say it with --annotator NAME") from None


def _ask(page: _Page, session: Session, read_key: Callable[[], str]) -> None:
    """One item after the other, until there is none or the annotator leaves."""
    shown: Showing | None = None
    note, began = "", 0.0
    while (showing := session.current) is not None:
        if showing is not shown:
            _forget_typed()
            page.show(showing)
            shown, note, began = showing, "", time.monotonic()
        key = read_key()
        if key in LEAVING:
            return
        if key == "n":
            note = page.note(read_key)
            page.say(page.help)
        elif key == "u":
            if session.undo():
                page.say("taken back")
                shown = None
            else:
                page.say("there is nothing of yours to take back")
        elif (said := page.decision(key, showing)) is UNDECIDED:
            page.say(page.help)
        else:
            session.decide(said, seconds=time.monotonic() - began, note=note)


def _forget_typed() -> None:
    """Keys that were pressed before an item was shown say nothing of it."""
    import termios

    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Keys as they are pressed, without echo; the terminal is as it was afterwards."""
    import signal
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    handlers = {one: signal.signal(one, _stop) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(descriptor)
        yield lambda: _pressed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for one, handler in handlers.items():
            signal.signal(one, handler)


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _waited(descriptor: int) -> bytes:
    """The next byte. Not in one long wait: a signal just before it would be seen only after the next key."""
    while not select.select([descriptor], [], [], LISTENING_SECONDS)[0]:
        pass
    return os.read(descriptor, 1)


def _pressed(descriptor: int) -> str:
    """One key. Arrows and the like are passed over; empty when the terminal is gone."""
    try:
        first = _waited(descriptor)
        while first == b"\x1b":
            _pass_over(descriptor)
            first = _waited(descriptor)
        more = 0 if first < b"\xc0" else 1 if first < b"\xe0" else 2 if first < b"\xf0" else 3
        return (first + b"".join(os.read(descriptor, 1) for _ in range(more))).decode("utf-8", "replace")
    except OSError:
        return CLOSED


def _pass_over(descriptor: int) -> None:
    """The rest of a key that is sent as an escape sequence: `[` or `O`, parameters, a final byte."""
    if not select.select([descriptor], [], [], 0.02)[0] or os.read(descriptor, 1) not in (b"[", b"O"):
        return
    while not b"\x40" <= os.read(descriptor, 1) <= b"\x7e":
        pass


class _Page:
    """What is shown. Whatever comes from the data has its control characters spelt out."""

    def __init__(self, console: Console, session: Session) -> None:
        from etude.feedback.labelling import WORDS

        self._console = console
        self._session = session
        self.words = WORDS[session.mode]

    @property
    def help(self) -> str:
        """The keys that mean something."""
        keys = {
            "pairs": "1 or 2: that answer is better, =: as good", "thumbs": "+ good, - bad",
            "rating": "1 (bad) to 5 (good)", "edit": "e opens the answer in your editor",
        }[self._session.mode]  # fmt: skip
        return f"{keys}   s skip   u undo   n note   q quit"

    def say(self, text: str, style: str = "", *, end: str = "\n") -> None:
        """A line, or a piece of one."""
        from rich.text import Text

        self._console.print(Text(visible(text), style=style), end=end, soft_wrap=True)

    def decision(self, key: str, showing: Showing) -> object:
        """What the key says of the item; None: it is passed over; UNDECIDED: nothing."""
        if key == "s":
            return None
        if key == "e" and self._session.mode == "edit":
            edited = self.edited(showing)
            return UNDECIDED if edited is None else edited
        return self.words.get(key, UNDECIDED)

    def show(self, showing: Showing) -> None:
        """An item: the prompt, its answers, what may be pressed."""
        from rich.columns import Columns
        from rich.panel import Panel
        from rich.rule import Rule

        done, total, skipped = self._session.counts
        same, again = self._session.consistency
        parts = [f"{done + 1:,} of {total:,}", *([f"{skipped:,} skipped"] if skipped else [])]
        if again:
            parts.append(f"{same:,} of {again:,} repeated items judged the same")
        self._console.print()
        self._console.print(Rule(" · ".join(parts), style="dim"))
        self._console.print(_turns(showing.item.prompt))
        width = self._console.width
        wide = len(showing.answers) > 1 and width >= SIDE_BY_SIDE
        panels: list[RenderableType] = [
            Panel(_turns(answer, bare=True), title=str(number) if len(showing.answers) > 1 else "answer",
                  title_align="left", width=(width - 1) // 2 if wide else None)
            for number, answer in enumerate(showing.answers, start=1)
        ]  # fmt: skip
        self._console.print(Columns(panels, padding=(0, 1)) if wide else panels[0])
        for panel in panels[1:] if not wide else ():
            self._console.print(panel)
        self.say(self.help, "bold")

    def note(self, read_key: Callable[[], str]) -> str:
        """A line, typed key by key and shown as it grows."""
        typed = ""
        self.say("note: ", end="")
        while (key := read_key()) not in (*ENTER, "\x04", CLOSED):
            if key in ("\x7f", "\b"):
                sys.stdout.write("\b \b" if typed else "")
                sys.stdout.flush()
                typed = typed[:-1]
            elif key.isprintable():
                typed += key
                self.say(key, end="")
        self.say("")
        return typed.strip()

    def edited(self, showing: Showing) -> str | None:
        """The answer as the annotator's editor leaves it; None where it is as it was."""
        import shlex
        import subprocess
        import tempfile

        before = "\n\n".join(message.text for message in showing.answers[0])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answer.txt"
            path.write_text(before, encoding="utf-8")
            command = [*shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"), str(path)]
            try:
                code = subprocess.run(command, check=False).returncode
            except OSError as error:
                self.say(f"{command[0]} cannot be run ({error.strerror}); set EDITOR", "yellow")
                return None
            after = path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        if code or after == before.rstrip("\n") or not after.strip():
            self.say("nothing was changed; s passes the answer over", "yellow")
            return None
        return after

    def farewell(self, output: Path) -> None:
        """What was done, and what comes next."""
        done, total, skipped = self._session.counts
        same, again = self._session.consistency
        self.say(f"{done:,} of {total:,} judged ({skipped:,} skipped), all of it in {output}", "bold")
        if again:
            self.say(f"of {again:,} items that you saw again you judged {same:,} the same")
        if done == total:
            self.say(f"next: etude data preferences {output} -o pairs.jsonl")


def _turns(messages: Messages, *, bare: bool = False) -> Text:
    """Messages, each under its role; `bare` leaves the role of a single one out."""
    from rich.text import Text

    shown = Text()
    for number, message in enumerate(messages):
        if not (bare and len(messages) == 1):
            shown.append(f"{'' if not number else chr(10)}{message.role}: ", style="bold dim")
        shown.append(visible(message.text))
    return shown
