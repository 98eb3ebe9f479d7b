"""`--explain`, `etude report explain` and `--for-slice` on a real run of the toy model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cycle.conftest import LABELS, SUBJECTS, Desk, as_jsonl, lines_of
from tests.cycle.test_synthesize import invented, settings
from tests.endpoints.chat_server import chat_server


@dataclass(frozen=True)
class Explained:
    """What `etude evaluate --explain` left, and where it was called."""

    desk: Desk
    words: str
    folder: Path

    @property
    def held(self) -> dict[str, Any]:
        return json.loads((self.folder / "why.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def explained(finished: Desk, tmp_path_factory: pytest.TempPathFactory) -> Explained:
    folder = tmp_path_factory.mktemp("explained")
    rows = [
        {"prompt": f"{SUBJECTS[n % 4]} {n}", "completion": LABELS[n % 4], "shop": "north" if n % 2 else "south"}
        for n in range(24)
    ]
    (folder / "eval.jsonl").write_text(as_jsonl(rows), encoding="utf-8")
    task = folder / "all.task.yaml"
    task.write_text("name: all\ndata: eval.jsonl\nmetric: label\nmax_new_tokens: 6\n", encoding="utf-8")
    done = finished.etude("evaluate", "runs/toy", str(task), "--explain", str(folder / "why"))
    assert done.code == 0, done.words
    return Explained(finished, done.words, folder)


def test_a_run_is_explained_with_its_training_rows_and_its_tasks_columns(explained: Explained) -> None:
    held = explained.held
    by_name = {one["name"]: one for one in held["slices"]}
    assert {"shop=north", "shop=south", "label=refund", "label=dog"} <= by_name.keys()
    assert by_name["label=dog"]["training_rows"] == 6
    assert {near["answer"] for near in by_name["label=dog"]["nearest"]} == {"dog"}
    assert (held["num_training_rows"], held["items"]) == (24, 24)
    assert "Etude explanation" in (explained.folder / "why.html").read_text("utf-8")
    assert "why.html" in explained.words


def test_new_rows_for_a_slice_are_made_from_its_nearest_rows(explained: Explained, desk: Desk) -> None:
    near = {
        f"{one['file']}:{one['line']}"
        for part in explained.held["slices"]
        if part["name"] == "label=dog"
        for one in part["nearest"]
    }

    def dog(messages: list[dict[str, str]]) -> str:
        return json.dumps({**json.loads(invented(messages)), "completion": "dog"})

    slice_of = f"{explained.folder / 'why.json'}:label=dog"
    with chat_server(says=dog) as server:
        model = settings(desk, server)
        done = desk.etude(
            "data", "synthesize", "--for-slice", slice_of, "-o", "new.jsonl", "--model", model, "--rows", "4"
        )
    assert done.code == 0, done.words
    rows = lines_of(desk.folder / "new.jsonl")
    assert len(rows) == 4
    for row in rows:
        assert set(row["synthesis"]["from"]) <= near
        assert row["messages"][-1]["content"] == "dog"
    manifest = json.loads((desk.folder / "new.jsonl.manifest.json").read_text("utf-8"))
    assert set(manifest["inputs"][0]["only"]) == near
    assert manifest["settings"]["known_answers"] is True


def test_a_report_of_a_run_is_explained(finished: Desk, tmp_path: Path) -> None:
    done = finished.etude("report", "explain", "runs/toy", "--out", str(tmp_path / "kept"))
    assert done.code == 0, done.words
    held = json.loads((tmp_path / "kept.json").read_text("utf-8"))
    assert held["report"].endswith("reports/toy.jsonl")
    assert len(held["report_sha256"]) == 64


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("report", "explain", "runs/toy", "--task", "other"), "has no report on 'other'; its tasks are toy"),
        (("report", "explain", "runs/toy", "--by", "land"), "no column 'land'"),
        (("data", "synthesize", "a.jsonl", "--for-slice", "w.json:x", "-o", "o.jsonl", "--model", "m"), "either files"),
        (("data", "synthesize", "--for-slice", "why", "-o", "o.jsonl", "--model", "m"), "EXPLANATION.json:SLICE"),
        (("data", "synthesize", "--for-slice", "no.json:x", "-o", "o.jsonl", "--model", "m"), "no such file"),
    ],
)
def test_mistakes_are_said_in_a_line(finished: Desk, arguments: tuple[str, ...], says: str) -> None:
    done = finished.etude(*arguments)
    assert done.code == 2, done.words
    assert says in done.words
