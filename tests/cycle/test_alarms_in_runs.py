"""Alarms in whole runs of a toy model: each rings where something is wrong, and a healthy run hears none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etude.batch import Sample, TokenRow
from etude.cycle.before import check_ends
from etude.errors import DataError
from etude.evaluation.report import Report
from tests.cycle.conftest import Desk, as_jsonl

REWARDS = """
def longer(prompt, answer, reference):
    return len(answer)

def nothing(prompt, answer, reference):
    return 1.0

def even(prompt, answer, reference):
    return sum(len(word) % 2 == 0 for word in answer.split()) / 4
"""


def online(desk: Desk, reward: str, *, steps: int, **rollouts: object) -> str:
    desk.write("mine.py", REWARDS)
    desk.run_file(
        objective="grpo",
        technique={"dropout": 0.0},
        training={"steps": steps, "batch_rows": 16},
        evaluation={"base": False},
        rollouts={
            "group": 8,
            "max_new_tokens": 8,
            "rewards": [{"kind": "python", "function": f"mine.py:{reward}"}],
            **rollouts,
        },
    )
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    return done.words


def test_a_reward_for_length(desk: Desk) -> None:
    words = online(desk, "longer", steps=9, max_new_tokens=48)
    assert "alarm: the reward goes with the answer's length (correlation" in words
    page = (desk.folder / "runs" / "toy" / "report.html").read_text(encoding="utf-8")
    assert "goes with the answer" in page


def test_a_reward_that_says_nothing_ends_the_run(desk: Desk) -> None:
    words = online(desk, "nothing", steps=30, group=2, max_new_tokens=2)
    assert "alarm: 0% of the answers end by themselves, the others are cut" in words
    assert "stopped after update 20: in 20 updates in a row over 80% of the groups had equal rewards" in words


def test_a_healthy_run_hears_nothing_of_them(desk: Desk) -> None:
    words = online(desk, "even", steps=8)
    for alarm in (
        "the answer's length (corr",
        "is not a number",
        "ratios off",
        "importance weight",
        "differ by",
        "taught",
    ):
        assert alarm not in words


PAIRS = [{"prompt": f"what is {i}?", "chosen": f"the fox {i % 30}", "rejected": f"dog {i % 50}"} for i in range(150)]


def preferences(desk: Desk, trusted: list[dict[str, str]]) -> tuple[int, str]:
    desk.write("pairs.jsonl", as_jsonl(PAIRS))
    desk.write("trusted.jsonl", as_jsonl(trusted))
    desk.run_file(
        objective="dpo",
        data={"train": "pairs.jsonl", "holdout": 0.1, "trusted_pairs": "trusted.jsonl"},
        training={"steps": 2, "batch_rows": 4},
        evaluation={"base": False},
    )
    done = desk.etude("train", "toy.yaml")
    return done.code, done.words


def turned(pair: dict[str, str]) -> dict[str, str]:
    return {**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]}


def test_swapped_labels_are_refused_before_training(desk: Desk) -> None:
    code, words = preferences(desk, [turned(pair) for pair in PAIRS[:40]])
    assert code == 2
    assert "chosen and rejected are swapped in 100% (" in words
    assert "by data.trusted_pairs (40 pairs); map the columns the other way round" in words
    assert not (desk.folder / "runs" / "toy").exists(), "nothing is left of it"


def test_some_swapped_labels_are_told_and_right_ones_are_not(desk: Desk) -> None:
    code, words = preferences(desk, [*map(turned, PAIRS[:8]), *PAIRS[8:40]])
    assert code == 0, words
    assert "of the labels are swapped" in words
    assert "are swapped, by data.trusted_pairs" in (desk.folder / "runs" / "toy" / "report.html").read_text(
        encoding="utf-8"
    )


def test_swapped_judgements_are_refused_before_training(desk: Desk) -> None:
    rows = [
        {"prompt": pair["prompt"], "completion": pair["chosen" if at % 2 else "rejected"], "label": bool(at % 2)}
        for at, pair in enumerate([*PAIRS, *PAIRS])
    ]
    desk.write("judged.jsonl", as_jsonl(rows))
    desk.write("trusted.jsonl", as_jsonl([{**row, "label": not row["label"]} for row in rows[:60]]))
    desk.run_file(objective="kto", data={"train": "judged.jsonl", "trusted_pairs": "trusted.jsonl"})
    done = desk.etude("train", "toy.yaml")
    assert done.code == 2, done.words
    assert "good and bad are swapped in 100% (" in done.error
    assert "by data.trusted_pairs (60 judged answers); turn the labels round" in done.error
    assert not (desk.folder / "runs" / "toy").exists()


def test_an_end_that_is_the_padding_too_is_learned(desk: Desk) -> None:
    """The model writes its labels and stops, although its tokenizer pads with the token that ends an answer."""
    file = desk.folder / "base" / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    assert settings["pad_token"] != settings["eos_token"]
    file.write_text(json.dumps({**settings, "pad_token": settings["eos_token"]}), encoding="utf-8")
    desk.run_file(technique="full", training={"steps": 40, "batch_rows": 8, "learning_rate": 3e-3})
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    items = Report.load(desk.folder / "runs/toy/reports/toy.jsonl").items
    assert [item.finish for item in items] == ["stop"] * 8, [item.answer for item in items]


def test_ends_that_are_never_learned_are_refused() -> None:
    def rows(weight: float) -> list[Sample]:
        tokens, weights = np.asarray([1, 5, 6, 7, 2]), np.asarray([0.0, 0.0, 1.0, 1.0, weight])
        return [Sample("a", (TokenRow(tokens, weights),))] * 3  # type: ignore[arg-type]  # arrays are sequences here

    check_ends(rows(1.0), frozenset({2}), "rows.jsonl")
    with pytest.raises(DataError, match=r"rows.jsonl: in none of its rows is an answer's end learned"):
        check_ends(rows(0.0), frozenset({2}), "rows.jsonl")
