"""Records as columns that any reader of this package understands again: the inverse of reading."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etude.data.rows import Columns
from etude.records import Conversation, Judged, Message, Preference, Prompt, Record, Text, TextPart


def columns_for(record: Record) -> Columns:
    """One row: messages with roles, or what else the record is made of."""
    found = _said(record)
    if not isinstance(record, Text) and record.tools:
        found["tools"] = [json.loads(tool) for tool in record.tools]
    if record.group is not None:
        found["group"] = record.group
    if record.augmented_from is not None:
        found["augmented_from"] = record.augmented_from
    return found


def _said(record: Record) -> Columns:
    match record:
        case Text():
            return {"text": record.text}
        case Conversation():
            return {"messages": _messages(record.messages)}
        case Prompt():
            if record.reference is None:
                return {"messages": _messages(record.messages)}
            return {"prompt": _messages(record.messages), "completion": record.reference}
        case Preference():
            sides = {"chosen": _messages(record.chosen), "rejected": _messages(record.rejected)}
            margin = {"margin": record.margin} if record.margin else {}
            return {"prompt": _messages(record.prompt), **sides, **margin, **_weight(record.weight)}
        case Judged():
            answer = {"completion": _messages(record.answer), "judgement": record.judgement}
            return {"prompt": _messages(record.prompt), **answer, **_weight(record.weight)}


def _weight(weight: float) -> Columns:
    return {} if weight == 1 else {"weight": weight}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [message_columns(message) for message in messages]


def message_columns(message: Message) -> dict[str, Any]:
    """A message as files hold it, with everything that it has."""
    made: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        made["name"] = message.name
    if message.weight is not None:
        made["weight"] = message.weight
    if message.reasoning is not None:
        made["reasoning_content"] = message.reasoning
    if message.reasoning_weight is not None:
        made["reasoning_weight"] = message.reasoning_weight
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        made["tool_calls"] = [
            {
                **({} if call.id is None else {"id": call.id}),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return made


def _content(message: Message) -> str | list[dict[str, str]]:
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image", "image": part.path}
        for part in message.content
    ]
