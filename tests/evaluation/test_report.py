"""Reports come back from disk as they went, and damage is said."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.errors import EtudeError
from etude.evaluation.report import ItemResult, Report

if TYPE_CHECKING:
    from pathlib import Path


def report_of(items: tuple[ItemResult, ...]) -> Report:
    return Report(
        task="t",
        metric="exact_match",
        subject="base",
        model_hash="abc",
        items=items,
        summary={"exact_match": 0.5, "stop_rate": 1.0},
        data_sha256="def",
        settings={"metric": "exact_match", "labels": ["a"], "limit": None},
        intervals={"exact_match": (0.1, 0.9)},
        tables={"labels": [{"label": "a", "f1": 0.5}]},
    )


ITEM = ItemResult(
    id="a.jsonl:1", prompt="p", reference="r", answer="x", scores={"exact_match": 1.0}, details={"label": None},
    prompt_tokens=3, answer_tokens=2, finish="stop",
)  # fmt: skip


def test_the_file_has_the_layout_that_is_promised(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.jsonl"
    report_of((ITEM,)).save(path)
    header, item = map(json.loads, path.read_text().splitlines())
    assert header["report"]["format"] == 1
    assert header["report"]["num_items"] == 1
    assert header["report"]["intervals"] == {"exact_match": [0.1, 0.9]}
    assert set(header["report"]) == {
        "format", "task", "metric", "higher_is_better", "subject", "model_hash", "data_sha256", "template_sha256",
        "settings", "summary", "intervals", "level", "tables", "seconds", "num_items",
    }  # fmt: skip
    assert set(item) == {
        "id", "prompt", "reference", "answer", "scores", "details", "weight", "prompt_tokens", "answer_tokens",
        "finish", "seconds", "group",
    }  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text() | st.just("\u2028\x85\r\n"), st.none() | st.text(st.characters(exclude_categories=()))),
        max_size=4,
    )
)
def test_save_and_load_keep_every_text(tmp_path: Path, texts: list[tuple[str, str | None]]) -> None:
    items = tuple(
        ItemResult(id=str(place), prompt=prompt, reference=answer, answer=answer, scores={"exact_match": 0.1 * place})
        for place, (prompt, answer) in enumerate(texts)
    )
    report = report_of(items)
    report.save(tmp_path / "r.jsonl")
    assert Report.load(tmp_path / "r.jsonl") == report


def test_a_score_that_is_missing_is_null_in_the_file_and_no_number_in_hand(tmp_path: Path) -> None:
    unscored = dataclasses.replace(ITEM, scores={"exact_match": math.nan, "other": 1.0}, group="talk 1", seconds=0.25)
    report = dataclasses.replace(report_of((ITEM, unscored)), summary={"exact_match": 1.0, "other": math.nan})
    report.save(tmp_path / "r.jsonl")
    assert '"scores": {"exact_match": null, "other": 1.0}' in (tmp_path / "r.jsonl").read_text()
    found = Report.load(tmp_path / "r.jsonl")
    assert math.isnan(found.items[1].scores["exact_match"])
    assert math.isnan(found.summary["other"])
    assert (found.items[1].group, found.items[1].seconds, found.items[0]) == ("talk 1", 0.25, ITEM)


def test_reports_written_before_items_had_groups_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    report_of((ITEM,)).save(path)
    path.write_text(path.read_text().replace(', "seconds": null, "group": null', "").replace(' "seconds": null,', ""))
    assert "group" not in path.read_text()
    assert Report.load(path) == report_of((ITEM,))


def test_an_interval_without_ends_survives(tmp_path: Path) -> None:
    report = Report(
        task="t", metric="m", subject="s", model_hash="", items=(ITEM,), summary={"m": 0.5}, data_sha256="",
        intervals={"m": (-math.inf, math.inf)},
    )  # fmt: skip
    report.save(tmp_path / "r.jsonl")
    assert Report.load(tmp_path / "r.jsonl").intervals == {"m": (-math.inf, math.inf)}
    assert report.score == 0.5


@pytest.mark.parametrize("damage", ["empty", "cut item", "lost item", "no header", "other format", "not text"])
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.jsonl"
    report_of((ITEM, ITEM)).save(path)
    content = path.read_bytes()
    lines = content.decode().splitlines(keepends=True)
    path.write_bytes(
        {
            "empty": b"",
            "cut item": content[:-20],
            "lost item": "".join(lines[:-1]).encode(),
            "no header": "".join(lines[1:]).encode(),
            "other format": content.replace(b'"format": 1', b'"format": 2'),
            "not text": b"\xff\xfe\x00",
        }[damage]
    )
    with pytest.raises(EtudeError, match=r"r\.jsonl"):
        Report.load(path)


def test_a_missing_report_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EtudeError, match="etude evaluate"):
        Report.load(tmp_path / "gone.jsonl")
