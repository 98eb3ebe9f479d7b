"""What a record asks and what it answers, as two texts: the ground on which rows are called copies of one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from etude.records import Conversation, Judged, Message, Preference, Prompt, Record, Text


class Sides(NamedTuple):
    prompt: str
    answer: str


def sides(record: Record) -> Sides:
    """The two sides. System messages, which many rows share, are on neither; a plain text is all prompt.

    A conversation asks all that comes before its last answer.
    """
    match record:
        case Text():
            return Sides(record.text, "")
        case Conversation():
            return _conversation(record)
        case Prompt():
            return Sides(_said(record.messages), record.reference or "")
        case Preference():
            return Sides(_said(record.prompt), f"{_said(record.chosen)}\n{_said(record.rejected)}")
        case Judged():
            return Sides(_said(record.prompt), f"{_said(record.answer)}\n{record.judgement}")


def sides_of(records: Sequence[Record]) -> Sides:
    """The sides of a row that may hold several records."""
    found = [sides(record) for record in records]
    return found[0] if len(found) == 1 else Sides(*("\n".join(texts) for texts in zip(*found, strict=True)))


def _conversation(record: Conversation) -> Sides:
    last = max(at for at, message in enumerate(record.messages) if message.role == "assistant")
    return Sides(_said(record.messages[:last]), _said(record.messages[last:]))


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(_text(message) for message in messages if message.role not in ("system", "developer"))


def _text(message: Message) -> str:
    calls = "".join(f"\n{call.name} {call.arguments}" for call in message.tool_calls)
    thought = f"{message.reasoning}\n" if message.reasoning else ""
    return f"{thought}{message.text}{calls}"
