"""`etude data augment --measure`: two runs of one run file and their paired verdict."""

from __future__ import annotations

import json

from tests.cycle.conftest import Desk


def test_the_effect_of_made_rows_is_measured_by_one_command(desk: Desk) -> None:
    done = desk.etude(
        "data", "augment", "train.jsonl", "-o", "more.jsonl", "--methods", "paraphrase", "--measure", "toy.yaml"
    )  # fmt: skip
    assert done.code == 0, done.words
    assert "with the made rows" in done.words
    assert done.words.rstrip().rpartition("without (")[2].count("toy") >= 1
    made = [json.loads(line) for line in (desk.folder / "more.jsonl").read_text("utf-8").splitlines()]
    assert sum("augmented_from" in row for row in made) >= 12
    data = json.loads((desk.folder / "runs" / "toy-with" / "data.json").read_text("utf-8"))
    assert str(desk.folder / "more.jsonl") in json.dumps(data)
    again = desk.etude("data", "augment", "base", "-o", "x.jsonl", "--measure", "toy.yaml")
    assert again.code == 2
    assert "not what is augmented" in again.error
