"""The run's diary: one JSON line a thing, strict JSON, cut back to the byte on resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from etude.training.journal import ANSWERS, METRICS, SAMPLES, Journal
from etude.training.progress import Progress


def progress(step: int, **changes: Any) -> Progress:
    values = {
        "num_steps": 9, "epoch": 0.1234567, "loss": 1.5, "learning_rate": 1e-4, "grad_norm": 2.5, "rows": 4,
        "tokens": 100, "tokens_computed": 60, "seconds": 0.5,
    }  # fmt: skip
    return Progress(step=step, **{**values, **changes})


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_an_update_is_a_line_of_figures_and_a_line_of_ids(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.update(progress(1, figures={"margin": 0.25}), ["f.jsonl:3", "f.jsonl:1"])
    journal.heldout(1, 1.75, {})
    update, look = lines(tmp_path / METRICS)
    assert update.pop("time").endswith("+00:00")
    assert update == {
        "step": 1, "epoch": 0.123457, "loss": 1.5, "learning_rate": 1e-4, "grad_norm": 2.5, "rows": 4, "tokens": 100,
        "tokens_computed": 60, "micro_batches": 1, "seconds": 0.5, "margin": 0.25,
    }  # fmt: skip
    assert {key: look[key] for key in ("step", "heldout_loss")} == {"step": 1, "heldout_loss": 1.75}
    assert lines(tmp_path / SAMPLES) == [{"step": 1, "ids": ["f.jsonl:3", "f.jsonl:1"]}]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(tmp_path: Path, bad: float) -> None:
    journal = Journal(tmp_path)
    journal.update(progress(1, loss=bad, grad_norm=bad, figures={"margin": bad}, skipped="loss is not finite"), ["a"])
    journal.heldout(1, bad, {})
    update, look = lines(tmp_path / METRICS)
    assert [update[key] for key in ("loss", "grad_norm", "margin")] == [None] * 3
    assert update["skipped"] == "loss is not finite"
    assert look["heldout_loss"] is None


def test_notes_appear_only_when_there_are_some(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.update(progress(1), ["a"])
    journal.update(progress(2, warning="a spike"), ["a"])
    plain, warned = lines(tmp_path / METRICS)
    assert "warning" not in plain
    assert "skipped" not in plain
    assert warned["warning"] == "a spike"


def test_cutting_back_forgets_what_came_after_to_the_byte(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.lengths() == {METRICS: 0, SAMPLES: 0, ANSWERS: 0}
    for step in (1, 2):
        journal.update(progress(step), [f"é:{step}"])
    kept = {name: (tmp_path / name).read_bytes() for name in (METRICS, SAMPLES)}
    lengths = journal.lengths()
    assert lengths == {**{name: len(content) for name, content in kept.items()}, ANSWERS: 0}
    for step in (3, 4):
        journal.update(progress(step), [f"é:{step}"])
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 5, "lo')  # torn by a crash
    journal.cut_back(lengths)
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    journal.update(progress(3), ["again"])
    assert [line["step"] for line in lines(tmp_path / METRICS)] == [1, 2, 3]


def test_cutting_back_files_that_are_not_there_is_no_error(tmp_path: Path) -> None:
    Journal(tmp_path).cut_back({METRICS: 0, SAMPLES: 0})
    assert list(tmp_path.iterdir()) == []
