"""Dividing files: shares, groups, strata, time; near copies are never on two sides."""

from __future__ import annotations

import json
import random
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.cli.main import main
from etude.data.divide import PARTS, Divide, divide
from etude.data.inputs import open_inputs
from etude.data.near import WIDTH
from etude.data.shingles import jaccard, shingles
from etude.data.split import assign, assign_by_time
from etude.errors import DataError
from tests.data.test_clean import edited
from tests.data.test_near import WORDS

Row = dict[str, object]


def divided(rows: list[Row], folder: Path, options: Divide | None = None) -> dict[str, list[Row]]:
    path, out = folder / "rows.jsonl", folder / "parts"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    divide(open_inputs([path]), options or Divide(), out, force=True)
    parts = {part: out / f"{part}.jsonl" for part in PARTS if (out / f"{part}.jsonl").exists()}
    return {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in parts.items()}


def made(number: int, seed: int = 0, copies: float = 0.0) -> list[Row]:
    """Rows, a share of them near copies of earlier ones."""
    rng = random.Random(seed)
    texts: list[str] = []
    while len(texts) < number:
        is_copy = texts and rng.random() < copies
        texts.append(edited(rng.choice(texts), rng) if is_copy else " ".join(rng.choices(WORDS, k=rng.randint(15, 40))))
    return [{"prompt": text, "completion": rng.choice(WORDS), "id": at} for at, text in enumerate(texts)]


def sides_of(parts: dict[str, list[Row]]) -> dict[object, str]:
    return {row["id"]: name for name, rows in parts.items() for row in rows}


@settings(max_examples=8)
@given(st.integers(0, 1_000), st.floats(0.1, 0.6))
def test_no_near_copy_is_on_two_sides_and_nothing_is_lost(seed: int, copies: float) -> None:
    import tempfile

    rows = made(100, seed, copies)
    with tempfile.TemporaryDirectory() as folder:
        parts = divided(rows, Path(folder), Divide(validation=0.2, test=0.2, seed=seed))
    where = sides_of(parts)
    assert sorted(where) == list(range(100))  # type: ignore[type-var]
    sets = [np.unique(shingles([" ".join(str(row["prompt"]).casefold().split())], WIDTH)[0]) for row in rows]
    crossing = [
        (one, other)
        for one, other in combinations(range(100), 2)
        if where[one] != where[other] and jaccard(sets[one], sets[other]) >= 0.8
    ]
    assert not crossing


def test_shares_are_met_and_seeds_differ(tmp_path: Path) -> None:
    rows = made(1_000)
    parts = divided(rows, tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"train": 800, "validation": 100, "test": 100}
    assert divided(rows, tmp_path) == parts
    assert divided(rows, tmp_path, Divide(seed=1)) != parts
    moved = divided(random.Random(0).sample(rows, k=1_000), tmp_path)
    assert sides_of(moved) == sides_of(parts), "the order of the rows does not matter"
    two = divided(rows, tmp_path, Divide(validation=0))
    assert {name: len(part) for name, part in two.items()} == {"train": 900, "test": 100}


def test_groups_stay_together(tmp_path: Path) -> None:
    rows = [{**row, "user": at % 30} for at, row in enumerate(made(300))]
    parts = divided(rows, tmp_path, Divide(group="user"))
    users = [{row["user"] for row in part} for part in parts.values()]
    assert sum(map(len, users)) == 30
    assert 210 <= len(parts["train"]) <= 270


def test_rows_made_from_others_are_for_training_alone(tmp_path: Path) -> None:
    rows: list[Row] = [{**row, "group": f"g{at}"} for at, row in enumerate(made(200))]
    more = [
        {**row, "id": f"m{row['id']}", "prompt": f"{row['prompt']} so", "augmented_from": "a:1"} for row in rows[:100]
    ]
    where = sides_of(divided([*rows, *more], tmp_path))
    assert Counter(where[row["id"]] for row in rows) == {"train": 160, "validation": 20, "test": 20}
    for row in more:
        parent = int(str(row["id"])[1:])
        assert where.get(row["id"]) == ("train" if where[parent] == "train" else None)


