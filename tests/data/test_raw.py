"""Rows as they stand in their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.data.raw import raw_rows
from etude.errors import DataError


def test_columns_of_any_kind_come_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "x", "choices": ["a", "b"], "n": 1}\nbroken\n{"q": "y"}\n')
    (tmp_path / "b.json").write_text(json.dumps([{"q": "z", "inner": {"k": None}}]))
    (tmp_path / "c.csv").write_text("q,n\nw,2\n")
    rows = list(raw_rows(tmp_path))
    assert [(Path(row.origin.path).name, row.origin.line) for row in rows] == [
        ("a.jsonl", 1), ("a.jsonl", 3), ("b.json", 1), ("c.csv", 2),
    ]  # fmt: skip
    assert rows[0].columns == {"q": "x", "choices": ["a", "b"], "n": 1}
    assert rows[2].columns == {"q": "z", "inner": {"k": None}}


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        list(raw_rows(tmp_path / "gone.jsonl"))
