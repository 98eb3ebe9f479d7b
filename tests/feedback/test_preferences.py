"""From judgements to rows on the command line: what training reads, who said it, and what it weighs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from etude.cli.main import main
from etude.data.read import read
from etude.data.split import split
from etude.records import Judged, Preference
from tests.feedback.judged import votes

PEOPLE = {"ann": 0.95, "bo": 0.9, "cy": 0.6, "di": 0.9}


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def preferences(folder: Path, rows: Sequence[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    written(folder / "told.jsonl", rows)
    assert main(["data", "preferences", str(folder / "told.jsonl"), "-o", str(folder / "out.jsonl"), *arguments]) == 0
    return lines(folder / "out.jsonl")


def test_each_person_s_word_is_a_row(tmp_path: Path) -> None:
    told = votes(PEOPLE, items=20)
    again = {**told[0], "preference": 3 - told[0]["preference"]}
    tie = {"prompt": "q", "answer_a": "x", "answer_b": "y", "preference": "=", "annotator": "ann"}
    rows = preferences(tmp_path, [again, *told, tie, {"prompt": "q", "x": 1}])
    assert len(rows) == len(told)
    for row, one in zip(rows, told, strict=True):
        assert row["annotators"] == [one["annotator"]]
        assert row["chosen"] == one["answer_a" if one["preference"] == 1 else "answer_b"]
    assert len({row["group"] for row in rows}) == len({row["prompt"] for row in rows})
    records = read(tmp_path / "out.jsonl", Preference)
    assert len(records) == len(rows)
    left_out = lines(tmp_path / "out.jsonl.dropped.jsonl")
    assert sorted(one["reason"] for one in left_out) == [
        "a tie", "judged again later", "no judgement that can be read",
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert manifest["notes"]["annotators"] == sorted(PEOPLE)
    assert manifest["rows_out"] == len(rows)


@pytest.mark.parametrize("how", ["majority", "dawid-skene", "bradley-terry"])
def test_people_together_weigh_less_where_they_are_divided(how: str, tmp_path: Path) -> None:
    told = votes(PEOPLE, items=60, share=1.0)
    rows = preferences(tmp_path, told, "--aggregate", how)
    assert len({row["prompt"] for row in rows}) == len(rows)
    good = [row["chosen"].startswith("good") for row in rows]
    assert sum(good) > 0.9 * len(rows)
    for row in rows:
        assert 0 < row["weight"] <= 1
        assert row["annotators"] == sorted(PEOPLE)
        assert set(row["votes"]) == set(PEOPLE)
    by_votes: dict[float, list[float]] = {}
    for row in rows:
        by_votes.setdefault(sum(row["votes"].values()), []).append(row["weight"])
    means = [sum(each) / len(each) for _, each in sorted(by_votes.items())]
    assert means == sorted(means), "more votes for, more weight"
    if how == "majority":
        assert set(by_votes) <= {2, 4}
        assert {weight for each in by_votes.values() for weight in each} <= {0.5, 1.0}
    assert {record.weight for record in read(tmp_path / "out.jsonl", Preference)} == {row["weight"] for row in rows}  # type: ignore[union-attr]


def test_ratings_become_pairs_with_margins_or_judged_rows(tmp_path: Path) -> None:
    told = [
        {"prompt": "q", "answer": text, "rating": rating, "annotator": "ann"}
        for text, rating in (("x", 1), ("y", 3), ("z", 5))
    ]
    rows = preferences(tmp_path, told, "--rows", "pairs")
    assert {(row["chosen"], row["rejected"]): row["margin"] for row in rows} == {
        ("y", "x"): 0.5, ("z", "x"): 1.0, ("z", "y"): 0.5,
    }  # fmt: skip
    assert read(tmp_path / "out.jsonl")[0].margin in (0.5, 1.0)  # type: ignore[union-attr]
    rows = preferences(tmp_path, told, "--force", "--rows", "judged", "--scale", "1", "5")
    assert [(row["completion"], row["label"]) for row in rows] == [("x", False), ("z", True)]
    rows = preferences(tmp_path, told, "--force", "--scale", "1", "9")
    assert {row["margin"] for row in rows} == {0.25, 0.5}


def test_thumbs_become_judged_rows(tmp_path: Path) -> None:
    told = [
        {"prompt": "q", "answer": "x", "thumb": up, "annotator": name} for name, up in (("a", 1), ("b", 1), ("c", 0))
    ]
    rows = preferences(tmp_path, told)
    assert [(row["label"], row["annotators"]) for row in rows] == [(True, ["a"]), (True, ["b"]), (False, ["c"])]
    (row,) = preferences(tmp_path, told, "--force", "--aggregate", "majority")
    assert (row["label"], row["weight"], row["annotators"]) == (True, 0.3333, ["a", "b", "c"])
    (record,) = read(tmp_path / "out.jsonl")
    assert isinstance(record, Judged)
    assert (record.judgement, record.weight) == (True, 0.3333)


def test_held_out_people_and_prompts_are_in_no_training_row(tmp_path: Path) -> None:
    told = votes(dict.fromkeys("abcdefgh", 0.9), items=100)
    heldout = tmp_path / "held.jsonl"
    train = preferences(tmp_path, told, "--heldout", str(heldout), "--holdout", "0.25", "--aggregate", "majority")
    held = lines(heldout)
    people = [{name for row in rows for name in row["annotators"]} for rows in (train, held)]
    assert len(people[0]) == 6
    assert len(people[1]) == 2
    assert not people[0] & people[1]
    assert not {row["group"] for row in train} & {row["group"] for row in held}
    again = preferences(
        tmp_path, told, "--force", "--heldout", str(heldout), "--holdout", "0.25", "--aggregate", "majority"
    )
    assert (again, lines(heldout)) == (train, held)


def test_people_can_be_the_groups_of_an_ordinary_split(tmp_path: Path) -> None:
    """Where no item was judged twice, `data.columns` is enough."""
    told = votes(dict.fromkeys("abcdef", 0.9), items=120, share=1.0)
    once = [row for at, row in enumerate(told) if at % 6 == (at // 6) % 6]
    preferences(tmp_path, once)
    records = read(tmp_path / "out.jsonl", Preference, columns={"group": "annotators"})
    sides = [{record.group for record in side} for side in split(records, 0.3, seed=0)]
    assert all(sides)
    assert not sides[0] & sides[1]


def test_somebody_s_word_can_be_left_out(tmp_path: Path) -> None:
    rows = preferences(tmp_path, votes(PEOPLE, items=10), "--leave-out", "cy", "di")
    assert {name for row in rows for name in row["annotators"]} == {"ann", "bo"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--aggregate", "majority", "--least-weight", "1"], "--least-weight: must be from 0 to below 1, got 1"),
        (["--least-weight", "0.5"], "--least-weight: needs an aggregate"),
        (["--scale", "5", "1"], "--scale: must be two numbers"),
        (["--rows", "judged", "--aggregate", "bradley-terry"], "--aggregate: bradley-terry compares answers"),
        (["--columns", "who"], "--columns: 'who' is not FIELD=COLUMN"),
        (["--rows", "judged"], "no single answer was judged; write pairs instead: --rows pairs"),
        (["--leave-out", *PEOPLE], "no row would be left"),
        (["--heldout", "told.jsonl"], "is an input, and inputs are never overwritten"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "told.jsonl", votes(PEOPLE, items=6))
    assert main(["data", "preferences", "told.jsonl", "-o", "out.jsonl", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_agreement_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = votes({**PEOPLE, "side\x1b[2J": 0.9}, sides={"side\x1b[2J": 0.9}, items=80)
    path = written(tmp_path / "told.jsonl", [*told, {"prompt": "q", "x": 1}])
    figures = tmp_path / "figures.json"
    assert main(["data", "agreement", str(path), "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert f"unusable: {path}:{len(told) + 1}: no judgement among the columns prompt, x" in said
    assert "comparisons: " in said
    assert "side\\x1b[2J takes the answer shown first in" in said
    assert "\x1b[2J" not in said
    assert json.loads(figures.read_text())["parts"][0]["judgements"] == len(told)
    written(path, [{"prompt": "q", "x": 1}])
    assert main(["data", "agreement", str(path)]) == 2
    assert "not one row holds a judgement" in capsys.readouterr().err


def test_the_page_shows_everybody_and_runs_nothing(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    told = votes({**PEOPLE, name: 0.9}, sides={name: 0.9}, items=80)
    graded = [{"prompt": f"q{at % 9}", "answer": "x", "rating": at % 5, "annotator": f"p{at % 2}"} for at in range(40)]
    path = written(tmp_path / "told.jsonl", [*told, *graded])
    assert main(["data", "agreement", str(path), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; takes the answer shown first in" in page
    for word in (
        *PEOPLE,
        "p0",
        "graded higher than the others",
        "ordinal",
        "told.jsonl",
        f"{len(told) + 40} judgements",
    ):
        assert word in page
