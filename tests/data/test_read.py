"""Reading: every format and layout, what is said about them, and bad rows that are named and never lost."""

# ruff: noqa: E501 (rows stand as files hold them)
from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.read import read
from etude.errors import DataError, EtudeError, Problems
from etude.records import Conversation, ImagePart, Preference, Prompt, Text, TextPart, ToolCall

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
PAIR = {"prompt": "hi", "completion": "hello"}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def said(record: object) -> list[tuple[str, str]]:
    assert isinstance(record, Conversation)
    return [(message.role, message.text) for message in record.messages]


HELLO = [("user", "hi"), ("assistant", "hello")]


@pytest.mark.parametrize(
    ("row", "layout", "words"),
    [
        (CHAT, "messages", "messages (role/content)"),
        ({"conversation": CHAT["messages"]}, "messages", "messages"),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, "sharegpt", "ShareGPT"),
        ({"instruction": "hi", "input": "", "output": "hello"}, "alpaca", "Alpaca"),
        ({"instruction": "hi", "context": "", "response": "hello", "category": "qa"}, "alpaca", "not used: category"),
        (PAIR, "prompt-completion", "prompt-completion: prompt, completion"),
        ({"prompt": "hi", "response": "hello"}, "prompt-completion", "completion from column 'response'"),
        ({"question": "hi", "answer": "hello"}, "prompt-completion", "prompt from column 'question'"),
        ({"input": "hi", "output": "hello"}, "prompt-completion", "prompt from column 'input'"),
        ({"prompt": [CHAT["messages"][0]], "completion": [CHAT["messages"][1]]}, "prompt-completion", "prompt"),
        ({"text": "\n\nHuman: hi\n\nAssistant: hello"}, "messages", "Human/Assistant turns"),
        ({"text": "### Human: hi ### Assistant: hello"}, "messages", "Human/Assistant turns"),
    ],
)  # fmt: skip
def test_layouts_of_conversations(tmp_path: Path, row: dict[str, object], layout: str, words: str) -> None:
    records = read(lines(tmp_path / "rows.jsonl", row))
    assert records.format == layout
    assert words in records.detected
    assert records.detected.startswith("JSONL, ")
    assert said(records[0]) == HELLO


HH = "\n\nHuman: hi\n\nAssistant: "


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "chosen": "hello", "rejected": "go away"},
        {"chosen": f"{HH}hello", "rejected": f"{HH}go away"},
        {"prompt": CHAT["messages"][:1], "chosen": CHAT["messages"][1:], "rejected": [{"role": "assistant", "content": "go away"}]},
        {"prompt": "hi", "chosen": CHAT["messages"], "rejected": [CHAT["messages"][0], {"role": "assistant", "content": "go away"}]},
    ],
)  # fmt: skip
def test_layouts_of_pairs(tmp_path: Path, row: dict[str, object]) -> None:
    (pair,) = read(lines(tmp_path / "pairs.jsonl", row), Preference)
    assert isinstance(pair, Preference)
    assert [message.text for message in (*pair.prompt, *pair.chosen, *pair.rejected)] == ["hi", "hello", "go away"]
    assert pair.prompt[0].role == "user"