def test_strata_keep_their_shares(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{**row, "class": rng.choices("abc", [0.7, 0.25, 0.05])[0]} for row in made(1_000)]
    parts = divided(rows, tmp_path, Divide(stratify="class"))
    whole = Counter(row["class"] for row in rows)
    for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        counts = Counter(row["class"] for row in parts[name])
        assert all(abs(counts[label] - share * whole[label]) <= 1 for label in "abc")


def test_time_goes_forward_and_copies_of_old_rows_are_old(tmp_path: Path) -> None:
    rows = [
        {**row, "at": f"2026-{1 + at // 28:02d}-{1 + at % 28:02d}T10:00:00+00:00"} for at, row in enumerate(made(200))
    ]
    rows[190] = {**rows[190], "prompt": rows[5]["prompt"]}
    parts = divided(rows, tmp_path, Divide(time="at"))
    where = sides_of(parts)
    assert where[190] == "train"
    times = {name: [row["at"] for row in part if row["id"] != 190] for name, part in parts.items()}
    assert max(times["train"]) <= min(times["validation"])
    assert max(times["validation"]) <= min(times["test"])
    assert {name: len(part) for name, part in parts.items()} == {"train": 160, "validation": 20, "test": 20}
    rows[3]["at"] = "some day"
    assert 3 not in sides_of(divided(rows, tmp_path, Divide(time="at")))


def test_evaluation_sets_are_kept_out(tmp_path: Path) -> None:
    rows = made(200)
    evaluation = tmp_path / "eval.jsonl"
    asked = [{"prompt": f"{rows[at]['prompt']}", "completion": "x"} for at in (3, 50, 120)]
    evaluation.write_text("".join(f"{json.dumps(row)}\n" for row in asked))
    where = sides_of(divided(rows, tmp_path, Divide(against=(str(evaluation),))))
    assert set(range(200)) - set(where) == {3, 50, 120}
    reported = divided(rows, tmp_path, Divide(against=(str(evaluation),), leaks="report"))
    assert len(sides_of(reported)) == 200


def test_rows_of_one_prompt_may_part_when_answers_count(tmp_path: Path) -> None:
    rows = [
        {**row, "prompt": "write a poem about the sea and the wind", "completion": row["prompt"]} for row in made(100)
    ]
    with pytest.raises(DataError, match="--same both"):
        divided(rows, tmp_path)
    assert len(divided(rows, tmp_path, Divide(same="both"))["test"]) == 10


def test_a_folder_is_replaced_only_if_it_was_made_this_way(tmp_path: Path) -> None:
    rows = made(50)
    divided(rows, tmp_path)
    inputs = open_inputs([tmp_path / "rows.jsonl"])
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    for name, output in manifest["outputs"].items():
        assert output["sha256"] == sha256((tmp_path / "parts" / name).read_bytes()).hexdigest()
    with pytest.raises(DataError, match="--force"):
        divide(inputs, Divide(), tmp_path / "parts")
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="not made by dividing"):
        divide(inputs, Divide(), tmp_path / "mine", force=True)
    with pytest.raises(DataError, match="holds an input"):
        divide(inputs, Divide(), tmp_path, force=True)
    assert not list(tmp_path.glob(".*"))


def test_the_command_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in made(50)))
    command = ["data", "split", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "parts")]
    assert main([*command, "--group", "idd"]) == 2
    assert "no row has a column 'idd'; did you mean 'id'?" in capsys.readouterr().err
    assert main([*command, "--test", "1.5"]) == 2
    assert "--test: must be from 0 up to but below 1" in capsys.readouterr().err
    assert main(command) == 0
    assert "train 40 (80.0%), validation 5 (10.0%), test 5 (10.0%)" in capsys.readouterr().out


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(0, 3))
def test_clusters_are_never_cut(members: list[int], shift: int) -> None:
    labels = np.unique(np.array(members), return_inverse=True)[1]
    order = np.roll(np.arange(labels.max() + 1), shift)
    for found in (
        assign(labels, order, (0.5, 0.3, 0.2)),
        assign(labels, order, (0.5, 0.3, 0.2), strata=np.array(members) % 3),
        assign_by_time(labels, np.arange(len(labels), dtype=float), (0.5, 0.3, 0.2)),
    ):
        assert all(len(set(found[labels == label].tolist())) == 1 for label in range(labels.max() + 1))
