"""Rows that stay in their files are the rows that are held in memory, and a file that changes is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.read import KEPT_BYTES, Records, read
from etude.data.split import split
from etude.data.streamed import StreamedRows
from etude.errors import DataError, EtudeError
from etude.records import Conversation

PAIR = {"prompt": "hi", "completion": "hello"}
WORDS = st.sampled_from(
    ["hi", "two words ", "caf\u00e9", "a\u2028b", "x\u0085", '"', "\U0001f600", "# One", "long " * 300]
)
BREAKS = st.sampled_from(["\n", "\r\n"])
JSON_LINES = st.one_of(
    st.builds(
        lambda asked, answer, plain: json.dumps({"prompt": asked, "completion": answer}, ensure_ascii=plain),
        WORDS, WORDS, st.booleans(),
    ),
    st.sampled_from(
        ["", "  ", "{", "17", '{"prompt": 3, "completion": "x"}', '{"prompt": "a", "prompt": "b"}', "\x85"]
    ),
)  # fmt: skip
CELLS = st.sampled_from(
    ["a", '"b, c"', '"two\nlines"', '"two\r\nlines"', "caf\u00e9", '"he said ""no"""', "", '"broken"x']
)
TABLE_LINES = st.one_of(
    st.builds(lambda one, two: f"{one},{two}", CELLS, CELLS), st.sampled_from(["", "only", "a,b,c"])
)
TEXT_LINES = st.one_of(WORDS, st.sampled_from(["", "", " ", "= Heading ="]))


def both(path: Path, **settings: Any) -> tuple[object, object]:
    """What reading gives in the two ways: everything about the records, or the error in words."""
    found: list[object] = []
    for streams in (False, True):
        try:
            records = read(path, max_bad_share=1.0, streams=streams, **settings)
        except EtudeError as error:
            found.append(str(error))
            continue
        assert isinstance(records.rows, StreamedRows) == streams
        rows = [records[at] for at in range(len(records))]
        assert rows == list(records), "one by one as in a row"
        prints = records.prints().words.tolist()
        found.append((rows, records.detected, records.format, records.bad, records.sha256, records.sources, prints))
    return found[0], found[1]


def written(path: Path, lines: list[str], ends: list[str], *, mark: bool, closed: bool) -> Path:
    text = "".join(line + end for line, end in zip(lines, ends, strict=False))
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + (text if closed else text.rstrip("\r\n")).encode())
    return path


@pytest.mark.parametrize(
    ("name", "first", "line"),
    [("rows.jsonl", [], JSON_LINES), ("rows.csv", ["prompt,completion"], TABLE_LINES), ("rows.txt", [], TEXT_LINES),
     ("rows.tsv", ["prompt\tcompletion"], TABLE_LINES.map(lambda row: row.replace(",", "\t")))],
)  # fmt: skip
def test_both_ways_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, first: list[str], line: st.SearchStrategy[str]
) -> None:
    folder = tmp_path_factory.mktemp("streams")

    @given(
        st.lists(line, min_size=1, max_size=12),
        st.lists(BREAKS, min_size=13, max_size=13),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, "Be brief."]),
    )
    def check(lines: list[str], ends: list[str], mark: bool, closed: bool, system: str | None) -> None:
        path = written(folder / name, first + lines, ends, mark=mark, closed=closed)
        held, streamed = both(path, system=system)
        assert held == streamed

    check()


def test_a_row_of_several_records_and_a_folder(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"do {at}", "instances": [{"input": "", "output": f"{at} {part}"} for part in range(at + 1)]}
        for at in range(4)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.csv").write_text("prompt,completion\nhi,hello\n")
    held, streamed = both(tmp_path)
    assert held == streamed
    records = read(tmp_path, streams=True)
    assert len(records) == 11
    assert list(records[2:5]) == list(records)[2:5]


@pytest.mark.parametrize("column", ["group", "system", "tools"])
def test_a_column_that_comes_late_counts_for_all_rows(tmp_path: Path, column: str) -> None:
    late = {**PAIR, column: "[]" if column == "tools" else "late"}
    rows = [{**PAIR, "prompt": f"hi {at}"} for at in range(1_500)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, late]))
    held, streamed = both(path)
    assert held == streamed
    last = read(path, streams=True)[-1]
    assert isinstance(last, Conversation)
    assert last.group == ("late" if column == "group" else None)
    mapped = read(path, columns={"prompt": "prompt", "completion": column}, streams=True, max_bad_share=1.0)
    assert len(mapped) == 1


def test_large_files_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"prompt": "x" * 100, "completion": "hello"}) + "\n"
    path.write_text(line)
    assert isinstance(read(path).rows, tuple)
    path.write_text(line * (KEPT_BYTES // len(line) + 1))
    assert isinstance(read(path).rows, StreamedRows)


def streamed(path: Path) -> Records:
    path.write_text("".join(json.dumps({**PAIR, "prompt": f"hi {at}"}) + "\n" for at in range(20)))
    return read(path, streams=True)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    records = streamed(path)
    path.write_text(path.read_text().replace("hi 3", "by 3"))
    with pytest.raises(DataError, match=r"rows\.jsonl: has changed since it was read"):
        list(records)
    records = streamed(path)
    path.unlink()
    with pytest.raises(DataError, match="has changed since it was read"):
        list(records)


def test_a_split_of_streamed_rows_is_that_of_rows_in_memory(tmp_path: Path) -> None:
    streamed(tmp_path / "rows.jsonl")
    parts = [split(read(tmp_path / "rows.jsonl", streams=streams), 0.3, seed=1) for streams in (False, True)]
    assert [list(part) for part in parts[0]] == [list(part) for part in parts[1]]
    assert len(parts[1][1]) == 6