def test_formats_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([PAIR, PAIR]), tmp_path / "a.parquet")
    files = {
        "a.json": json.dumps([PAIR, PAIR]), "b.json": json.dumps({"data": [PAIR, PAIR]}),
        "c.json": json.dumps({"one": PAIR, "two": PAIR}), "d.json": f"{json.dumps(PAIR)}\n{json.dumps(PAIR)}\n",
        "e.csv": "prompt,completion\nhi,hello\nhi,hello\n", "f.csv": "prompt;completion\r\nhi;hello\r\nhi;hello\r\n",
        "g.tsv": "prompt\tcompletion\nhi\thello\nhi\thello\n", "h.ndjson": f"{json.dumps(PAIR)}\r\n{json.dumps(PAIR)}",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    for name in (*files, "a.parquet"):
        records = read(tmp_path / name)
        assert [said(record) for record in records] == [HELLO, HELLO], name
        assert not records.bad, name
        assert records[0].origin.path.endswith(name)
    assert read(tmp_path / "e.csv")[1].origin.line == 3
    assert len(read(tmp_path)) == 18


def test_a_quoted_line_break_keeps_the_line_numbers_right(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,completion\n"two\nlines",x\nthree,y\n')
    records = read(tmp_path / "a.csv")
    assert [record.origin.line for record in records] == [2, 4]


def test_a_line_separator_inside_json_is_not_a_line(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "a\u2028b\u0085c", "completion": "d"}, ensure_ascii=False)
    assert said(read(lines(tmp_path / "a.jsonl", row, PAIR))[0])[0] == ("user", "a\u2028b\u0085c")


GOOD = [PAIR] * 90
BAD = {
    "not valid JSON": '{"prompt": "hi"',
    "NaN is not JSON": '{"prompt": NaN, "completion": "x"}',
    "empty line": "",
    "an empty object": "{}",
    "must be a JSON object": "17",
    "appears twice": '{"prompt": "a", "prompt": "b", "completion": "c"}',
    "prompt is missing": '{"completion": "x"}',
    "completion is missing": '{"prompt": "x"}',
    "completion is empty": '{"prompt": "x", "completion": "  "}',
    "prompt holds a number": '{"prompt": 3, "completion": "x"}',
    "completion holds an object": '{"prompt": "x", "completion": {"a": 1}}',
    "half a surrogate pair": '{"prompt": "\\ud83d", "completion": "x"}',
    "nested too deeply": "[" * 100_000,
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_counted_named_and_kept_in_quarantine(tmp_path: Path, reason: str) -> None:
    path = lines(tmp_path / "rows.jsonl", *GOOD[:5], BAD[reason], *GOOD[5:])
    records = read(path, max_bad_share=0.02, quarantine=tmp_path / "run" / "quarantine.jsonl")
    assert len(records) == 90
    assert [bad.origin.line for bad in records.bad] == [6]
    assert reason in records.bad[0].reason
    assert "1 unusable" in records.detected
    assert records.quarantine is not None
    (kept,) = records.quarantine.read_text().splitlines()
    held = json.loads(kept)
    assert (held["file"], held["line"], held["raw"]) == (str(path), 6, BAD[reason][:10_000])
    with pytest.raises(Problems, match=r"1 of 91 rows cannot be used \(1\.1%, limit 1\.0%\)"):
        read(path, max_bad_share=0.01)


def test_wrong_bytes_cost_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "hi", "completion": "hello"}\n' * 3 + b'{"prompt": "caf\xe9", "completion": "x"}\n')
    records = read(path, max_bad_share=0.5)
    assert [str(bad) for bad in records.bad] == [f"{path}:4: not UTF-8 (byte 0xE9 at character 16)"]
    table = tmp_path / "rows.csv"
    table.write_bytes(b"prompt,completion\nhi,hello\ncaf\xe9,x\na,b,c\nonly\nhi,hello\n")
    assert [(bad.origin.line, bad.reason[:9]) for bad in read(table, max_bad_share=1).bad] == [
        (3, "not UTF-8"), (4, "3 cells u"), (5, "1 cells u"),
    ]  # fmt: skip


def test_too_many_bad_rows_stop_with_the_first_ten_and_the_total(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", PAIR, *["{"] * 25)
    with pytest.raises(Problems) as caught:
        read(path, quarantine=tmp_path / "q.jsonl")
    text = str(caught.value)
    assert "25 of 26 rows" in text
    assert f"{path}:2: " in text
    assert f"{path}:12: " not in text
    assert "and 15 more" in text
    assert str(tmp_path / "q.jsonl") in text
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 25
    with pytest.raises(Problems, match="not one of the 3 rows"):
        read(lines(path, "{", "{", "{"), max_bad_share=1.0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf \r\n", "is empty"),
        ("a.json", b"[]", "empty array"),
        ("a.jsonl", '{"prompt": "hi", "completion": "x"}\n'.encode("utf-16"), "UTF-16"),
        ("a.csv", "prompt,completion\nhi,x\n".encode("utf-16-le"), "UTF-16LE"),
        ("a.csv", "prompt,completion\nhi,x\n".encode("utf-32"), "UTF-32"),
        ("a.jsonl", "\n".join('{"prompt": "é", "completion": "x"}' for _ in range(4)).encode("latin-1"), "Latin-1"),
        ("a.json", b'[{"prompt": "hi", "completion": "x"},\n {"prompt": ', "a.json:2"),
        ("a.json", b'"text"', "array or object"),
        ("a.csv", b"prompt,prompt\na,b\n", "'prompt' appears twice"),
        ("a.csv", b"prompt,\na,b\n", "no name"),
        ("a.csv", b"prompt,completion\n", "columns but no rows"),
        ("a.csv", b'"prompt"x,y\na,b\n', "header is broken"),
        ("a.parquet", b"PAR1 but not really", "not a readable Parquet"),
        ("a.jsonl", b"\x1f\x8b\x08abc", "gzip"),
        ("a.csv", b"PK\x03\x04abc", "Excel"),
        ("a.pkl", b"\x80\x04abc", "can run code"),
        ("a.bin", b"abc", "can run code"),
        ("a.xlsx", b"abc", "save the sheet as CSV"),
        ("a.rows", b"abc", "unknown file ending"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_it_is(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EtudeError, match=words) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_pickle_in_any_clothes_is_never_opened(tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (canary,))  # type: ignore[return-value]

    for ending in ("pkl", "jsonl", "json", "csv", "parquet", "txt", "npy", "joblib"):
        (tmp_path / f"a.{ending}").write_bytes(pickle.dumps(Attack(), protocol=4))
        with pytest.raises(EtudeError):
            read(tmp_path / f"a.{ending}")
    assert not canary.exists()


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", PAIR)
    with pytest.raises(DataError, match=r"no such file.*did you mean .*train\.jsonl"):
        read(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match="does not exist either"):
        read(tmp_path / "nowhere" / "train.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no rows"):
        read(tmp_path / "empty")


def test_an_unreachable_hub_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # make test sets it
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"no file or folder of this name.*HF_HUB_OFFLINE=1") as caught:
        read("some-org/some-data:config#test")
    assert "127.0.0.1:9 cannot be reached" in str(caught.value)
    assert time.monotonic() - began < 10


def test_tools_weights_names_and_parts(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "name": "ada", "content": [{"type": "text", "text": "see "}, {"type": "image_url", "image_url": {"url": "a.png"}}]},
        {"role": "assistant", "content": None, "weight": 0, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "42", "weight": 2.0, "mood": "fine"},
    ]  # fmt: skip
    tools = [{"type": "function", "function": {"name": "f"}}]
    records = read(lines(tmp_path / "a.jsonl", {"messages": messages, "tools": tools, "group": 5}))
    record = records[0]
    assert isinstance(record, Conversation)
    assert record.messages[0].content == (TextPart("see "), ImagePart("a.png"))
    assert record.messages[0].name == "ada"
    assert record.messages[1].tool_calls == (ToolCall("f", '{"x": 1}', id="1"),)
    assert [message.weight for message in record.messages] == [None, 0.0, None, 2.0]
    assert record.messages[2].tool_call_id == "1"
    assert json.loads(record.tools[0]) == tools[0]
    assert record.group == "5"
    assert "message key 'mood'" in records.detected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "assistant", "content": ""}, "the assistant's message is empty"),
        ({"role": "user", "content": "again"}, "no message of the assistant"),
        ({"role": "assistant"}, "content is missing"),
        ({"role": "assistant", "content": 5}, "content holds a number"),
        ({"role": "user<|im_end|>", "content": "x"}, "unknown role"),
        ({"content": "x"}, "has no role"),
        ("x", "not an object"),
        ({"role": "assistant", "content": "x", "weight": -1}, "weight must be"),
        ({"role": "assistant", "content": "x", "weight": "2"}, "weight must be"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": "{"}]}, "not valid JSON"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"arguments": {}}]}, "needs a name"),
    ],
)
def test_bad_messages_say_why(tmp_path: Path, message: object, reason: str) -> None:
    bad = {"messages": [{"role": "user", "content": "hi"}, message]}
    records = read(lines(tmp_path / "a.jsonl", CHAT, CHAT, bad), max_bad_share=0.5)
    assert reason in records.bad[0].reason
    assert records.bad[0].origin.line == 3


def test_prompts_for_evaluation(tmp_path: Path) -> None:
    (item,) = read(lines(tmp_path / "a.jsonl", CHAT), Prompt)
    assert isinstance(item, Prompt)
    assert ([message.text for message in item.messages], item.reference) == (["hi"], "hello")
    (alone,) = read(lines(tmp_path / "b.jsonl", {"prompt": "hi"}), Prompt)
    assert isinstance(alone, Prompt)
    assert alone.reference is None
    (text,) = read(lines(tmp_path / "c.jsonl", {"text": "hi"}), (Prompt, Text))
    assert isinstance(text, Text)
    with pytest.raises(DataError, match="Preference rows are needed"):
        read(tmp_path / "a.jsonl", Preference)
    with pytest.raises(DataError, match="fit no known layout"):
        read(tmp_path / "b.jsonl")


def test_texts_are_split_at_headings_and_folders_hold_one_each(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("intro\n\n# One\nfirst\n\nmore\n\n# Two\r\nlast" + "\n\nlong" * 2_000)
    records = read(tmp_path / "book.txt")
    texts = [record.text for record in records if isinstance(record, Text)]
    assert texts[:2] == ["intro", "# One\nfirst\n\nmore"]
    assert [record.origin.line for record in records][:3] == [1, 3, 8]
    assert max(map(len, texts)) <= 4_000
    assert "".join("".join(texts).split()) == "".join((tmp_path / "book.txt").read_text().split())
    (tmp_path / "b.md").write_text("one\n\ntwo")
    assert len(read(tmp_path)) == 2
    lines(tmp_path / "rows.jsonl", PAIR)
    mixed = read(tmp_path)
    assert len(mixed) == 1
    assert "left out: b.md, book.txt" in mixed.detected


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    first = read(lines(tmp_path / "a.jsonl", PAIR)).sha256
    assert read(lines(tmp_path / "b.jsonl", PAIR)).sha256 == first
    assert read(lines(tmp_path / "a.jsonl", PAIR, PAIR)).sha256 != first


@given(st.binary(max_size=300), st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "parquet"]))
def test_any_bytes_give_records_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{ending}"
    path.write_bytes(content)
    said_so = ""
    rows = 0
    try:
        rows = len(read(path, max_bad_share=1.0))
    except EtudeError as error:
        said_so = str(error)
    assert rows or path.name in said_so


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "columns", "layout", "rows", "bad"),
    [
        (
            "banking77/train.csv",
            {"prompt": "Classify: {text}", "completion": "category"},
            "prompt-completion",
            10_003,
            0,
        ),
        ("hh_rlhf_harmless/pairs.jsonl", {}, "preference", 1_896, 4),
        ("gsm8k/train.jsonl", {}, "prompt-completion", 7_473, 0),
        ("dolly_openqa/chinkara-open_qa.jsonl", {}, "messages", 3_742, 0),
        ("self_instruct/seed_tasks.jsonl", {}, "alpaca", 175, 0),
        ("fastchat_identity/dummy_conversation.json", {}, "sharegpt", 500, 0),
        ("wikitext2/valid.txt", {}, "text", 350, 0),
        ("pubmedqa/ori_pqal.json", {"prompt": "QUESTION", "completion": "LONG_ANSWER"}, "prompt-completion", 1_000, 0),
    ],
)
def test_real_files(realdata: Path, name: str, columns: dict[str, str], layout: str, rows: int, bad: int) -> None:
    records = read(realdata / name, columns=columns)
    assert (records.format, len(records), len(records.bad)) == (layout, rows, bad)


@pytest.mark.realdata
def test_real_files_that_fit_no_layout_say_so(realdata: Path) -> None:
    for name in ("capability_mc/mc.jsonl", "snips/train_GetWeather_full.json", "pii_presidio/synth_dataset_v2.json"):
        with pytest.raises(DataError, match="the closest layout is"):
            read(realdata / name)
