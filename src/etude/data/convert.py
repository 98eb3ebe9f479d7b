"""From a raw row and its layout to frozen records."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from etude.data.check import RowError
from etude.data.columns import kind_of
from etude.data.context import context_of, request_text
from etude.data.detect import HUMAN_TURNS, Layout, transcript_style
from etude.data.reasoning import Reasoning, is_reasoning, reasoning_in, split_reasoning, with_reasoning
from etude.data.rows import RawRow
from etude.records import (
    Content,
    Conversation,
    ImagePart,
    Judged,
    Message,
    Origin,
    Preference,
    Prompt,
    Record,
    Text,
    TextPart,
    ToolCall,
)  # fmt: skip

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function", "ipython"))
SYNONYMS: Mapping[str, str] = {
    "human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "ai": "assistant", "observation": "tool",
    "function_response": "tool",
    "instruction": "user", "response": "assistant",
}  # fmt: skip
HUMAN_SPLIT = re.compile(r"(?:^|\n\n)(Human|User|System|Assistant): ?")
HASH_SPLIT = re.compile(r"### ?(Human|User|System|Instruction|Assistant|Response):? ?")

Values = Mapping[str, object]


def convert(
    row: RawRow,
    layout: Layout,
    *,
    system: str | None = None,
    need_answer: bool = True,
    reasoning: Reasoning = "learn",
) -> tuple[Record, ...]:
    """The row's records (several if it holds several instances); RowError says why it has none.

    `system` goes before conversations without a system message. With `need_answer=False` a prompt alone
    becomes a Prompt. `reasoning` says whether it is learned as answers are, only read, or left out.
    """
    values = {name: feed.value(row.columns) for name, feed in layout.feeds.items()}
    group = values.get("group")
    made = CONVERTERS[layout.format](values, row.origin, need_answer)
    tools = _tools(values.get("tools"))
    made = tuple(_with_tools(record, tools) for record in made) if tools else made
    made = tuple(_with_system(with_reasoning(record, reasoning), values.get("system") or system) for record in made)
    parent = values.get("augmented_from")
    made = made if parent is None else tuple(replace(record, augmented_from=str(parent)) for record in made)
    return made if group is None else tuple(replace(record, group=str(group)) for record in made)


def _with_tools(record: Record, tools: tuple[str, ...]) -> Record:
    assert not isinstance(record, Text), "texts have no such field"
    return replace(record, tools=tools)


def to_prompt(record: Record) -> Prompt:
    """What an evaluation asks: the messages up to the last answer, and that answer as the reference."""
    if isinstance(record, Prompt):
        return record
    assert isinstance(record, Conversation)
    last = max(at for at, message in enumerate(record.messages) if message.role == "assistant")
    if not last:
        raise RowError("no prompt: the conversation starts with the answer")
    return Prompt(
        record.messages[:last], record.origin, reference=record.messages[last].text, group=record.group,
        tools=record.tools, context=record.context,
    )  # fmt: skip


def _with_system(record: Record, system: object) -> Record:
    if system is None or system == "" or isinstance(record, Text):
        return record
    if not isinstance(system, str):
        raise RowError(f"system holds {kind_of(system)}, not text")
    before = (Message("system", system),)
    if isinstance(record, Conversation) and record.messages[0].role not in ("system", "developer"):
        return replace(record, messages=before + record.messages)
    if isinstance(record, Prompt) and record.messages[0].role not in ("system", "developer"):
        return replace(record, messages=before + record.messages)
    if isinstance(record, Preference | Judged) and record.prompt[0].role not in ("system", "developer"):
        return replace(record, prompt=before + record.prompt)
    return record


def _chat(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    found = values.get("messages", values.get("conversations"))
    return (_conversation(messages(found), origin, need_answer),)


def _conversation(found: tuple[Message, ...], origin: Origin, need_answer: bool) -> Conversation | Prompt:
    answers = [message for message in found if message.role == "assistant"]
    if not answers and not need_answer:
        return Prompt(found, origin)
    if not answers:
        raise RowError("no answer: there is no message of the assistant")
    if not any(message.text.strip() or message.tool_calls for message in answers):
        raise RowError("no answer: the assistant's message is empty")
    if all(message.role == "assistant" for message in found):
        raise RowError("no prompt: every message is the assistant's")
    return Conversation(found, origin)


def _alpaca(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    instruction = _filled(values, "instruction")
    instances = values.get("instances")
    if instances is None:
        return (_alpaca_row(instruction, values, origin, need_answer),)
    if not isinstance(instances, list) or not instances or not all(isinstance(item, dict) for item in instances):
        raise RowError("instances must be a list of objects with input and output")
    return tuple(_alpaca_row(instruction, item, origin, need_answer) for item in instances)


def _alpaca_row(instruction: str, values: Values, origin: Origin, need_answer: bool) -> Record:
    given = values.get("input")
    if given is not None and not isinstance(given, str):
        raise RowError(f"input holds {kind_of(given)}, not text")
    asked = f"{instruction}\n\n{given}" if given and given.strip() else instruction
    return _pair(messages_or_text(asked, "user"), values.get("output"), "output", origin, need_answer)


def _prompt_completion(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    held = values.get("prompt")
    asked = messages_or_text(held if isinstance(held, list) else _filled(values, "prompt"), "user")
    return (_pair(asked, values.get("completion"), "completion", origin, need_answer),)


def _pair(
    asked: tuple[Message, ...], answer: object, name: str, origin: Origin, need_answer: bool
) -> Conversation | Prompt:
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        if need_answer:
            raise RowError(f"no answer: {name} is {'missing' if answer is None else 'empty'}")
        return Prompt(asked, origin)
    if isinstance(answer, str | list):
        context = tuple(replace(message, weight=0.0) if message.role == "assistant" else message for message in asked)
        return _conversation(context + messages_or_text(answer, "assistant"), origin, need_answer)
    raise RowError(f"{name} holds {kind_of(answer)}, not text")


def _grounded(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    context = context_of(_filled(values, "question"), values.get("documents"), values.get("relevant"))
    asked = (Message("user", request_text(context)),)
    return (replace(_pair(asked, values.get("answer"), "answer", origin, need_answer), context=context),)


def _preference(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    chosen, rejected = (_answer(values, name) for name in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    held = values.get("prompt")
    if not prompt and held is not None:
        prompt = messages_or_text(held if isinstance(held, list) else _filled(values, "prompt"), "user")
    if not prompt:
        raise RowError("no prompt: map the prompt column, or give chosen and rejected as whole chats")
    for name, tail in (("chosen", chosen), ("rejected", rejected)):
        if not tail or tail[0].role != "assistant":
            raise RowError(f"{name} does not go on with an answer where the two part")
        if not tail[0].text.strip() and not tail[0].tool_calls:
            raise RowError(f"no answer: {name} is empty")
    margin = _number(values.get("margin") or 0.0, "margin")
    return (Preference(prompt, chosen, rejected, origin, margin=margin, weight=_row_weight(values)),)


def _judged(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    held, judgement = values.get("prompt"), values.get("judgement")
    prompt = messages_or_text(held if isinstance(held, list) else _filled(values, "prompt"), "user")
    answer = _answer(values, "completion")
    if not answer[0].text.strip():
        raise RowError("no answer: completion is empty")
    told = judgement if isinstance(judgement, bool) else _number(judgement, "judgement")
    return (Judged(prompt, answer, told, origin, weight=_row_weight(values)),)


def _row_weight(values: Values) -> float:
    held = values.get("weight")
    weight = 1.0 if held is None or held == "" else _number(held, "weight")
    if weight <= 0:
        raise RowError(f"weight must be above 0, found {weight:g}; leave the row out if it is not to count")
    return weight


def _number(value: object, name: str) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RowError(f"{name} holds {kind_of(value)}, not a number") from None
    if not math.isfinite(found):
        raise RowError(f"{name} is {found}, not a number")
    return found


def _answer(values: Values, name: str) -> tuple[Message, ...]:
    held = values.get(name)
    if isinstance(held, str) and transcript_style(held):
        return transcript(held)
    return messages_or_text(held if isinstance(held, list) else _filled(values, name), "assistant")


def _plain(values: Values, origin: Origin, need_answer: bool) -> tuple[Record, ...]:
    return (Text(_filled(values, "text"), origin),)


CONVERTERS: Mapping[str, Callable[[Values, Origin, bool], tuple[Record, ...]]] = {
    "messages": _chat,
    "sharegpt": _chat,
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
    "preference": _preference,
    "judged": _judged,
    "grounded": _grounded,
    "text": _plain,
}


def _filled(values: Values, name: str) -> str:
    held = values.get(name)
    if held is None:
        raise RowError(f"{name} is missing")
    if not isinstance(held, str):
        raise RowError(f"{name} holds {kind_of(held)}, not text")
    if not held.strip():
        raise RowError(f"{name} is empty")
    return held


def messages_or_text(held: str | list[object], role: str) -> tuple[Message, ...]:
    """A list of messages, or a text as one message of `role`."""
    return (_said(role, held),) if isinstance(held, str) else messages(held)


def _said(role: str, content: Content, **more: Any) -> Message:
    """A message; thinking at the beginning of an answer's text is a part of its own."""
    if role == "assistant" and isinstance(content, str) and more.get("reasoning") is None:
        reasoning, content = split_reasoning(content)
        more["reasoning"] = reasoning
    return Message(role, content, **more)


