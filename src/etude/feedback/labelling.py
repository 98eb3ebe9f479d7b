"""A session of labelling: what is next, what was decided, and a log in which no decision is ever lost.

The log is a file of JSON lines that `etude data preferences` reads. A decision is one line, written and synced before
the next item is shown; taking one back cuts the last line off. A line that was torn by a kill is cut off when the log
is opened again. Nothing else is kept, so a session goes on from the log alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etude import durable
from etude.errors import DataError, EtudeError
from etude.feedback.items import Mode, Showing
from etude.feedback.judgements import as_plain

WORDS: Mapping[Mode, Mapping[str, object]] = {
    "pairs": {"1": 1, "2": 2, "=": "="},
    "thumbs": {"+": "up", "-": "down"},
    "rating": {str(number): number for number in range(1, 6)},
    "edit": {},
}
"""From a key to what the log says."""
FIELDS: Mapping[Mode, str] = {"pairs": "preference", "thumbs": "thumb", "rating": "rating", "edit": "edited"}


@dataclass
class Log:
    """A file of decisions, open for one session."""

    path: Path
    rows: list[dict[str, Any]]
    starts: list[int]
    """Where each line begins."""
    mended: int = 0
    """Bytes of a torn line that were cut off."""

    def append(self, row: dict[str, Any]) -> None:
        """One decision, on the disk when this returns."""
        start = self.path.stat().st_size
        durable.append_line(self.path, json.dumps(row, ensure_ascii=False), fsync=True)
        self.rows.append(row)
        self.starts.append(start)

    def take_back(self) -> dict[str, Any]:
        """The last decision is no more."""
        durable.truncate(self.path, self.starts[-1])
        self.starts.pop()
        return self.rows.pop()


@contextmanager
def opened_log(path: Path) -> Iterator[Log]:
    """The log, mended, for this process alone. EtudeError where another session has it, DataError if it is no log."""
    with durable.explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "give each person a file of his own"
            raise EtudeError("another labelling session is writing it", where=str(path), remedy=remedy) from None
        yield _mended(path)
    finally:
        os.close(descriptor)


def _mended(path: Path) -> Log:
    """The log without a last line that was torn."""
    *lines, rest = path.read_bytes().split(b"\n")
    log = Log(path, [], [], len(rest))
    start = 0
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError("is no decision", where=f"{path}:{number}", remedy="choose another file for this session")
        log.rows.append(row)
        log.starts.append(start)
        start += len(line) + 1
    if rest:
        durable.truncate(path, start)
    return log


@dataclass
class Session:
    """One person's way through the items."""

    showings: Sequence[Showing]
    log: Log
    mode: Mode
    annotator: str
    seed: int
    decided: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.log.rows:
            if row.get("annotator") == self.annotator and FIELDS[self.mode] in row:
                self.decided[str(row.get("item")), int(row.get("repeat") or 0)] = row

    @property
    def current(self) -> Showing | None:
        """The first one that is not decided."""
        return next((each for each in self.showings if (each.key, each.repeat) not in self.decided), None)

    def decide(self, said: object, *, seconds: float, note: str = "") -> None:
        """What is said of the current item goes into the log; None: it is passed over."""
        showing = self.current
        assert showing is not None
        row = {
            **self._content(showing), FIELDS[self.mode]: said, "annotator": self.annotator,
            **({"skipped": True} if said is None else {}), "seconds": round(seconds, 1),
            **({"note": note} if note else {}), "item": showing.key,
            "repeat": showing.repeat, "swapped": showing.swapped, "seed": self.seed,
            "from": str(showing.item.origin), "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        self.log.append(row)
        self.decided[showing.key, showing.repeat] = row

    def undo(self) -> bool:
        """Takes the last decision back; False where the log's last line is not this person's."""
        if not self.log.rows or self.decided.get(_place(self.log.rows[-1])) is not self.log.rows[-1]:
            return False
        del self.decided[_place(self.log.take_back())]
        return True

    def _content(self, showing: Showing) -> dict[str, Any]:
        held: dict[str, Any] = {"prompt": as_plain(showing.item.prompt, "user")}
        names = (
            ("answer_1", "answer_2") if self.mode == "pairs" else ("original",) if self.mode == "edit" else ("answer",)
        )
        answers = map(as_plain, showing.answers)
        return held | dict(zip(names, answers, strict=True))

    @property
    def counts(self) -> tuple[int, int, int]:
        """(decided, of how many, skipped)."""
        mine = [self.decided[place] for each in self.showings if (place := (each.key, each.repeat)) in self.decided]
        return len(mine), len(self.showings), sum(row[FIELDS[self.mode]] is None for row in mine)

    @property
    def consistency(self) -> tuple[int, int]:
        """(how often the same was said of an item again, of how many)."""
        again = [place for place in self.decided if place[1] and (place[0], 0) in self.decided]
        told = [(self._vote(self.decided[key, 0]), self._vote(self.decided[key, repeat])) for key, repeat in again]
        kept = [(one, other) for one, other in told if None not in (one, other)]
        return sum(one == other for one, other in kept), len(kept)

    def _vote(self, row: Mapping[str, Any]) -> object:
        """What was said, by answer instead of by place."""
        said = row[FIELDS[self.mode]]
        return 3 - said if row.get("swapped") and said in (1, 2) and self.mode == "pairs" else said


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    return str(row.get("item")), int(row.get("repeat") or 0)
