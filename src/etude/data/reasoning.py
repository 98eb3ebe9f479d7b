"""Reasoning as a part of its own: the names under which files hold it, and what the rows are to do with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from etude.records import Conversation, Judged, Message, Preference, Prompt, Record, Text

Reasoning = Literal["learn", "read", "drop"]
KEYS = ("reasoning_content", "reasoning", "thinking")
"""What files and chat templates call it."""
PART_TYPES = frozenset(("reasoning", "thinking"))
"""Types of content parts that are reasoning."""
INLINE = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """(reasoning, the rest) of an answer that begins with `<think>…</think>`; (None, text) of any other."""
    found = INLINE.match(text)
    return (None, text) if found is None else (found[1].strip(), text[found.end() :])


def inline(reasoning: str, content: str) -> str:
    """Both as one text, for chat templates that know no reasoning."""
    return f"<think>\n{reasoning}\n</think>\n\n{content}"


def without_reasoning(answer: str) -> str:
    """What a model answers when it has thought; a template may have begun the thinking for it."""
    before, closed, after = answer.partition("</think>")
    return after.lstrip() if closed and "<think>" not in before.lstrip().removeprefix("<think>") else answer


def reasoning_in(item: Mapping[str, object]) -> object:
    """What a message of a file holds as reasoning, under whichever name or as parts of its content; None: nothing."""
    named = next((item[key] for key in KEYS if item.get(key) is not None), None)
    held = item.get("content")
    if named is not None or not isinstance(held, list):
        return named
    parts = [part.get("text", part.get(str(part["type"]))) for part in held if is_reasoning(part)]
    return "\n\n".join(map(str, parts)) if parts else None


def is_reasoning(part: object) -> bool:
    """Whether a part of a message's content is what was thought."""
    return isinstance(part, dict) and part.get("type") in PART_TYPES


def with_reasoning(record: Record, how: Reasoning) -> Record:
    """The record with its reasoning to be learned as the answers are, only read, or left out."""
    if how == "learn" or isinstance(record, Text):
        return record
    match record:
        case Conversation() | Prompt():
            return replace(record, messages=_changed(record.messages, how))
        case Preference():
            chosen, rejected = _changed(record.chosen, how), _changed(record.rejected, how)
            return replace(record, prompt=_changed(record.prompt, how), chosen=chosen, rejected=rejected)
        case Judged():
            return replace(record, prompt=_changed(record.prompt, how), answer=_changed(record.answer, how))


def _changed(messages: Sequence[Message], how: Reasoning) -> tuple[Message, ...]:
    return tuple(message if message.reasoning is None else _one_changed(message, how) for message in messages)


def _one_changed(message: Message, how: Reasoning) -> Message:
    if how == "drop":
        return replace(message, reasoning=None, reasoning_weight=None)
    return replace(message, reasoning_weight=0.0)
