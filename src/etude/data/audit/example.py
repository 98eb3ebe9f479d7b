"""A row as an audit looks at it: what is asked, what is answered, and whatever else its file says of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from etude.data.inputs import Row
from etude.records import Conversation, Judged, Message, Origin, Preference, Prompt, Record, Text

UNSAID = ("system", "developer", "assistant")


@dataclass(frozen=True, slots=True)
class Example:
    """One record, taken apart."""

    origin: Origin
    question: str
    """What is asked, without system messages: the same ones before all rows would make all rows look alike."""
    answer: str
    """The last answer, or the better one of two; empty for plain texts and bare prompts."""
    rejected: str | None
    record: Record
    columns: Mapping[str, object]

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that was written, message by message."""
        return _texts(self.record)


def examples(row: Row) -> Iterator[Example]:
    """What a row holds. RowError says why it cannot be used."""
    for record in row.records():
        yield example(record, row.columns)


def example(record: Record, columns: Mapping[str, object]) -> Example:
    """A record with the columns of its row."""
    match record:
        case Text():
            question, answer, rejected = record.text, "", None
        case Conversation():
            question, answer = _asked_and_answered(record.messages)
            rejected = None
        case Preference():
            question, answer, rejected = _asked(record.prompt), _said(record.chosen), _said(record.rejected)
        case Judged():
            question, answer, rejected = _asked(record.prompt), _said(record.answer), None
        case Prompt():
            question, answer, rejected = _asked(record.messages), record.reference or "", None
    return Example(record.origin, question, answer, rejected, record, columns)


def _asked_and_answered(messages: tuple[Message, ...]) -> tuple[str, str]:
    last = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=None)
    return (_asked(messages), "") if last is None else (_asked(messages[:last]), messages[last].text)


def _asked(messages: tuple[Message, ...]) -> str:
    """What people and tools said; with answers in between if there were several turns."""
    alone = [message.text for message in messages if message.role not in UNSAID]
    if len(alone) < 2:
        return "\n".join(alone)
    return "\n".join(message.text for message in messages if message.role not in UNSAID[:2])


def _said(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.text for message in messages if message.role == "assistant")


def _texts(record: Record) -> tuple[str, ...]:
    if isinstance(record, Text):
        return (record.text,)
    parts: tuple[tuple[Message, ...], ...]
    match record:
        case Conversation():
            parts = (record.messages,)
        case Preference():
            parts = (record.prompt, record.chosen, record.rejected)
        case Judged():
            parts = (record.prompt, record.answer)
        case Prompt():
            return (*_written(record.messages), record.reference or "")
    return tuple(text for part in parts for text in _written(part))


def _written(messages: tuple[Message, ...]) -> Iterator[str]:
    for message in messages:
        if message.reasoning is not None:
            yield message.reasoning
        yield message.text


@dataclass
class Sample:
    """An even sample of rows that pass, of unknown number (Vitter's reservoir), in their order."""

    most: int
    seed: int
    seen: int = 0
    _held: list[tuple[int, Example]] = field(default_factory=list)
    _draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def take(self, one: Example) -> None:
        """One more row, which is kept, in the place of another if need be, or not."""
        if self.seen < self.most:
            self._held.append((self.seen, one))
        elif (at := self._draw.randrange(self.seen + 1)) < self.most:
            self._held[at] = (self.seen, one)
        self.seen += 1

    def finish(self) -> list[Example]:
        """The rows that were kept."""
        return [one for _, one in sorted(self._held, key=lambda held: held[0])]

    @property
    def is_whole(self) -> bool:
        """Whether every row was kept."""
        return self.seen <= self.most
