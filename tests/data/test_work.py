"""Work on files: rows stream in, what is kept, dropped and changed is written down, and nothing is overwritten."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pytest

from etude import durable
from etude.data.inputs import Reading, Row, open_inputs
from etude.data.work import Ledger, Rows, dropped_of, manifest_of, work
from etude.errors import DataError, StorageError
from tests.disk import FailingDisk

ROWS = [
    '{"text": "one",  "id": 1, "score": 1.0e2}',
    '{"text": "two", "id": 2}',
    "broken",
    '{"text": "", "id": 3}',
    '{"text": "three", "id": 4, "nested": {"ä": [1]}}',
]


@dataclass(frozen=True, kw_only=True)
class Shout:
    """Two into TWO, empty rows out; goes through the rows twice."""

    kind: Literal["shout"] = "shout"
    loud: bool = True

    def problems(self) -> list[tuple[str, str]]:
        return []

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        ledger.notes["seen"] = sum(1 for _ in rows.each("counting"))
        for row in rows.each("shouting"):
            if not row.columns["text"]:
                ledger.drop(row, "empty", size=0)
            elif row.columns["text"] == "two" and self.loud:
                ledger.changed("shouted")
                yield row.changed({**row.columns, "text": "TWO"})
            else:
                yield row


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(ROWS) + "\n")
    return path


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_rows_survive_as_they_were_and_all_others_are_accounted_for(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    outcome = work(open_inputs([rows]), Shout(), out, command=["etude", "data", "shout"])
    assert lines(out) == [ROWS[0], '{"text": "TWO", "id": 2}', ROWS[4]]
    assert (outcome.rows_in, outcome.rows_out) == (5, 3)
    assert outcome.rows_in == outcome.rows_out + sum(outcome.dropped.values())
    dropped = [json.loads(line) for line in lines(dropped_of(out))]
    assert [(row["line"], row["reason"]) for row in dropped] == [(3, "unreadable"), (4, "empty")]
    assert dropped[0]["raw"] == "broken"
    assert dropped[0]["found"].startswith("not valid JSON")
    assert dropped[1]["row"] == {"text": "", "id": 3}
    manifest = json.loads(manifest_of(out).read_text())
    assert manifest["inputs"][0]["sha256"] == sha256(rows.read_bytes()).hexdigest()
    assert manifest["outputs"]["out.jsonl"] == {"rows": 3, "sha256": sha256(out.read_bytes()).hexdigest()}
    assert manifest["settings"] == {"kind": "shout", "loud": True}
    assert manifest["changed"] == {"shouted": 1}
    assert manifest["notes"] == {"seen": 4}


def test_the_same_rows_and_settings_give_the_same_files(rows: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "out.jsonl"
        work(open_inputs([rows]), Shout(), out)
        made.append([path.read_bytes() for path in (out, dropped_of(out), manifest_of(out))])
    assert made[0] == made[1]


def test_nothing_is_overwritten(rows: Path, tmp_path: Path) -> None:
    before = rows.read_bytes()
    for force in (False, True):
        with pytest.raises(DataError, match="inputs are never overwritten"):
            work(open_inputs([rows]), Shout(), rows, force=force)
    beside = tmp_path / "out.jsonl.dropped.jsonl"
    beside.write_text(ROWS[0])
    with pytest.raises(DataError, match="inputs are never overwritten"):
        work(open_inputs([beside]), Shout(), tmp_path / "out.jsonl", force=True)
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(DataError, match="--force"):
        work(open_inputs([rows]), Shout(), out)
    assert out.read_text() == "mine"
    work(open_inputs([rows]), Shout(), out, force=True)
    assert len(lines(out)) == 3
    assert rows.read_bytes() == before


def test_a_failing_disk_leaves_nothing_half(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    counting = FailingDisk(0, at=-1, kinds=("open", "write", "fsync", "rename"))
    with durable.using(counting):
        work(open_inputs([rows]), Shout(), out)
    whole = out.read_bytes()
    for at in range(1, counting.count + 1):
        for path in tmp_path.glob("out.jsonl*"):
            path.unlink()
        failing = FailingDisk(errno.ENOSPC, at=at, kinds=("open", "write", "fsync", "rename"))
        with durable.using(failing), pytest.raises(StorageError, match="disk full"):
            work(open_inputs([rows]), Shout(), out)
        assert not out.exists() or (out.read_bytes() == whole and manifest_of(out).exists())
        assert not list(tmp_path.glob(".*")), f"a leftover after failing operation {at}"


def test_a_step_that_keeps_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": ""}\n{"text": "", "id": 1}\n')
    with pytest.raises(DataError, match="all were left out: 2 empty"):
        work(open_inputs([tmp_path / "rows.jsonl"], Reading(need_layout=False)), Shout(), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,id\none,1\ntwo,2\n"),
        ("rows.tsv", "text\tid\none\t1\ntwo\t2\n"),
        ("rows.json", '[{"text": "one", "id": "1"},\n {"text": "two", "id": "2"}]'),
        ("rows.ndjson", '{"text": "one", "id": "1"}\n{"text": "two", "id": "2"}\n'),
    ],
)
def test_every_format_becomes_json_lines(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    work(open_inputs([tmp_path / name]), Shout(loud=False), tmp_path / "out.jsonl")
    assert [json.loads(line) for line in lines(tmp_path / "out.jsonl")] == [
        {"text": "one", "id": "1"},
        {"text": "two", "id": "2"},
    ]


def test_records_are_what_training_reads(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question,answer,extra\na,b,c\n")
    [file] = open_inputs([tmp_path / "rows.csv"]).files
    [row] = [row for row in file if isinstance(row, Row)]
    [record] = row.records()
    assert [message.text for message in record.messages] == ["a", "b"]
    assert row.columns["extra"] == "c"


def test_a_file_of_prompts_needs_no_answers(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    [file] = open_inputs([tmp_path / "rows.jsonl"]).files
    assert not file.has_answers
    [row] = [row for row in file if isinstance(row, Row)]
    assert row.records()[0].messages[0].text == "hi"


def test_a_layout_is_needed_only_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,category\nwhere is my card,card_arrival\n")
    with pytest.raises(DataError, match="fit no known layout"):
        open_inputs([path])
    assert open_inputs([path], Reading(need_layout=False)).files[0].layout is None
    mapped = open_inputs([path], Reading(columns={"prompt": "Classify: {text}", "completion": "category"}))
    assert mapped.files[0].layout is not None


def test_a_file_that_changes_in_between_is_noticed(rows: Path) -> None:
    inputs = open_inputs([rows])
    rows.write_text('{"text": "other"}\n')
    with pytest.raises(DataError, match="changed"):
        list(inputs.each("reading"))
