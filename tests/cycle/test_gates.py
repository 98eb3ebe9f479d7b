"""A run file's gates at the end of a run and afterwards, on the command line."""

from __future__ import annotations

import json

from tests.cycle.conftest import Desk


def test_gates_at_the_end_of_a_run_and_again(desk: Desk) -> None:
    desk.run_file(gates=[{"task": "toy", "better_by": 0.9}, {"figure": "bytes", "at_most": 1e9}])
    done = desk.etude("train", "toy.yaml")
    assert done.code == 1, done.words
    assert "gate not passed: exact_match on toy better by more than 90.0 points" in done.words
    assert "gate passed: bytes at most 1,000,000,000" in done.words
    run = desk.folder / "runs" / "toy"
    held = json.loads((run / "verdict.json").read_text(encoding="utf-8"))
    assert [gate["outcome"] for gate in held["gates"]] == ["not passed", "passed"]
    assert "1 of 2 passed" in (run / "report.html").read_text(encoding="utf-8")
    again = desk.etude("compare", "runs/toy", "--gates", "runs/toy")
    assert again.code == 1
    assert "1 of 2 gates passed" in again.words


def test_a_gate_on_a_task_that_is_not_measured_is_refused_before_training(desk: Desk) -> None:
    refused = desk.etude("train", "toy.yaml", "gates=[{task: gone, better_by: 0}]")
    assert refused.code == 2
    assert refused.error == "error: gates[0].task: no task 'gone' is measured; there are toy"
    assert not (desk.folder / "runs").exists()