def transcript(text: str) -> tuple[Message, ...]:
    """A chat written as one text, `\\n\\nHuman: …\\n\\nAssistant: …` or `### Human: … ### Assistant: …`."""
    split = HUMAN_SPLIT if HUMAN_TURNS.match(text) else HASH_SPLIT
    _, *parts = split.split(text.strip())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(_said(_role(name), content.strip()) for name, content in pairs)


def messages(held: object) -> tuple[Message, ...]:
    """Messages with role/content or from/value, as OpenAI and ShareGPT files hold them."""
    if isinstance(held, str) and transcript_style(held):
        return transcript(held)
    if not isinstance(held, list):
        raise RowError(f"messages holds {kind_of(held)}, not a list")
    if not held:
        raise RowError("messages is empty")
    return tuple(_message(item, number) for number, item in enumerate(held, start=1))


def _message(item: object, number: int) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"message {number} is {kind_of(item)}, not an object")
    given = item.get("role", item.get("from"))
    if not isinstance(given, str):
        raise RowError(f"message {number} has no role")
    if given == "function_call":
        return Message("assistant", "", tool_calls=(_tool_call(item.get("value", item.get("content")), number),))
    calls = item.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RowError(f"message {number}: tool_calls holds {kind_of(calls)}, not a list")
    return _said(
        _role(given),
        _content(item.get("content", item.get("value")), number, may_be_absent=bool(calls)),
        name=_optional_text(item, "name", number),
        tool_calls=tuple(_tool_call(call, number) for call in calls),
        weight=_weight(item, "weight", number),
        tool_call_id=_optional_text(item, "tool_call_id", number),
        reasoning=_reasoning(item, number),
        reasoning_weight=_weight(item, "reasoning_weight", number),
    )


