"""From a person at a terminal to a trained model: label, make preferences, train."""

from __future__ import annotations

from tests.cli.terminal_session import Terminal
from tests.cycle.conftest import Desk, as_jsonl, lines_of


def test_what_somebody_labelled_is_trained_on(desk: Desk) -> None:
    pairs = [{"prompt": f"what is {i}?", "answer_a": f"the quick fox {i}", "answer_b": f"a dog {i}"} for i in range(12)]
    desk.write("answers.jsonl", as_jsonl(pairs))
    wanted = 0
    for name in ("ann", "bo"):
        arguments = ("label", "answers.jsonl", "-o", f"{name}.jsonl", "--annotator", name, "--repeat", "0")
        with Terminal(*arguments, folder=desk.folder) as terminal:
            for number in range(12):
                shown = terminal.wait_for("q quit")
                left, right = shown.index("fox"), shown.index("dog")
                is_divided = name == "bo" and number % 4 == 0
                terminal.press("2" if (left < right) == is_divided else "1")
            assert terminal.end() == 0
    for step in ("majority", "dawid-skene"):
        made = desk.etude("data", "preferences", "ann.jsonl", "bo.jsonl", "-o", f"{step}.jsonl", "--aggregate", step)
        assert made.code == 0, made.words
        wanted = len(lines_of(desk.folder / f"{step}.jsonl"))
        assert wanted == 9, "the divided ones are left out"
    assert all("fox" in row["chosen"] for row in lines_of(desk.folder / "majority.jsonl"))
    made = desk.etude("data", "preferences", "ann.jsonl", "bo.jsonl", "-o", "each.jsonl")
    assert made.code == 0, made.words
    rows = [{**row, "weight": 0.5 if "dog" in row["chosen"] else 1.0} for row in lines_of(desk.folder / "each.jsonl")]
    assert len(rows) == 24
    desk.write("weighed.jsonl", as_jsonl(rows))
    desk.run_file(
        data={"train": "weighed.jsonl", "holdout": 0.25}, objective={"kind": "dpo"}, evaluation={"tasks": []},
        training={"steps": 20, "learning_rate": 2e-2, "batch_rows": 8},
    )  # fmt: skip
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    losses = [line for line in lines_of(desk.folder / "runs/toy/metrics.jsonl") if "loss" in line]
    assert losses[-1]["accuracy"] > losses[0]["accuracy"]
    assert losses[-1]["loss"] < losses[0]["loss"]
