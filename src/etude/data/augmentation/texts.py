"""Which texts of a row are the request and which the answer, and which values of the answer stand in the request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.records import Context, Conversation, Judged, Message, Preference, Prompt, Record

if TYPE_CHECKING:
    from etude.data.inputs import Row

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Request:
    """The request that a row's answer follows, and everything that has to change with it."""

    places: tuple[Path, ...]
    """Where in the row's columns the request stands, whole or in part."""
    answers: tuple[Path, ...]
    """Where the answers stand."""
    prompt: str
    answer: str
    slots: Mapping[str, str]
    """Fields of a JSON answer whose text also stands in the request, word for word."""
    scope: str
    """What else a JSON answer says, such as the intent: values are swapped between rows that agree in it."""


def request_of(row: Row) -> Request | None:
    """The row's last request; None where there is none, or where it cannot be told from the rest."""
    records = row.records()
    sides = _sides(records[0]) if len(records) == 1 else None
    if sides is None or not sides[0].strip():
        return None
    prompt, answers = sides
    leaves = list(leaves_of(row.columns, ()))
    places = tuple(path for path, text in leaves if text == prompt) or _parts(leaves, prompt, answers)
    answered = tuple(path for path, text in leaves if text and text in answers and path not in places)
    slots, scope = _slots(prompt, answers[0])
    return Request(places, answered, prompt, answers[0], slots, scope) if places else None


def _parts(leaves: list[tuple[Path, str]], prompt: str, answers: tuple[str, ...]) -> tuple[Path, ...]:
    """The longest text that the request was made of by a template."""
    inside = [(path, text) for path, text in leaves if text.strip() and text in prompt and text not in answers]
    return tuple(path for path, _ in sorted(inside, key=lambda leaf: -len(leaf[1]))[:1])


def _sides(record: Record) -> tuple[str, tuple[str, ...]] | None:
    """The last request and the answers to it."""
    match record:
        case Conversation():
            last = max(at for at, message in enumerate(record.messages) if message.role == "assistant")
            return _question(record.messages[:last], record.context), (record.messages[last].text,)
        case Preference():
            return _asked(record.prompt), (record.chosen[-1].text, record.rejected[-1].text)
        case Judged():
            return _asked(record.prompt), (record.answer[-1].text,)
        case Prompt():
            return _question(record.messages, record.context), (record.reference or "",)
    return None


def _question(messages: tuple[Message, ...], context: Context | None) -> str:
    return _asked(messages) if context is None else context.question


def _asked(messages: tuple[Message, ...]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user"), "")


def leaves_of(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text below a value."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from leaves_of(held, (*path, key))
    elif isinstance(value, list):
        for place, held in enumerate(value):
            yield from leaves_of(held, (*path, place))


def replaced(value: object, texts: Mapping[Path, str], path: Path = ()) -> object:
    """The value with other texts in the named places."""
    if isinstance(value, dict):
        return {key: replaced(held, texts, (*path, key)) for key, held in value.items()}
    if isinstance(value, list):
        return [replaced(held, texts, (*path, place)) for place, held in enumerate(value)]
    return texts.get(path, value)


def text_at(columns: Mapping[str, object], path: Path) -> str:
    """The text in a place of a row."""
    value: object = columns
    for step in path:
        assert isinstance(value, dict | list)
        value = value[step]  # type: ignore[index]
    return str(value)


def _slots(prompt: str, answer: str) -> tuple[dict[str, str], str]:
    """The fields whose text stands in the request, and the texts of the others."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}, ""
    if not isinstance(value, dict):
        return {}, ""
    found, others = {}, []
    for path, text in leaves_of(value, ()):
        if text and len(spans_of(text, prompt)) == 1:
            found[".".join(str(step) for step in path if isinstance(step, str))] = text
        else:
            others.append(text)
    return found, "\n".join(others)


def spans_of(value: str, text: str) -> list[tuple[int, int]]:
    """Where a value stands in a text as words of its own."""
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text)]
