"""Reasoning as files hold it, and what a setting makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.data.convert import convert
from etude.data.detect import detect
from etude.data.fingerprint import fingerprint
from etude.data.read import read
from etude.data.reasoning import without_reasoning
from etude.data.rows import RawRow
from etude.data.sides import sides
from etude.data.write import columns_for
from etude.records import Conversation, Judged, Message, Origin, Preference, Record

HERE = Origin("rows.jsonl", 1)
ASKED = {"role": "user", "content": "2 + 3?"}
WRITTEN = [
    {"messages": [ASKED, {"role": "assistant", "reasoning_content": "count", "content": "5"}]},
    {"messages": [ASKED, {"role": "assistant", "reasoning": "count", "content": "5"}]},
    {"messages": [ASKED, {"role": "assistant", "thinking": "count", "content": "5"}]},
    {"messages": [ASKED, {"role": "assistant", "content": "<think>\ncount\n</think>\n\n5"}]},
    {"messages": [ASKED, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "count"}, {"type": "text", "text": "5"}]}]},
    {"conversations": [{"from": "human", "value": "2 + 3?"}, {"from": "gpt", "value": "<think>count</think>5"}]},
    {"prompt": "2 + 3?", "completion": "<think>count</think>\n5"},
]  # fmt: skip


def made_of(columns: dict[str, object]) -> Record:
    row = RawRow(HERE, columns, "")
    (record,) = convert(row, detect([row], columns={}, where="rows"))
    return record


@pytest.mark.parametrize("columns", WRITTEN)
def test_every_way_of_writing_gives_the_same_message(columns: dict[str, object]) -> None:
    record = made_of(columns)
    assert isinstance(record, Conversation)
    assert record.messages[1].reasoning == "count"
    assert record.messages[1].text == "5"
    assert sides(record).answer == "count\n5"
    assert fingerprint(record) == fingerprint(made_of(WRITTEN[0]))
    assert fingerprint(record) != fingerprint(made_of({"prompt": "2 + 3?", "completion": "5"}))


def test_nothing_is_unused_and_writing_and_reading_again_gives_the_same() -> None:
    held = {"role": "assistant", "content": "5", "reasoning_content": "count", "reasoning_weight": 0.5, "weight": 2}
    row = RawRow(HERE, {"messages": [ASKED, held]}, "")
    layout = detect([row], columns={}, where="rows")
    assert layout.unused == ()
    (record,) = convert(row, layout)
    assert isinstance(record, Conversation)
    assert record.messages[1] == Message("assistant", "5", weight=2.0, reasoning="count", reasoning_weight=0.5)
    assert made_of(columns_for(record)) == record


def test_a_setting_says_what_becomes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in WRITTEN[:1]))
    messages = {how: read(path, reasoning=how)[0].messages[1] for how in ("learn", "read", "drop")}  # type: ignore[union-attr, arg-type]
    assert messages["learn"] == Message("assistant", "5", reasoning="count")
    assert messages["read"] == Message("assistant", "5", reasoning="count", reasoning_weight=0.0)
    assert messages["drop"] == Message("assistant", "5")


def test_weights_and_tools_survive_writing_and_reading() -> None:
    tools = ('{"function": {"name": "f"}}',)
    asked, said, other = (Message("user", "hi"),), (Message("assistant", "yes"),), (Message("assistant", "no"),)
    pair = Preference(asked, said, other, HERE, margin=2.0, weight=0.5, tools=tools)
    assert made_of(columns_for(pair)) == pair
    judged = Judged(asked, said, 4.0, HERE, weight=0.25, tools=tools)
    assert made_of(columns_for(judged)) == judged


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("<think>\nso\n</think>\n\nfive", "five"),
        ("so\n</think>\n\nfive", "five"),
        ("five", "five"),
        ("write <think> and </think>", "write <think> and </think>"),
    ],
)
def test_an_answer_is_what_comes_after_the_thinking(answer: str, rest: str) -> None:
    assert without_reasoning(answer) == rest