def _reasoning(item: Mapping[str, object], number: int) -> str | None:
    held = reasoning_in(item)
    if held is not None and not isinstance(held, str):
        raise RowError(f"message {number}: reasoning holds {kind_of(held)}, not text")
    return held


def _role(given: str) -> str:
    role = given.strip().lower()
    role = SYNONYMS.get(role, role)
    if role not in ROLES:
        raise RowError(f"unknown role {given[:40]!r}; known: {', '.join(sorted(ROLES))}")
    return role


def _content(held: object, number: int, *, may_be_absent: bool) -> Content:
    if held is None and may_be_absent:
        return ""
    if isinstance(held, str):
        return held
    if isinstance(held, list):
        return tuple(_part(part, number) for part in held if not is_reasoning(part))
    raise RowError(f"message {number}: content {'is missing' if held is None else f'holds {kind_of(held)}'}")


def _part(part: object, number: int) -> TextPart | ImagePart:
    if isinstance(part, str):
        return TextPart(part)
    if not isinstance(part, dict):
        raise RowError(f"message {number}: a content part is {kind_of(part)}, not an object")
    if isinstance(part.get("text"), str):
        return TextPart(part["text"])
    link = part.get("image_url")
    image = part.get("image", part.get("path", link.get("url") if isinstance(link, dict) else link))
    if isinstance(image, str):
        return ImagePart(image)
    raise RowError(f"message {number}: a content part is neither text nor an image with a path")


def _optional_text(item: Mapping[str, object], key: str, number: int) -> str | None:
    held = item.get(key)
    if held is not None and not isinstance(held, str):
        raise RowError(f"message {number}: {key} holds {kind_of(held)}, not text")
    return held


def _weight(item: Mapping[str, object], key: str, number: int) -> float | None:
    held = item.get(key)
    if held is None:
        return None
    if isinstance(held, bool) or not isinstance(held, int | float) or not math.isfinite(held) or held < 0:
        raise RowError(f"message {number}: {key} must be a number from 0 up, found {held!r}")
    return float(held)


def _tool_call(call: object, number: int) -> ToolCall:
    held = _json(call, number) if isinstance(call, str) else call
    inner = held.get("function", held) if isinstance(held, dict) else None
    if not isinstance(held, dict) or not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise RowError(f"message {number}: a tool call needs a name and arguments")
    arguments = inner.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    if not isinstance(_json(written or "{}", number), dict):
        raise RowError(f"message {number}: a tool call's arguments must be a JSON object")
    return ToolCall(inner["name"], written or "{}", id=_optional_text(held, "id", number))


def _json(written: str, number: int) -> object:
    try:
        return json.loads(written)
    except (ValueError, RecursionError) as error:
        raise RowError(f"message {number}: a tool call is not valid JSON: {error}") from None


def _tools(held: object) -> tuple[str, ...]:
    if held is None or held == "":
        return ()
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except (ValueError, RecursionError) as error:
            raise RowError(f"tools is not valid JSON: {error}") from None
    if not isinstance(held, list) or not all(isinstance(tool, dict) for tool in held):
        raise RowError(f"tools holds {kind_of(held)}, not a list of objects")
    return tuple(json.dumps(tool, ensure_ascii=False) for tool in held)
