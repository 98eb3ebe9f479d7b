"""Nothing that people, tools or files say ever becomes a control token: in every field, in training and in prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from etude.data.check import RowError
from etude.data.convert import convert
from etude.data.detect import detect
from etude.data.plain import PlainTokenizer
from etude.data.render import Renderer
from etude.data.rows import RawRow
from etude.errors import DataError
from etude.records import Conversation, Judged, Message, Origin, Preference, Prompt, Record, Text, ToolCall
from tests.data.tokenizers_zoo import families, spellings

HERE = Origin("rows.jsonl", 1)
FAMILIES = families()
NAMES = sorted(FAMILIES)
Shape = Callable[[str], Record]


def _said(text: str) -> tuple[Message, ...]:
    return (Message("user", text), Message("assistant", text), Message("user", text))


def _answered(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def _named(text: str) -> Record:
    return Conversation((Message("user", "hi", name=text), Message("assistant", "yes", name=text)), HERE)


def _thought(text: str) -> Record:
    return Conversation((Message("user", "hi"), Message("assistant", "yes", reasoning=text)), HERE)


def _called(text: str) -> Record:
    """A hostile declaration, call and result."""
    declared = {"type": "function", "function": {"name": text, "description": text, "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": [text], "default": text}}}}}  # fmt: skip
    call = ToolCall(text, json.dumps({"city": text, "more": [text, {"deep": text}]}), id=text)
    messages = (
        Message("user", text),
        Message("assistant", text, tool_calls=(call,), reasoning=text),
        Message("tool", text, name=text, tool_call_id=text),
        Message("assistant", text),
    )
    return Conversation(messages, HERE, tools=(json.dumps(declared),))


def _read(text: str) -> Record:
    """As a file holds it."""
    row = RawRow(HERE, {"prompt": text, "completion": f"<think>{text}</think>{text}", "system": text}, "")
    (record,) = convert(row, detect([row], columns={}, where="rows"))
    return record


def _grounded(text: str) -> Record:
    documents = [{"title": text, "text": text}]
    row = RawRow(HERE, {"question": text, "documents": documents, "answer": text}, "")
    (record,) = convert(row, detect([row], columns={}, where="rows"))
    return record


SHAPES: dict[str, Shape] = {
    "contents": lambda text: Conversation((*_said(text), *_answered(text)), HERE),
    "names": _named,
    "reasoning": _thought,
    "tools": _called,
    "read": _read,
    "grounded": _grounded,
    "pairs": lambda text: Preference(_said(text), _answered(text), _answered(f"{text}."), HERE),
    "judged": lambda text: Judged(_said(text), _answered(text), True, HERE),
    "prompts": lambda text: Prompt(_said(text), HERE, reference=text),
    "texts": lambda text: Text(text, HERE),
}  # fmt: skip


@cache
def renderer_of(name: str) -> Renderer:
    return Renderer(FAMILIES[name])


def hostile(name: str, number: int) -> list[str]:
    draw = random.Random(f"{name} {number}")
    parts = spellings(FAMILIES[name])
    return [f"x{''.join(draw.choices(parts, k=draw.randint(1, 8)))}" for _ in range(number)]


def controls(renderer: Renderer, records: Sequence[Record]) -> list[list[tuple[int, int]] | None]:
    """Of each record's sequences, how many control tokens there are, and how many are learned; None: refused."""
    found: list[list[tuple[int, int]] | None] = []
    for plans in renderer.plan_all(records):
        if isinstance(plans, DataError):
            found.append(None)
            continue
        rows = renderer.encoded(plans)
        places = [[at for at, token in enumerate(row.tokens) if token in renderer.plain.forbidden_ids] for row in rows]
        learned = [
            sum(start <= at < stop for at in held for start, stop, _ in row.spans)
            for row, held in zip(rows, places, strict=True)
        ]
        found.append([(len(held), num) for held, num in zip(places, learned, strict=True)])
    return found


def check(name: str, number: int) -> dict[str, int]:
    """How many rows of each shape were rendered; all have the control tokens of a harmless row and no others."""
    renderer = renderer_of(name)
    texts = hostile(name, number)
    rendered = {}
    for shape, make in SHAPES.items():
        (benign,) = controls(renderer, [make("hi")])
        if benign is None:  # the template knows no tools, say
            continue
        found = [one for one in controls(renderer, [make(text) for text in texts]) if one is not None]
        assert all(one == benign for one in found), shape
        rendered[shape] = len(found)
    asked = renderer.prompt(_said("hi"))
    expected = sum(token in renderer.plain.forbidden_ids for token in asked)
    for text in texts[: max(10, number // 50)]:
        prompt = renderer.prompt(_said(text))
        assert sum(token in renderer.plain.forbidden_ids for token in prompt) == expected
    return rendered


@pytest.mark.parametrize("name", NAMES)
def test_no_text_in_any_field_becomes_control(name: str) -> None:
    number = 40
    rendered = check(name, number)
    assert {"contents", "names", "reasoning", "prompts", "pairs", "texts", "grounded"} <= rendered.keys()
    assert all(held >= 0.9 * number for held in rendered.values()), rendered


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_hostile_texts(name: str) -> None:
    assert min(check(name, 10_000).values()) >= 9_000


def test_tools_and_reasoning_are_among_what_is_tried() -> None:
    assert "tools" in check("qwen-tools", 5)
    assert "tools" in check("thinking", 5)
    assert FAMILIES["thinking"].encode("</think>", add_special_tokens=False) == [
        FAMILIES["thinking"].convert_tokens_to_ids("</think>")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_roles_and_names_of_fields_are_refused_unless_they_are_harmless(name: str) -> None:
    renderer = renderer_of(name)
    for text in hostile(name, 20):
        row = RawRow(HERE, {"messages": [{"role": text, "content": "hi"}, {"role": "assistant", "content": "x"}]}, "")
        layout = detect([row], columns={}, where="rows")
        with pytest.raises(RowError, match="unknown role"):
            convert(row, layout)
        with pytest.raises(DataError, match="unknown role"):
            renderer.row(Conversation((Message(text, "hi"), Message("assistant", "yes")), HERE))
    control = next(token for token in spellings(FAMILIES[name]) if token.startswith("<"))
    bad = json.dumps({"function": {"name": "f", "parameters": {control: 1}}})
    with pytest.raises(DataError, match=r"may hold only|does not show tools"):
        renderer.row(Conversation((Message("user", "hi"), Message("assistant", "yes")), HERE, tools=(bad,)))


@pytest.mark.parametrize("name", NAMES)
def test_a_tokenizer_without_control_tokens_writes_none(name: str) -> None:
    plain = PlainTokenizer(FAMILIES[name])
    for prefix in (False, True):
        encoded = plain.encode(hostile(name, 300), prefix=prefix)
        assert all(plain.forbidden_ids.isdisjoint(tokens) for tokens in encoded)
