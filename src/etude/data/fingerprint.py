"""What a row says, as a hash that is the same for copies: the ground of fair splits and of counting duplicates."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING

import numpy as np

from etude.records import Conversation, Judged, Message, Preference, Prompt, Record, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENCODE = json.JSONEncoder(ensure_ascii=False).encode
WORDS = 4
"""64-bit words of a sha256."""


def fingerprint(record: Record) -> str:
    """The same for rows that differ only in case and white space (and in where they came from)."""
    return sha256(_content(record).encode()).hexdigest()


@dataclass(frozen=True)
class Prints:
    """The fingerprints of many rows, in their order."""

    words: NDArray[np.uint64]
    """One row of WORDS for each record, so that comparing rows of numbers compares the hashes."""
    groups: NDArray[np.uint64]
    """A hash of each record's group; 0: none."""
    made: NDArray[np.bool_] | None = None
    """Which records were made from others; None: none was."""

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, chosen: slice | NDArray[np.bool_]) -> Prints:
        return Prints(self.words[chosen], self.groups[chosen], None if self.made is None else self.made[chosen])

    def hexdigest(self, at: int) -> str:
        """As `fingerprint` gives it."""
        content: bytes = self.words[at].astype(">u8").tobytes()
        return content.hex()

    def in_order(self) -> NDArray[np.intp]:
        """Places of the rows, sorted by hash (its first 128 bits)."""
        return np.lexsort((self.words[:, 1], self.words[:, 0]))

    def labels(self) -> NDArray[np.intp]:
        """A number from 0 up for each row, the same for rows of the same hash."""
        order = self.in_order()
        is_new = np.zeros(len(self), dtype=bool)
        is_new[1:] = (np.diff(self.words[order, :2], axis=0) != 0).any(axis=1)
        labels = np.empty(len(self), dtype=np.intp)
        labels[order] = np.cumsum(is_new)
        return labels


@dataclass
class PrintTaker:
    """Takes fingerprints of records as they pass, 41 bytes each."""

    _words: bytearray = field(default_factory=bytearray)
    _groups: bytearray = field(default_factory=bytearray)
    _made: bytearray = field(default_factory=bytearray)

    def take(self, record: Record) -> None:
        """One more record."""
        self._words += sha256(_content(record).encode()).digest()
        group = record.group
        self._groups += bytes(8) if group is None else blake2b(group.encode(), digest_size=8).digest()
        self._made.append(record.augmented_from is not None)

    def finish(self) -> Prints:
        """All of them."""
        words = np.frombuffer(self._words, dtype=">u8").astype(np.uint64)
        groups, made = np.frombuffer(self._groups, dtype=np.uint64), np.frombuffer(self._made, dtype=bool)
        return Prints(words.reshape(-1, WORDS), groups, made if made.any() else None)


def take_prints(records: Iterable[Record]) -> Prints:
    """The fingerprints of records that are at hand."""
    taker = PrintTaker()
    for record in records:
        taker.take(record)
    return taker.finish()


def normal(text: str) -> str:
    """The text without differences of case and white space."""
    return " ".join(text.casefold().split())


def _content(record: Record) -> str:
    if isinstance(record, Text):
        return normal(record.text)
    parts: list[tuple[Message, ...]] = []
    extra = ""
    match record:
        case Conversation():
            parts, extra = [record.messages], "".join(record.tools)
        case Preference():
            parts = [record.prompt, record.chosen, record.rejected]
        case Judged():
            parts, extra = [record.prompt, record.answer], str(record.judgement)
        case Prompt():
            parts, extra = [record.messages], record.reference or ""
    return ENCODE([[list(map(_said, part)) for part in parts], normal(extra)])


def _said(message: Message) -> list[str]:
    thought = [] if message.reasoning is None else [normal(message.reasoning)]
    return [message.role, normal(message.text), str(message.tool_calls or ""), *thought]
