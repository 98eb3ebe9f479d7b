"""Mixing: shares are kept, the same seed gives the same rows, one layout fits what comes out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.cli.main import main
from etude.data.inputs import open_inputs
from etude.data.mix import Mix, interleaved, rounded
from etude.data.read import read
from etude.data.work import Outcome, work
from etude.data.write import columns_for
from etude.errors import DataError, EtudeError
from etude.records import Conversation, Judged, Message, Origin, Preference, Prompt, Record, Text, TextPart, ToolCall

SIZES = {"a": 100, "b": 40, "c": 10}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        rows = [{"prompt": f"{name} {at}", "completion": "yes", "id": at} for at in range(size)]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    chats = [
        {"messages": [{"role": "user", "content": f"chat {at}"}, {"role": "assistant", "content": "hm"}]}
        for at in range(50)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in chats))
    (tmp_path / "texts.jsonl").write_text('{"text": "plain"}\n')
    return tmp_path


def mixed(folder: Path, names: str, step: Mix) -> tuple[Outcome, list[dict[str, object]]]:
    step = replace(step, tag="from", replay=tuple(str(folder / name) for name in step.replay))
    outcome = work(open_inputs([folder / f"{name}.jsonl" for name in names]), step, folder / "out.jsonl", force=True)
    return outcome, [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def counts(rows: list[dict[str, object]]) -> dict[str, int]:
    return dict(Counter(Path(str(row["from"])).stem for row in rows))


def test_without_weights_everything_is_taken_once(folder: Path) -> None:
    outcome, rows = mixed(folder, "abc", Mix())
    assert counts(rows) == SIZES
    assert len({(row["from"], row["id"]) for row in rows}) == 150
    assert outcome.rows_in == 150


def test_weights_are_shares(folder: Path) -> None:
    assert counts(mixed(folder, "ab", Mix(weights=(1, 1)))[1]) == {"a": 40, "b": 40}
    assert counts(mixed(folder, "ab", Mix(weights=(3, 1), rows=80))[1]) == {"a": 60, "b": 20}
    _, rows = mixed(folder, "ac", Mix(weights=(1, 1), upsample=True))
    assert counts(rows) == {"a": 100, "c": 100}
    assert set(Counter(row["id"] for row in rows if "c.jsonl" in str(row["from"])).values()) == {10}


def test_temperature_levels_sizes(folder: Path) -> None:
    _, rows = mixed(folder, "ac", Mix(temperature=2, upsample=True))
    found = counts(rows)
    assert found["a"] == 100
    assert found["c"] / found["a"] == pytest.approx((10 / 100) ** 0.5, abs=0.01)


def test_general_data_has_its_share(folder: Path) -> None:
    _, rows = mixed(folder, "ab", Mix(replay=("chats.jsonl",), replay_share=0.2))
    assert counts(rows) == {"a": 100, "b": 40, "chats": 35}
    for start in range(0, 150, 25):
        share = sum("chats" in str(row["from"]) for row in rows[start : start + 25]) / 25
        assert 0.12 <= share <= 0.28, "evenly spread"
    assert all(set(row) == {"messages", "from"} for row in rows), "one layout"
    assert len(read(folder / "out.jsonl")) == 175


def test_the_seed_draws_the_rows(folder: Path) -> None:
    first = mixed(folder, "ab", Mix(rows=50))[1]
    assert mixed(folder, "ab", Mix(rows=50))[1] == first
    other = mixed(folder, "ab", Mix(rows=50, seed=1))[1]
    assert counts(other) == counts(first)
    assert other != first


def test_a_folder_is_one_source(folder: Path) -> None:
    (folder / "both").mkdir()
    for name in "bc":
        (folder / f"{name}.jsonl").rename(folder / "both" / f"{name}.jsonl")
    inputs = open_inputs([folder / "a.jsonl", folder / "both"])
    outcome = work(inputs, Mix(weights=(1, 1)), folder / "out.jsonl")
    assert [source["taken"] for source in outcome.notes["sources"]] == [50, 50]


def test_what_does_not_go_is_said(folder: Path) -> None:
    with pytest.raises(EtudeError, match=r"b.jsonl: 50 rows are wanted, and it has 40(.|\n)*ask for 80 rows at most"):
        mixed(folder, "ab", Mix(weights=(1, 1), rows=100))
    with pytest.raises(DataError, match=r"1 weights for 2 sources"):
        mixed(folder, "ab", Mix(weights=(1,)))
    with pytest.raises(DataError, match="different kinds of rows: prompt-completion, text"):
        mixed(folder, "a", Mix(replay=("texts.jsonl",)))
    assert Mix(weights=(1, 0), temperature=2).problems() == [
        ("weights", "must all be above 0"),
        ("temperature", "means nothing where weights are given; leave one out"),
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_every_stretch_has_about_the_shares_of_the_whole(wanted: list[int]) -> None:
    order = list(interleaved(wanted))
    assert Counter(order) == Counter({at: number for at, number in enumerate(wanted) if number})
    for end in range(1, len(order) + 1):
        for at, number in enumerate(wanted):
            assert abs(order[:end].count(at) - number * end / len(order)) <= len(wanted)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 500))
def test_rounding_makes_up_the_total(parts: list[float], total: int) -> None:
    numbers = [part / sum(parts) * total for part in parts]
    found = rounded(numbers, total)
    assert sum(found) == total
    assert all(abs(one - other) <= 1 for one, other in zip(found, numbers, strict=True))


ORIGIN = Origin("a", 1)
ASKED = (Message("system", "be kind"), Message("user", (TextPart("hi"),), name="ann"))
CALL = Message("assistant", "", tool_calls=(ToolCall("look", '{"at": 1}', id="7"),))
RECORDS: list[Record] = [
    Text("plain", ORIGIN, group="g", augmented_from="a:3"),
    Conversation((*ASKED, CALL, Message("tool", "3", tool_call_id="7"), Message("assistant", "3", weight=0.5)), ORIGIN,
                 tools=('{"name": "look"}',), group="g"),
    Preference(ASKED, (Message("assistant", "a"),), (Message("assistant", "b"),), ORIGIN, margin=0.5),
    Judged(ASKED, (Message("assistant", "a"),), True, ORIGIN),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_is_written_is_read_again(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(columns_for(record)) + "\n")
    assert replace(read(path)[0], origin=ORIGIN) == record


def test_prompts_are_read_again(tmp_path: Path) -> None:
    for record in (Prompt(ASKED, ORIGIN), Prompt(ASKED, ORIGIN, reference="yes")):
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(columns_for(record)) + "\n")
        assert replace(read(path, Prompt)[0], origin=ORIGIN) == record


def test_the_command_shows_what_came_from_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / "a.jsonl"), str(folder / "b.jsonl")]
    assert main(["data", "mix", *files, "--weights", "1", "1", "-o", str(folder / "out.jsonl")]) == 0
    said = capsys.readouterr().out
    assert [line.split()[1:] for line in said.splitlines() if line.startswith(files[0])][1] == [
        "100",
        "40",
        "50.0%",
        "0.40",
    ]
