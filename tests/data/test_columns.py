"""Mapping columns by hand: templates, and mistakes that name the nearest column."""

from __future__ import annotations

from pathlib import Path

import pytest

from etude.data.read import read
from etude.errors import DataError, EtudeError
from tests.data.test_read import lines, said


def test_columns_map_fields_and_templates(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,category,id\nwhere is it?,arrival,7\n")
    records = read(
        path, columns={"prompt": "Classify {{now}} #{id}: {text}", "completion": "category"}, system="Be brief."
    )
    assert said(records[0]) == [
        ("system", "Be brief."), ("user", "Classify {now} #7: where is it?"), ("assistant", "arrival"),
    ]  # fmt: skip
    assert "prompt from a template over id, text" in records.detected
    numbers = lines(tmp_path / "rows.jsonl", {"q": "1+1", "a": 2})
    assert said(read(numbers, columns={"prompt": "q", "completion": "a"})[0])[1] == ("assistant", "2")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": "txt", "completion": "category"}, "no column 'txt'; did you mean 'text'"),
        ({"prompt": "Say {txt}", "completion": "category"}, "names no column 'txt'; did you mean 'text'"),
        ({"promt": "text", "completion": "category"}, "columns.promt: unknown field; did you mean 'prompt'"),
        ({"prompt": "{text", "completion": "category"}, "cannot be read"),
        ({"prompt": "{text!r}", "completion": "category"}, "column names only"),
        ({"prompt": "{text.__class__}", "completion": "category"}, "names no column 'text.__class__'"),
        ({"chosen": "text", "completion": "category"}, "no layout has the fields chosen, completion"),
    ],
)
def test_a_wrong_mapping_names_the_nearest(tmp_path: Path, columns: dict[str, str], words: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,category\nwhere is it?,arrival\n")
    with pytest.raises(EtudeError) as caught:
        read(path, columns=columns)
    assert words in str(caught.value)


def test_an_unknown_layout_shows_columns_and_a_mapping_to_start_from(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,category\nwhere is it?,arrival\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert "the columns are text (text), category (text)" in str(caught.value)
    assert "closest layout is prompt-completion" in str(caught.value)
    assert "columns: {prompt: text, completion: category}" in str(caught.value)
    with pytest.raises(DataError, match="do not have the layout messages"):
        read(path, format="messages")
